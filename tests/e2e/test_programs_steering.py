"""Rolling reloads of servers that need help to lose nothing: each generation has sockets of its
own, and the one before is told to go when it has answered."""

import os
import socket
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from tests.e2e.crowd import crowd
from tests.e2e.daemon import Daemon, eventually, reign
from tests.e2e.programs import (
    A_TENANT,
    ANOTHER_TENANT,
    Yard,
    as_root,
    needed_server,
    ready,
    real,
    until,
    yard,
)
from tests.e2e.sites import free_port, get

pytestmark = pytest.mark.process

NAME = "site.ini"

GOOD_RELOADS, BAD_RELOADS = 5, 1
CLIENTS = 100

#: How long a version has to live before it counts as one that starts, in seconds.
TRIAL_SECONDS = 2.5

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

#: Servers as they are, and how they are known to be ready.
SERVERS = {
    "uvicorn": (
        "uvicorn --fd 3 --lifespan off --no-access-log app:asgi",
        ("vassal-ready-after", f"{TRIAL_SECONDS}"),
    ),
    "gunicorn": ("gunicorn --workers 2 --preload app:wsgi", ("vassal-ready", "notify")),
}


@pytest.fixture
def place() -> Iterator[Yard]:
    with yard() as found:
        yield found


# -- servers under load ------------------------------------------------------------------------


@dataclass(kw_only=True)
class Losses:
    """What came of some reloads: failed requests, by what failed, and whose answers came."""

    wrong: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)


def reload_under_load(
    place: Yard, daemon: Daemon, address: str, *, good: int, bad: int, clients: int = CLIENTS
) -> Losses:
    """Reload so many versions of the app that start, then so many that do not, while so many
    clients ask as fast as they can."""
    with crowd(address, clients=clients) as tally:
        for version in range(1, good + 1):
            place.write("app.py", APP.format(greeting=str(version)))
            done = place.control("reload", "--wait", NAME)
            assert done.code == 0, f"{done}\n{daemon}"
            assert get(address) == str(version)
        place.write("app.py", BROKEN)
        for _ in range(bad):
            assert place.control("reload", "--wait", NAME).code == 1, daemon
            assert get(address) == str(good)
        for _ in range(good):
            daemon.expect("is gone (", f"{NAME}:old")
    return Losses(wrong=tally.wrong, answers=tally.answers)


def put(place: Yard, server: str, *more: tuple[str, str], owner: int | None = None) -> str:
    """Write a vassal that is a real server; gives its address."""
    command, is_ready = SERVERS[server]
    address = f"127.0.0.1:{free_port()}"
    place.write("app.py", APP.format(greeting="0"))
    place.put(
        NAME,
        ("vassal-exec", command),
        ("chdir", place.root),
        ("socket", address),
        ("listen", "1024"),
        is_ready,
        ("vassal-reload", "rolling"),
        *more,
        owner=owner,
    )
    return address


@pytest.mark.parametrize("server", SERVERS)
def test_no_request_is_lost(place: Yard, server: str) -> None:
    needed_server(server)
    address = put(place, server)
    with reign(*place.words, environment=real(place.root)) as daemon:
        ready(daemon, NAME)
        losses = reload_under_load(place, daemon, address, good=GOOD_RELOADS, bad=BAD_RELOADS)
        assert losses.wrong == {}, daemon
        assert set(losses.answers) == set(map(str, range(GOOD_RELOADS + 1)))
        assert "shared with" not in str(daemon)
