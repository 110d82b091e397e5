"""Rolling reloads of servers that need help to lose nothing: each generation has sockets of its
own, and the one before is told to go when it has answered."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.e2e.asking import connect
from tests.e2e.crowd import crowd
from tests.e2e.daemon import Daemon, reign
from tests.e2e.programs import (
    A_TENANT,
    Yard,
    needed_server,
    ready,
    real,
    until,
    yard,
)
from tests.e2e.sites import free_port, get
from tests.e2e.tenants import KINDS
from tests.support.marks import needs_root

pytestmark = pytest.mark.process

NAME = "site.ini"

GOOD_RELOADS, BAD_RELOADS = 5, {"gunicorn": 1, "uvicorn": 0}
CLIENTS = 100

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

#: Servers as they are, and how they are known to be ready. uvicorn tells nobody: it counts as
#: ready when it has lived for so many seconds, perhaps before it accepts, and who comes waits.
SERVERS = {
    "uvicorn": (
        "uvicorn --fd 3 --no-access-log --log-level warning app:asgi",
        ("vassal-ready-after", "0.2"),
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
        until(lambda: tally.answers["0"] > 0, daemon)
        for version in map(str, range(1, good + 1)):
            place.write("app.py", APP.format(greeting=version))
            done = place.control("reload", "--wait", NAME)
            assert done.code == 0, f"{done}\n{daemon}"
            until(lambda: tally.answers[version] > 0, daemon)  # noqa: B023
        place.write("app.py", BROKEN)
        for _ in range(bad):
            assert place.control("reload", "--wait", NAME).code == 1, daemon
            assert get(address) == str(good)
        until(lambda: elders(daemon, "is gone (") == good, daemon)
    return Losses(wrong=tally.wrong, answers=tally.answers)


def elders(daemon: Daemon, text: str) -> int:
    """How many that were replaced have said that; there may be several at a time."""
    names = {line.vassal for line in tuple(daemon.lines)}
    return sum(
        text in message
        for name in names
        if name.startswith(f"{NAME}:old")
        for message in daemon.said(name)
    )


def put(
    place: Yard,
    server: str,
    *more: tuple[str, str],
    owner: int | None = None,
    python: str = sys.executable,
) -> str:
    """Write a vassal that is a real server; gives its address."""
    words, is_ready = SERVERS[server]
    command = f"{python} -m {words}"
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
        bad = BAD_RELOADS[server]
        losses = reload_under_load(place, daemon, address, good=GOOD_RELOADS, bad=bad)
        assert losses.wrong == {}, daemon
        assert set(losses.answers) == set(map(str, range(GOOD_RELOADS + 1)))
        assert "shared with" not in str(daemon)


@needs_root
@pytest.mark.parametrize(
    ("server", "kind"), [("uvicorn", "root"), ("gunicorn", "root"), ("uvicorn", "reduced")]
)
def test_no_request_is_lost_at_a_tenants(place: Yard, server: str, kind: str) -> None:
    needed_server(server)
    home = f"{place.root}/home"
    os.mkdir(home)
    os.chown(home, A_TENANT, A_TENANT)
    os.chmod(place.root, 0o755)
    more = (
        ("env", f"PYTHONPATH={packages(place)}"),
        ("env", f"HOME={home}"),
        ("env", "PYTHONDONTWRITEBYTECODE=1"),
    )
    address = put(place, server, *more, owner=A_TENANT, python=place.python)
    with reign(*place.words, "--emperor-tyrant", *KINDS[kind]) as daemon:
        pid = ready(daemon, NAME)
        assert os.stat(f"/proc/{pid}").st_uid == A_TENANT
        losses = reload_under_load(place, daemon, address, good=2, bad=BAD_RELOADS[server])
        assert losses.wrong == {}, daemon
        assert set(losses.answers) == {"0", "1", "2"}


def packages(place: Yard) -> str:
    """Where everybody finds the servers: those of the tests may be below somebody's home."""
    names = ("gunicorn", "packaging", "uvicorn", "click", "h11")
    made = f"{place.root}/packages"
    os.mkdir(made)
    for name in names:
        source = os.path.join(sysconfig.get_path("purelib"), name)
        subprocess.run(["cp", "-r", source, made], check=True)
    subprocess.run(["chmod", "-R", "go+rX", made], check=True)
    return made


# -- a small program that can be made to wait --------------------------------------------------


@pytest.mark.parametrize("served_at", ["tcp", "unix"])
def test_nothing_is_left_of_twenty_generations(place: Yard, served_at: str) -> None:
    address = f"127.0.0.1:{free_port()}" if served_at == "tcp" else place.socket("site")
    put_program(place, address, ("vassal-log", f"{place.root}/log"))
    with reign(*place.words) as daemon:
        ready(daemon, NAME)
        open_before = 0
        for number in range(1, 22):
            assert place.control("reload", "--wait", NAME).code == 0, daemon
            if number in (1, 21):
                until(lambda: elders(daemon, "is gone (") == number, daemon)  # noqa: B023
                until(lambda: place.control("status").out.count("\n") == 2, daemon)
            if number == 1:
                open_before = len(os.listdir(f"/proc/{daemon.pid}/fd"))
        pid = place.control.view(NAME)["pid"]
        assert json.loads(get(address))["pid"] == pid
        assert len(os.listdir(f"/proc/{daemon.pid}/fd")) == open_before
        assert listening(address) == 1
        get(address, "/write?3:x")
        log = Path(f"{place.root}/log")  # which is made with the first output
        until(lambda: log.exists() and "xxx" in log.read_text(), daemon)
        assert os.listdir(place.root).count("site.http") == (served_at == "unix")
        assert not [name for name in os.listdir(place.root) if ".next" in name]


