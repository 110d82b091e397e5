"""Addresses as uWSGI's options write them, and what is said of those that are none."""

import os
import socket

import pytest

from emperor.runtime.addresses import LONGEST_PATH_BYTES, Address, Kind, parse


@pytest.mark.parametrize(
    ("text", "kind", "name", "port", "shown"),
    [
        ("127.0.0.1:3031", Kind.TCP4, "127.0.0.1", 3031, "127.0.0.1:3031"),
        (":3031", Kind.TCP4, "0.0.0.0", 3031, ":3031"),
        ("0.0.0.0:80", Kind.TCP4, "0.0.0.0", 80, ":80"),
        ("localhost:0", Kind.TCP4, "127.0.0.1", 0, "127.0.0.1:0"),
        ("[::1]:65535", Kind.TCP6, "::1", 65535, "[::1]:65535"),
        ("[0:0::]:1", Kind.TCP6, "::", 1, "[::]:1"),
        ("/run/a.sock", Kind.UNIX, "/run/a.sock", 0, "/run/a.sock"),
        (" relative.sock\n", Kind.UNIX, "relative.sock", 0, "relative.sock"),
        ("9191", Kind.UNIX, "9191", 0, "9191"),
        ("/run/a:b.sock", Kind.UNIX, "/run/a:b.sock", 0, "/run/a:b.sock"),
        ("./a:1", Kind.UNIX, "./a:1", 0, "./a:1"),
        ("@stats", Kind.ABSTRACT, "stats", 0, "@stats"),
        ("@a:1", Kind.ABSTRACT, "a:1", 0, "@a:1"),
        ("\\0stats", Kind.ABSTRACT, "stats", 0, "@stats"),
        ("/run/caf\udce9", Kind.UNIX, "/run/caf\udce9", 0, "/run/caf\udce9"),
    ],
)
def test_every_form_is_understood(
    text: str, kind: Kind, name: str, port: int, shown: str
) -> None:
    address = parse(text)
    assert address == Address(kind=kind, name=name, port=port)
    assert str(address) == shown
    assert parse(shown) == address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "missing"),
        ("  ", "missing"),
        ("@", "no name"),
        ("\\0", "no name"),
        ("a\0b", "NUL"),
        ("example.org:80", "names are not looked up"),
        ("256.0.0.1:80", "no IP address"),
        ("127.1:80", "no IP address"),
        ("caf\udce9:80", "no IP address"),
        ("*:80", ":80 for all addresses"),
        ("::1:80", "in brackets, as in [::1]:80"),
        ("[::1:80", "in brackets"),
        ("[localhost]:80", "no IPv6 address"),
        ("127.0.0.1:", "no port"),
        ("127.0.0.1:http", "no port"),
        ("127.0.0.1:-1", "no port"),
        ("127.0.0.1:65536", "no port"),
        (":" + "9" * 5000, "no port"),
        (":٣", "no port"),
        ("fd://3", "no address of a socket here"),
        ("http://127.0.0.1:80", "no address of a socket here"),
        ("/" + "x" * LONGEST_PATH_BYTES, "choose a shorter one"),
        ("@" + "é" * 54, "108 bytes"),
    ],
)
def test_what_is_none_is_said_so(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        parse(text)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["127.0.0.1:0", "[::1]:0", "@" + "n" * LONGEST_PATH_BYTES])
def test_the_kernel_takes_it(text: str) -> None:
    address = parse(text)
    with socket.socket(address.family, socket.SOCK_STREAM) as opened:
        opened.bind(address.for_kernel)


def test_the_kernel_takes_a_path_of_full_length(tmp_path: os.PathLike[str]) -> None:
    address = parse(str(tmp_path).ljust(LONGEST_PATH_BYTES - 1, "/") + "s")
    with socket.socket(address.family, socket.SOCK_STREAM) as opened:
        opened.bind(address.for_kernel)
