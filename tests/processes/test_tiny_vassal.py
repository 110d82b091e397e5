"""The trivial vassal does what its comment says: daemon tests and benches lean on it."""

import os
import select
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.support.tiny import NoCompilerError, compile_tiny, read_events

pytestmark = pytest.mark.process

_SECONDS = 10.0
_STARTED = bytes((1, 5, 17))


@dataclass(frozen=True, slots=True, kw_only=True)
class Vassal:
    """A started vassal and our ends of its sockets."""

    process: subprocess.Popen[bytes]
    command: socket.socket
    config: socket.socket | None
    log: str

    def hears(self, count: int) -> bytes:
        """The next ``count`` bytes that it says; fewer at end of file."""
        self.command.settimeout(_SECONDS)
        heard = b""
        while len(heard) < count and (more := self.command.recv(count - len(heard))):
            heard += more
        return heard

    def give(self, *bodies: str) -> None:
        """Send config messages, one for each body."""
        assert self.config is not None
        for body in bodies:
            text = body.encode()
            self.config.sendall(struct.pack("<BHB", 115, len(text), 0) + text)

    def leaves(self) -> int:
        """Its exit code."""
        return self.process.wait(_SECONDS)

    def did(self) -> list[str]:
        """What it has logged, without the times."""
        return [event.what for event in read_events(self.log)]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    try:
        return compile_tiny(str(tmp_path_factory.mktemp("tiny")))
    except NoCompilerError as missing:
        pytest.skip(str(missing))


class Starter:
    """Starts vassals and, at the end, stops those that still run."""

    def __init__(self, program: str, log: str) -> None:
        self._program = program
        self._log = log
        self._started: list[Vassal] = []

    def __call__(self, *argv: str, config: bool) -> Vassal:
        command, its_command = socket.socketpair()
        ours, its_config = socket.socketpair() if config else (None, None)
        theirs = [its_command] if its_config is None else [its_command, its_config]
        names = ("UWSGI_EMPEROR_FD", "UWSGI_EMPEROR_FD_CONFIG")
        numbers = {name: str(end.fileno()) for name, end in zip(names, theirs, strict=False)}
        process = subprocess.Popen(
            (self._program, *argv),
            pass_fds=[end.fileno() for end in theirs],
            env={"TINY_LOG": self._log, **numbers},
        )
        for end in theirs:
            end.close()
        vassal = Vassal(process=process, command=command, config=ours, log=self._log)
        self._started.append(vassal)
        return vassal

    def stop(self) -> None:
        for vassal in self._started:
            vassal.process.kill()
            vassal.process.wait()
            vassal.command.close()
            if vassal.config is not None:
                vassal.config.close()


