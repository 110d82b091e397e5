"""Rolling reloads of real servers under load: nothing is lost, come up who may."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.e2e.crowd import crowd
from tests.e2e.daemon import Daemon, reign
from tests.e2e.programs import BROKEN_APP, Yard, app_saying, needed_server, ready, real, yard
from tests.e2e.sites import free_port, get

pytestmark = pytest.mark.process

GOOD_RELOADS, BAD_RELOADS = 3, 2
CLIENTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A real server: its program, its command, whether its connections serve many requests."""

    program: str
    command: str
    keeps_alive: bool = False


SERVERS = {
    "gunicorn": Server(program="gunicorn", command="gunicorn --workers 2 --preload app:wsgi"),
    "gunicorn-threads": Server(
        program="gunicorn",
        command="gunicorn --workers 2 --threads 60 --preload app:wsgi",
        keeps_alive=True,
    ),
    "uvicorn": Server(program="uvicorn", command="uvicorn --fd 3 app:asgi"),
    "uvicorn-keep-alive": Server(
        program="uvicorn", command="uvicorn --fd 3 app:asgi", keeps_alive=True
    ),
}


@pytest.fixture
def place() -> Iterator[Yard]:
    with yard() as found:
        yield found


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    found = SERVERS[request.param]
    needed_server(found.program)
    return found


def settle(daemon: Daemon, name: str) -> None:
    """Wait until the one before is gone."""
    daemon.expect("is gone (", f"{name}:old")


def test_no_request_is_lost(place: Yard, server: Server) -> None:
    address = f"127.0.0.1:{free_port()}"
    place.write("app.py", app_saying("0"))
    place.put(
        "site.ini",
        ("vassal-exec", server.command),
        ("chdir", place.root),
        ("socket", address),
        ("listen", "1024"),
        ("vassal-ready", "notify"),
        ("vassal-reload", "rolling"),
    )
    words = (*place.words, "--emperor-capture-output")
    with reign(*words, environment=real(place.root)) as daemon:
        ready(daemon, "site.ini")
        with crowd(address, clients=CLIENTS, keeps_alive=server.keeps_alive) as tally:
            for version in range(1, GOOD_RELOADS + 1):
                place.write("app.py", app_saying(str(version)))
                done = place.control("reload", "--wait", "site.ini")
                assert (done.code, done.out[:15]) == (0, "site.ini: ready"), daemon
                settle(daemon, "site.ini")
                assert get(address) == str(version)
            pid = place.control.view("site.ini")["pid"]
            place.write("app.py", BROKEN_APP)
            for _ in range(BAD_RELOADS):
                done = place.control("reload", "--wait", "site.ini")
                assert (done.code, done.out[:16]) == (1, "site.ini: failed"), daemon
                assert get(address) == str(GOOD_RELOADS)
            why = place.control("why", "site.ini").out
            status = place.control("status", "site.ini")
        assert tally.wrong == {}, daemon
        assert set(tally.answers) == set(map(str, range(GOOD_RELOADS + 1)))
        assert place.control.view("site.ini")["pid"] == pid
        assert "what was to replace it did not become ready" in why
        assert (status.code, "did not become ready" in status.out) == (1, True)
        daemon.expect("the next one died before it was ready", "site.ini", level="error")
        # repaired, by a touch this time
        place.write("app.py", app_saying("mended"))
        os.utime(place.path("site.ini"))
        daemon.expect("is ready", "site.ini:next")
        settle(daemon, "site.ini")
        assert get(address) == "mended"
        assert place.control("status", "site.ini").code == 0
