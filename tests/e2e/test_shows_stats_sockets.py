"""Where the stats of the running daemon are had: every kind of address."""

import json
import os
import socket
import sys

import pytest
from tests.e2e.asking import abstract_name, checked, connect, read_all, refused, stats
from tests.e2e.daemon import emperor_program, reign
from tests.e2e.sites import Town, free_port

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]


@pytest.mark.parametrize("kind", ["tcp", "unix", "abstract"])
@pytest.mark.parametrize("option", ["emperor-stats", "emperor-stats-server"])
def test_who_connects_gets_the_document_and_an_end(
    one_town: Town, kind: str, option: str
) -> None:
    town = one_town
    town.put("site.ini", "one")
    address = {"tcp": f"127.0.0.1:{free_port()}", "abstract": abstract_name()}.get(
        kind, f"{town.root}/stats"
    )
    with reign(*town.words, f"--{option}", address) as daemon:
        pid = daemon.up("site.ini")
        shown = checked(stats(address))
        assert (shown["pid"], shown["uid"], shown["cwd"]) == (daemon.pid, os.getuid(), "/")
        assert [(row["id"], row["pid"]) for row in shown["vassals"]] == [("site.ini", pid)]
        daemon.stop()
        with pytest.raises(OSError, match=r"refused|No such file"):
            connect(address)
        if kind == "unix":
            assert not os.path.lexists(address)


def test_two_addresses_at_once_say_the_same(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    addresses = [f"127.0.0.1:{free_port()}", f"{town.root}/stats"]
    words = [word for address in addresses for word in ("--emperor-stats", address)]
    with reign(*town.words, *words) as daemon:
        daemon.up("site.ini")
        one, other = (checked(stats(address)) for address in addresses)
        assert one == other


def test_over_http_it_is_an_answer(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    address = f"127.0.0.1:{free_port()}"
    words = ("--emperor-stats", address, "--emperor-stats-http")
    with reign(*town.words, *words) as daemon:
        pid = daemon.up("site.ini")
        question = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        head, _, body = read_all(address, question).partition(b"\r\n\r\n")
        first, *fields = head.decode().split("\r\n")
        assert first == "HTTP/1.1 200 OK"
        assert "Content-Type: application/json" in fields
        assert f"Content-Length: {len(body)}" in fields
        assert checked(json.loads(body))["vassals"][0]["pid"] == pid


def test_an_address_that_somebody_has_is_named_and_nothing_starts(one_town: Town) -> None:
    town = one_town
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, said = refused(*town.words, "--emperor-stats", address)
    assert code == 111
    assert f"cannot listen on {address}: Address already in use" in said


#: Becomes the daemon with a socket as systemd passes it: listening, number 3, LISTEN_PID.
SYSTEMD = """
import os, socket, sys
path, name, *words = sys.argv[1:]
listening = socket.socket(socket.AF_UNIX)
listening.bind(path)
listening.listen()
number = listening.detach()
if number != 3:
    os.dup2(number, 3)
    os.close(number)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES=name)
os.execv(words[0], words)
"""


@pytest.mark.parametrize("address", ["fd://3", "fd://stats"])
def test_a_socket_of_systemd_is_served_and_no_vassal_has_it(
    one_town: Town, address: str
) -> None:
    town = one_town
    town.put("site.ini", "one")
    path = f"{town.root}/held"
    command = (sys.executable, "-c", SYSTEMD, path, "stats", emperor_program())
    with reign(*town.words, "--emperor-stats", address, command=command) as daemon:
        pid = daemon.up("site.ini")
        assert checked(stats(path))["vassals"][0]["pid"] == pid
        assert path in _listening()
        theirs = daemon.family() - {daemon.pid}
        assert {pid, daemon.guardian, daemon.compile_server} <= theirs
        inode = _listening()[path]
        for other in theirs:
            assert f"socket:[{inode}]" not in _descriptors(other), other
        for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
            assert town.get("site.ini", f"/env?{name}") == "-"
        daemon.stop()
        assert os.path.lexists(path)  # it is systemd's


def test_an_address_of_systemd_that_was_not_passed_is_refused(one_town: Town) -> None:
    code, said = refused(*one_town.words, "--emperor-stats", "fd://9")
    assert (code, '"fd://9" was not passed' in said) == (1, True)


def _listening() -> dict[str, str]:
    """The path of each unix socket that listens, and its inode."""
    found = {}
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
        for row in file:
            fields = row.split()
            if len(fields) == 8 and fields[3] == "00010000":
                found[fields[7]] = fields[6]
    return found


def _descriptors(pid: int) -> set[str]:
    folder = f"/proc/{pid}/fd"
    return {os.readlink(f"{folder}/{name}") for name in os.listdir(folder)}
