"""What systemd is told, and what is taken from it: real sockets, and a clock of our own."""

import fcntl
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from emperor.runtime.service import (
    RETRY_SECONDS,
    VARIABLES,
    Notifier,
    take_listen_fds,
)


@dataclass(eq=False, slots=True)
class Planned:
    at: float
    callback: Callable[[], object]
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass(slots=True)
class Clock:
    """The part of a loop that the notifier needs, with time that passes when it is told to."""

    now: float = 1000.0
    planned: list[Planned] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: object
    ) -> Planned:
        planned = Planned(self.now + delay, lambda: callback(*args))
        self.planned.append(planned)
        return planned

    def passes(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [p for p in self.planned if p.at <= end and not p.is_cancelled]:
            first = min(due, key=lambda p: p.at)
            self.planned.remove(first)
            self.now = first.at
            first.callback()
        self.now = end

    def is_idle(self) -> bool:
        return all(p.is_cancelled for p in self.planned)


class Systemd:
    """Somebody who reads what a service says."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1))
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        heard = []
        while True:
            try:
                heard.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return heard


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "path":
        return f"{tmp_path}/notify"
    return f"@emperor-test-{uuid.uuid4().hex}"


@pytest.fixture
def systemd(address: str) -> Iterator[Systemd]:
    systemd = Systemd(address)
    yield systemd
    systemd.socket.close()


def test_the_life_of_a_service(address: str, systemd: Systemd) -> None:
    clock = Clock()
    notifier = Notifier({"NOTIFY_SOCKET": address}, loop=clock)
    notifier.ready()
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    after = time.monotonic_ns() // 1000
    notifier.ready()
    notifier.stopping()
    ready, reloading, again, stopping = systemd.heard()
    assert (ready, again, stopping) == ("READY=1", "READY=1", "STOPPING=1")
    first, _, second = reloading.partition("\n")
    assert first == "RELOADING=1"
    name, _, microseconds = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= after
    notifier.close()
    notifier.ready()
    notifier.governing(3)
    assert systemd.heard() == []
    assert clock.is_idle()


def test_a_status_is_sent_once_a_second_at_most_and_the_last_one_counts(
    address: str, systemd: Systemd
) -> None:
    clock = Clock()
    notifier = Notifier({"NOTIFY_SOCKET": address}, loop=clock)
    notifier.governing(0)
    assert systemd.heard() == ["STATUS=The Emperor is governing 0 vassals"]
    for vassals in range(1, 1000):
        notifier.governing(vassals)
    clock.passes(0.99)
    assert systemd.heard() == []
    clock.passes(0.02)
    assert systemd.heard() == ["STATUS=The Emperor is governing 999 vassals"]
    notifier.governing(999)
    clock.passes(5)
    assert systemd.heard() == []
    notifier.status("two\nlines \udce9")
    assert systemd.heard() == ["STATUS=two lines ?"]
    assert clock.is_idle()
    notifier.close()


@pytest.mark.parametrize("pid", [str(os.getpid()), None], ids=["ours", "none"])
def test_the_watchdog_hears_of_us_in_half_of_its_time(
    address: str, systemd: Systemd, pid: str | None
) -> None:
    clock = Clock()
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000"}
    if pid is not None:
        environ["WATCHDOG_PID"] = pid
    notifier = Notifier(environ, loop=clock)
    notifier.start_watchdog()
    clock.passes(4.6)
    assert systemd.heard() == ["WATCHDOG=1"] * 4
    notifier.close()
    clock.passes(10)
    assert systemd.heard() == []


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": ""},
    ],
)
def test_a_watchdog_that_is_not_for_us_hears_nothing(
    address: str, systemd: Systemd, environ: dict[str, str]
) -> None:
    clock = Clock()
    notifier = Notifier({"NOTIFY_SOCKET": address, **environ}, loop=clock)
    notifier.start_watchdog()
    assert systemd.heard() == []
    assert clock.is_idle()
    notifier.close()


def test_a_systemd_that_does_not_read_hears_what_matters_later(
    address: str, systemd: Systemd
) -> None:
    clock = Clock()
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}
    notifier = Notifier(environ, loop=clock)
    clogged = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        try:
            while True:
                other.sendto(b"noise", address.replace("@", "\0", 1))
                clogged += 1
        except BlockingIOError:
            pass
    notifier.reloading()
    notifier.ready()
    notifier.governing(7)
    notifier.start_watchdog()
    clock.passes(3)
    assert systemd.heard() == ["noise"] * clogged
    clock.passes(RETRY_SECONDS)
    reloading, *others = systemd.heard()
    assert reloading.startswith("RELOADING=1\n")
    assert others == ["READY=1"]
    clock.passes(1)
    assert set(systemd.heard()) == {"WATCHDOG=1", "STATUS=The Emperor is governing 7 vassals"}
    notifier.close()


@pytest.mark.parametrize("text", ["", "nowhere", "vsock:2:1", "/no/such/file", "/" + "x" * 200])
def test_nobody_to_tell_is_nothing_to_fail_of(text: str) -> None:
    clock = Clock()
    notifier = Notifier({"NOTIFY_SOCKET": text, "WATCHDOG_USEC": "1000000"}, loop=clock)
    notifier.ready()
    notifier.governing(1)
    notifier.start_watchdog()
    clock.passes(3)
    notifier.stopping()
    notifier.close()
    assert clock.is_idle()


#: Takes what it was passed as systemd would, says what it has and what its child would get.
TAKER = """
import os, sys
from emperor.runtime.service import VARIABLES, take_listen_fds
if os.environ.get("LISTEN_PID") == "mine": os.environ["LISTEN_PID"] = str(os.getpid())
taken = take_listen_fds(os.environ, os.getpid())
left = [name for name in VARIABLES if name in os.environ]
there = [n for n in range(3, 8) if os.path.exists(f"/proc/self/fd/{n}")]
kept = [n for n in there if os.get_inheritable(n)]
print([(name, s.fileno(), s.getsockname()[1]) for name, s in taken], left, kept)
"""


def pass_to_taker(environ: dict[str, str], *passed: int) -> str:
    """What TAKER says when these descriptors are its numbers 3, 4, ..."""
    # a shell's redirections are the plainest way to exact numbers
    redirections = " ".join(f"{3 + i}<&{n}" for i, n in enumerate(passed))
    done = subprocess.run(
        ["/bin/bash", "-c", f'exec "$0" -c "$1" {redirections}', sys.executable, TAKER],
        env={**environ, "PATH": os.environ["PATH"]},
        pass_fds=passed,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def test_the_sockets_of_systemd_are_taken() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
        open(os.devnull) as null,
    ):
        ports = [s.getsockname()[1] for s in (one, two)]
        # high ones, so that none is in the way of the numbers that they get
        passed = [fcntl.fcntl(file.fileno(), fcntl.F_DUPFD, 20) for file in (one, two, null)]
        try:
            environ = {"LISTEN_FDS": "2", "LISTEN_PID": "mine", "LISTEN_FDNAMES": "stats:"}
            said = pass_to_taker(environ, *passed[:2])
            assert said == f"[('stats', 3, {ports[0]}), ('unknown', 4, {ports[1]})] [] []"
            environ["LISTEN_FDNAMES"] = "null:stats:more"
            environ["LISTEN_FDS"] = "999999999"
            said = pass_to_taker(environ, passed[2], passed[0])
            assert said == f"[('stats', 4, {ports[0]})] [] []"
            environ = {"LISTEN_FDS": "1", "LISTEN_PID": "1"}
            assert pass_to_taker(environ, passed[0]) == "[] [] [3]"
            environ = {"LISTEN_FDS": "-1", "LISTEN_PID": "mine"}
            assert pass_to_taker(environ, passed[0]) == "[] [] [3]"
        finally:
            for number in passed:
                os.close(number)


def test_without_systemd_nothing_is_taken() -> None:
    environ = {"HOME": "/"}
    assert take_listen_fds(environ, os.getpid()) == []
    assert environ == {"HOME": "/"}
    assert len(set(VARIABLES)) == len(VARIABLES)


def test_ps_shows_the_name() -> None:
    program = (
        "import sys\n"
        "from emperor.runtime.procname import set_process_name\n"
        "set_process_name(''); print(open('/proc/self/cmdline', 'rb').read()[:7])\n"
        "set_process_name('the caf\\u00e9 Emperor \\udce9'); \n"
        "print(open('/proc/self/cmdline', 'rb').read().rstrip(b'\\0').decode())\n"
        "print(open('/proc/self/comm', 'rb').read().decode('utf-8', 'ignore').strip())\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", program],
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    before, title, comm = done.stdout.splitlines()
    assert before == repr(sys.executable.encode()[:7])
    assert title == "the café Emperor ?"
    assert title.startswith(comm)