def put_program(place: Yard, address: str, *more: tuple[str, str]) -> None:
    """A vassal that is the tests' own program, which serves one after the other."""
    place.put(
        NAME,
        ("vassal-exec", place.command("ready")),
        ("socket", address),
        ("vassal-ready", "notify"),
        ("vassal-reload", "rolling"),
        *more,
    )


def listening(address: str) -> int:
    """How many sockets listen at an address, or are on their way to it."""
    if not address.startswith("/"):
        return len(listeners(address))
    rows = [row.split() for row in Path("/proc/net/unix").read_text().splitlines()[1:]]
    names = [row[7] for row in rows if len(row) == 8 and row[3] == "00010000"]
    return sum(name == address or name.startswith(f"{address}.next") for name in names)


def waiting(address: str) -> int:
    """How many connections wait to be accepted at a TCP address."""
    return sum(int(row[4].partition(":")[2], 16) for row in listeners(address))


def listeners(address: str) -> list[list[str]]:
    """The rows of the sockets that listen at a TCP address."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()]
    port = int(address.rpartition(":")[2])
    return [row for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")]


@contextmanager
def draining(place: Yard) -> Iterator[tuple[Daemon, int]]:
    """A daemon, and the pid of an elder that is not told to go: it is busy, and one waits."""
    address = f"127.0.0.1:{free_port()}"
    put_program(place, address)
    with reign(*place.words) as daemon, ExitStack() as stack:
        elder = ready(daemon, NAME)
        for path in ("/hang", "/"):
            client = stack.enter_context(connect(address))
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        until(lambda: waiting(address) == 1, daemon)
        assert place.control("reload", "--wait", NAME).code == 0, daemon
        assert json.loads(get(address))["pid"] != elder
        assert place.control.view(f"{NAME}:old")["pid"] == elder
        assert not elders(daemon, "stopping this one")
        yield daemon, elder
        until(lambda: elders(daemon, "is gone (") >= 1, daemon)
        assert elders(daemon, "spawn") == 0


def test_an_elder_that_dies_is_not_spawned_again(place: Yard) -> None:
    with draining(place) as (_, elder):
        os.kill(elder, signal.SIGKILL)


def test_an_elder_that_is_told_goes_now(place: Yard) -> None:
    with draining(place):
        place.control("reload", f"{NAME}:old")


def test_an_elder_goes_with_the_one_that_took_its_place(place: Yard) -> None:
    with draining(place):
        assert place.control("stop", "--wait", NAME).code == 0


def test_an_elder_goes_when_the_file_is_gone(place: Yard) -> None:
    with draining(place) as (daemon, _):
        os.unlink(place.path(NAME))
        daemon.expect("is gone (", NAME)


def test_elders_go_one_after_the_other(place: Yard) -> None:
    with draining(place) as (daemon, elder):
        assert place.control("reload", "--wait", NAME).code == 0, daemon
        assert not elders(daemon, "stopping this one")
        os.kill(elder, signal.SIGKILL)
        until(lambda: elders(daemon, "is gone (") == 2, daemon)


def test_an_elder_that_is_never_quiet_is_told_after_a_while(place: Yard) -> None:
    with draining(place) as (daemon, _):
        until(lambda: elders(daemon, "stopping this one") == 1, daemon)


def test_elders_go_with_the_daemon(place: Yard) -> None:
    with draining(place) as (daemon, _):
        os.kill(daemon.pid, signal.SIGTERM)


def test_an_heir_that_cannot_take_over_goes_and_the_elder_stays(place: Yard) -> None:
    address, hold = place.socket("site"), f"{place.root}/hold"
    waits = f"while test -e {hold}; do sleep 0.05; done; exec {place.command('ready')}"
    put_program(place, address, ("vassal-exec", waits))
    with reign(*place.words) as daemon:
        elder = ready(daemon, NAME)
        place.write("hold", "")
        os.utime(place.path(NAME))
        until(lambda: os.path.exists(f"{address}.next"), daemon)
        os.unlink(f"{address}.next")
        os.unlink(hold)
        daemon.expect("cannot take its sockets over (No such file", NAME, level="error")
        daemon.expect("is gone (", f"{NAME}:next")
        assert json.loads(get(address))["pid"] == elder
        done = place.control("reload", "--wait", NAME)
        assert done.code == 0, f"{done}\n{daemon}"
        assert json.loads(get(address))["pid"] != elder