@pytest.fixture
def start(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    directory = tmp_path_factory.mktemp("log")
    starter = Starter(tiny, str(directory / "events"))
    yield starter
    starter.stop()


@pytest.fixture
def inherited(start: Starter) -> Vassal:
    """A running vassal that has read a config of one part."""
    vassal = start("--inherit", "emperor://shop.ini", config=True)
    vassal.give("[uwsgi]\nmaster =\n")
    assert vassal.hears(3) == _STARTED
    return vassal


def test_a_file_vassal_starts_without_a_config(start: Starter) -> None:
    vassal = start("--ini", "shop.ini", config=False)
    assert vassal.hears(3) == _STARTED
    assert [event.vassal for event in read_events(vassal.log)] == ["shop.ini"] * 2


def test_the_log_is_on_our_clock(start: Starter) -> None:
    before = time.monotonic_ns()
    vassal = start("--ini", "/srv/vassals/shop.ini", config=False)
    assert vassal.hears(3) == _STARTED
    first = read_events(vassal.log)[0]
    assert (first.what, first.vassal) == ("start", "shop.ini")
    assert before < first.at_ns < time.monotonic_ns()


def test_no_log_before_the_first_event(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert read_events(str(tmp_path_factory.mktemp("log") / "none")) == ()


def test_it_says_nothing_before_its_config(start: Starter) -> None:
    vassal = start("--inherit", "emperor://shop.ini", config=True)
    wait_for(vassal, "start")
    assert not readable(vassal.command)
    vassal.give("[uwsgi]\n")
    assert vassal.hears(3) == _STARTED


def test_a_last_line_announces_another_part(start: Starter) -> None:
    vassal = start("--inherit", "emperor://shop.ini", config=True)
    vassal.give("[uwsgi]\na = 1\ninherit = emperor://shop-2.ini\n")
    wait_for(vassal, "config")
    assert not readable(vassal.command)
    vassal.give("[uwsgi]\nb = 2\n")
    assert vassal.hears(3) == _STARTED
    assert vassal.did() == ["start", "config", "config", "ready"]


def test_an_inherit_above_the_last_line_announces_nothing(start: Starter) -> None:
    vassal = start("--inherit", "emperor://shop.ini", config=True)
    vassal.give("[uwsgi]\ninherit = emperor://shop-2.ini\na = 1\n")
    assert vassal.hears(3) == _STARTED


def test_a_part_of_the_largest_size(start: Starter) -> None:
    vassal = start("--inherit", "emperor://shop.ini", config=True)
    announcement = "\ninherit = emperor://shop-2.ini"
    vassal.give("[uwsgi]\n".ljust(65535 - len(announcement), "#") + announcement, "[uwsgi]\n")
    assert vassal.hears(3) == _STARTED


@pytest.mark.parametrize(("byte", "event"), [(0, "stop"), (2, "graceful")])
def test_both_stop_bytes_end_it(inherited: Vassal, byte: int, event: str) -> None:
    inherited.command.send(bytes((byte,)))
    assert inherited.leaves() == 0
    assert inherited.did()[-1] == event


def test_a_reload_asks_for_the_config_of_all_parts(inherited: Vassal) -> None:
    inherited.command.send(b"\1")
    assert inherited.hears(1) == b"\2"
    inherited.give("[uwsgi]\ninherit = emperor://shop-2.ini\n", "[uwsgi]\na = 2\n")
    assert inherited.hears(1) == b"\5"
    wait_for(inherited, "ready", times=2)
    assert inherited.did()[3:] == ["reload", "ask", "config", "config", "ready"]


def test_it_reloads_again_and_again(inherited: Vassal) -> None:
    for _ in range(3):
        inherited.command.send(b"\1")
        assert inherited.hears(1) == b"\2"
        inherited.give("[uwsgi]\n")
        assert inherited.hears(1) == b"\5"


def test_a_file_vassal_reloads_without_asking(start: Starter) -> None:
    vassal = start("--ini", "shop.ini", config=False)
    assert vassal.hears(3) == _STARTED
    vassal.command.send(b"\1")
    assert vassal.hears(1) == b"\5"


def test_a_lost_emperor_ends_it(inherited: Vassal) -> None:
    inherited.command.shutdown(socket.SHUT_RDWR)
    assert inherited.leaves() == 1
    assert inherited.did()[-1] == "lost"


@pytest.mark.parametrize("header", [b"\0\1\0\0", b"s\0\0\0"])
def test_a_config_that_is_none_is_refused(start: Starter, header: bytes) -> None:
    vassal = start("--inherit", "emperor://shop.ini", config=True)
    assert vassal.config is not None
    vassal.config.sendall(header)
    assert vassal.leaves() == 1
    assert vassal.did()[-1] == "refused"


def test_a_closed_config_socket_is_refused(start: Starter) -> None:
    vassal = start("--inherit", "emperor://shop.ini", config=True)
    assert vassal.config is not None
    vassal.config.shutdown(socket.SHUT_RDWR)
    assert vassal.leaves() == 1


def test_without_an_emperor_it_leaves(tiny: str) -> None:
    assert subprocess.run((tiny,), env={}, timeout=_SECONDS).returncode == 2


def test_many_share_one_log(start: Starter) -> None:
    vassals = [start("--ini", f"shop{number}.ini", config=False) for number in range(20)]
    for vassal in vassals:
        assert vassal.hears(3) == _STARTED
    events = read_events(vassals[0].log)
    assert len(events) == 40
    assert {event.vassal for event in events} == {f"shop{n}.ini" for n in range(20)}


def test_no_compiler_is_said_clearly(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert shutil.which("cc") is None
    with pytest.raises(NoCompilerError, match="no C compiler"):
        compile_tiny(str(tmp_path_factory.mktemp("tiny")))


def readable(end: socket.socket) -> bool:
    """Is there something to read right now?"""
    return bool(select.select([end], [], [], 0)[0])


def wait_for(vassal: Vassal, what: str, times: int = 1) -> None:
    """Return when the vassal's log has ``times`` such events; fail at the deadline."""
    deadline = time.monotonic() + _SECONDS
    while vassal.did().count(what) < times:
        assert time.monotonic() < deadline, f"no {what} in {vassal.did()}"
        os.sched_yield()
