"""Rolling reloads of real servers under load: nothing is lost, whether the next one comes up."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.e2e.crowd import crowd
from tests.e2e.daemon import Daemon, reign
from tests.e2e.programs import EXAMPLES, Yard, needed_server, ready, real, yard
from tests.e2e.sites import free_port, get

pytestmark = pytest.mark.process

GOOD_RELOADS, BAD_RELOADS = 3, 2
CLIENTS = 100

#: How each version of the app greets; one that cannot be imported greets nobody.
APP = """\
GREETING = {greeting!r}

def wsgi(environ, start_response):
    body = GREETING.encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

async def asgi(scope, receive, send):
    assert scope["type"] == "http"
    body = GREETING.encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({{"type": "http.response.start", "status": 200, "headers": headers}})
    await send({{"type": "http.response.body", "body": body}})
"""
BROKEN = "raise RuntimeError('this version does not start')\n"


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
    "uvicorn": Server(program="uvicorn", command="python3 serve.py app:asgi"),
    "uvicorn-keep-alive": Server(
        program="uvicorn", command="python3 serve.py app:asgi", keeps_alive=True
    ),
}


@pytest.fixture
def place() -> Iterator[Yard]:
    with yard() as found:
        yield found


@pytest.fixture(params=SERVERS.values(), ids=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.param
    needed_server(found.program)
    return found


def settle(daemon: Daemon, name: str) -> None:
    """Wait until the one before is gone."""
    daemon.expect("is gone (", f"{name}:old")


def test_no_request_is_lost(place: Yard, server: Server) -> None:
    address = f"127.0.0.1:{free_port()}"
    shutil.copy(f"{EXAMPLES}/serve.py", place.root)
    place.write("app.py", APP.format(greeting="0"))
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
                place.write("app.py", APP.format(greeting=str(version)))
                done = place.control("reload", "--wait", "site.ini")
                assert (done.code, done.out[:15]) == (0, "site.ini: ready"), daemon
                settle(daemon, "site.ini")
                assert get(address) == str(version)
            pid = place.control.view("site.ini")["pid"]
            place.write("app.py", BROKEN)
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
        place.write("app.py", APP.format(greeting="mended"))
        os.utime(place.path("site.ini"))
        daemon.expect("is ready", "site.ini:next")
        settle(daemon, "site.ini")
        assert get(address) == "mended"
        assert place.control("status", "site.ini").code == 0
