"""Addresses of sockets as uWSGI's options write them; pure, and nobody resolves a name."""

from __future__ import annotations

import enum
import os
import socket
from dataclasses import dataclass

#: What the kernel has room for, beside the byte that ends a path or begins an abstract name.
LONGEST_PATH_BYTES = 107

_MOST_PORTS = 65535


class Kind(enum.Enum):
    """What sort of socket it is."""

    TCP4 = "IPv4"
    TCP6 = "IPv6"
    UNIX = "unix"
    ABSTRACT = "abstract"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One address. ``name`` is an IP address, a path, or an abstract name without its mark."""

    kind: Kind
    name: str
    port: int = 0

    def __str__(self) -> str:
        """The form that ``parse`` takes."""
        match self.kind:
            case Kind.TCP4:
                return f"{'' if self.name == '0.0.0.0' else self.name}:{self.port}"
            case Kind.TCP6:
                return f"[{self.name}]:{self.port}"
            case Kind.ABSTRACT:
                return f"@{self.name}"
            case Kind.UNIX:
                return self.name

    @property
    def family(self) -> socket.AddressFamily:
        """The address family for ``socket.socket``."""
        match self.kind:
            case Kind.TCP4:
                return socket.AF_INET
            case Kind.TCP6:
                return socket.AF_INET6
            case Kind.UNIX | Kind.ABSTRACT:
                return socket.AF_UNIX

    @property
    def for_kernel(self) -> tuple[str, int] | bytes:
        """What ``bind`` and ``connect`` take."""
        match self.kind:
            case Kind.TCP4 | Kind.TCP6:
                return (self.name, self.port)
            case Kind.UNIX:
                return os.fsencode(self.name)
            case Kind.ABSTRACT:
                return b"\0" + os.fsencode(self.name)


def parse(text: str) -> Address:
    """The address that a text means: ``HOST:PORT``, ``:PORT``, ``[IPV6]:PORT``, a path, or
    ``@NAME`` (also written ``\\0NAME``) for an abstract socket.

    HOST is an IP address or ``localhost``. Port 0 lets the kernel choose. Raises ValueError
    with a sentence for the user.
    """
    text = text.strip()
    if not text:
        raise ValueError("an address is missing: write HOST:PORT, a path, or @NAME")
    if "\0" in text:
        raise ValueError("an address with a NUL character is nowhere: write @NAME")
    for mark in ("@", "\\0"):
        if text.startswith(mark):
            return _unix(text, Kind.ABSTRACT, text.removeprefix(mark))
    # uWSGI takes any text with a colon for TCP; a path that begins as one cannot be meant so
    if ":" not in text or text.startswith(("/", "./", "../")):
        return _unix(text, Kind.UNIX, text)
    if "://" in text:
        raise ValueError(f'"{text}" is no address of a socket here: write HOST:PORT or a path')
    host, _, port = text.rpartition(":")
    return _tcp(text, host, _port(text, port))


def _unix(text: str, kind: Kind, name: str) -> Address:
    if not name:
        raise ValueError(f'"{text}" has no name: write @NAME')
    size = len(os.fsencode(name))
    if size > LONGEST_PATH_BYTES:
        raise ValueError(
            f'"{text}" has {size} bytes, and a unix socket\'s name has room for '
            f"{LONGEST_PATH_BYTES}: choose a shorter one"
        )
    return Address(kind=kind, name=name)


def _port(text: str, port: str) -> int:
    if not (port.isascii() and port.isdecimal()) or int(port[:6]) > _MOST_PORTS:
        raise ValueError(
            f'"{text}": "{port}" is no port: write a number up to {_MOST_PORTS} after the colon'
        )
    return int(port[:6])


def _tcp(text: str, host: str, port: int) -> Address:
    if host.startswith("[") and host.endswith("]"):
        plain = _normal(socket.AF_INET6, host[1:-1])
        if plain is None:
            raise ValueError(f'"{text}": "{host[1:-1]}" is no IPv6 address')
        return Address(kind=Kind.TCP6, name=plain, port=port)
    if ":" in host:
        raise ValueError(f'"{text}": write an IPv6 address in brackets, as in [::1]:{port}')
    if host == "localhost":
        host = "127.0.0.1"
    plain = _normal(socket.AF_INET, host or "0.0.0.0")
    if plain is None:
        raise ValueError(
            f'"{text}": "{host}" is no IP address, and names are not looked up: write '
            f"127.0.0.1:{port}, or :{port} for all addresses"
        )
    return Address(kind=Kind.TCP4, name=plain, port=port)


def _normal(family: socket.AddressFamily, host: str) -> str | None:
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, host))
    except (OSError, UnicodeError):
        return None
