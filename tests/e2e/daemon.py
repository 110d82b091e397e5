"""Starts the daemon as a user would, follows its log, and sees that nothing is left of it."""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sysconfig
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tests.support.uwsgi import ENVIRONMENT

#: How long anything may take that has no bar of its own, in seconds.
DEADLINE_SECONDS = 20.0

#: All that the bars allow between the daemon's SIGKILL and the death of its last process.
LAST_BREATH_SECONDS = 3.0

#: The vassal of a line that is not the daemon's own.
OUTPUT = "<output>"

#: How much of what the vassals said is shown when a test fails.
CHATTER_LINES = 30

_MARK = "EMPEROR_TEST_MARK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the log, at ``time`` (seconds since the epoch; 0 if it is not the daemon's).

    ``vassal`` is empty for the daemon's own affairs.
    """

    time: float
    vassal: str
    level: str
    message: str


class Daemon:
    """A running ``emperor run``; made by ``reign``."""

    def __init__(
        self,
        words: tuple[str, ...],
        *,
        command: tuple[str, ...],
        environment: Mapping[str, str],
        cwd: str,
    ) -> None:
        self._mark = uuid.uuid4().hex
        self._news = threading.Condition()
        self._is_silent = False
        self._cursors: dict[str, int] = {}
        self.lines: list[Line] = []
        if not any(word.startswith("--emperor-control") for word in words):
            words = (*words, "--emperor-control", "none")  # not the machine's own daemon's
        read, write = os.pipe()
        self.process = subprocess.Popen(
            [*command, "run", *words, "--log-format", "json"],
            cwd=cwd,
            env={**ENVIRONMENT, **environment, _MARK: self._mark},
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=write,
            start_new_session=True,
        )
        os.close(write)
        self.pid = self.process.pid
        self._reader = threading.Thread(target=self._follow, args=(read,), daemon=True)
        self._reader.start()

    # -- the log -----------------------------------------------------------------------------

    def expect(
        self,
        text: str,
        vassal: str = "",
        *,
        level: str | None = None,
        seconds: float = DEADLINE_SECONDS,
    ) -> str:
        """The next message of a vassal that contains ``text``; what it said before is passed
        over (in OUTPUT, where many speak, only what contained that text). Fails if there is
        none within ``seconds``."""
        deadline = time.monotonic() + seconds
        with self._news:
            while True:
                found = self._next(text, vassal)
                if found is not None:
                    assert level in (None, found.level), found
                    return found.message
                left = deadline - time.monotonic()
                if left <= 0 or self._is_silent:
                    raise AssertionError(f"no {text!r} of {vassal or 'the daemon'}\n{self}")
                self._news.wait(left)

    def since(self, vassal: str = "") -> list[Line]:
        """What a vassal (not OUTPUT) has said after the last line that ``expect`` gave."""
        with self._news:
            start = self._cursors.get(vassal, 0)
            return [line for line in self.lines[start:] if line.vassal == vassal]

    def said(self, vassal: str, *levels: str) -> list[str]:
        """All messages of a vassal, of these levels if any are named."""
        with self._news:
            return [
                line.message
                for line in self.lines
                if line.vassal == vassal and (not levels or line.level in levels)
            ]

    def spawned(self, vassal: str, *, seconds: float = DEADLINE_SECONDS) -> int:
        """The pid of the vassal's next process, once that has begun."""
        message = self.expect("spawned (pid ", vassal, seconds=seconds)
        return int(message.removeprefix("spawned (pid ").removesuffix(")"))

    def up(self, vassal: str) -> int:
        """The pid of the vassal's next process, once it accepts requests."""
        pid = self.spawned(vassal)
        self.expect("accepts requests", vassal)
        return pid

    def reloaded(self, vassal: str, reason: str) -> None:
        """Wait until the vassal accepts requests after a reload for this reason."""
        self.expect(f"{reason}: reloading", vassal)
        self.expect("accepts requests", vassal)

    def hang_up(self, pid: int) -> None:
        """Have a uWSGI master reload itself: SIGHUP, again if it was too young to hear it."""
        before = self._graces()

        def is_heard() -> bool:
            os.kill(pid, signal.SIGHUP)
            return self._graces() > before

        eventually(is_heard, complaint=lambda: f"deaf to SIGHUP\n{self}")

    def _graces(self) -> int:
        return sum("gracefully killing workers" in text for text in self.said(OUTPUT))

    def gone(self, vassal: str) -> None:
        """Wait until nothing is left of the vassal."""
        self.expect("is gone (", vassal)

    def __str__(self) -> str:
        chatter = [line for line in self.lines if line.vassal == OUTPUT][:-CHATTER_LINES]
        hidden = set(map(id, chatter))
        rows = (
            f"  {line.time % 1000:7.3f} {line.vassal or '-'} {line.level} {line.message}"
            for line in self.lines
            if id(line) not in hidden
        )
        return "\n".join(("the log:", *rows))

    # -- processes -----------------------------------------------------------------------------

    def family(self) -> set[int]:
        """The pids of the daemon and of everything that came of it; the dead do not count."""
        return {pid for pid in _pids() if self._is_ours(pid)}

    def helper(self, word: str) -> int:
        """The pid of the daemon's own child whose command line holds ``word``, once there is
        one."""
        found: list[int] = []

        def is_there() -> bool:
            found[:] = (pid for pid in _children(self.pid) if word in _command_line(pid))
            return len(found) == 1

        eventually(is_there, complaint=lambda: f"no {word}, or several: {found}")
        return found[0]

    @property
    def guardian(self) -> int:
        """The pid of the guardian."""
        return self.helper("guardian.process")

    @property
    def compile_server(self) -> int:
        """The pid of the compile server."""
        return self.helper("compiling.server")

    def is_family(self, pid: int) -> bool:
        """Whether that living process is the daemon, or came of it."""
        return self._is_ours(pid)

    def zombies(self) -> list[int]:
        """The dead below the daemon that nobody has waited for."""
        return _zombies(self.pid)

    def below(self, pid: int) -> list[int]:
        """The pids of a process's children."""
        return _children(pid)

    def kill(self) -> None:
        """SIGKILL the daemon; everything must be dead within the time that the bars allow."""
        pids = self.family()
        self.process.kill()
        deadline = time.monotonic() + LAST_BREATH_SECONDS
        self.process.wait()
        eventually(
            lambda: not self.family() & pids,
            deadline - time.monotonic(),
            lambda: f"alive: {self.family()}\n{self}",
        )
        self._assert_nothing_left()

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> float:
        """Have it bring everything down in peace; gives how long that took, in seconds."""
        began = time.monotonic()
        self.process.send_signal(signum)
        assert self.process.wait(DEADLINE_SECONDS) == 0, self
        taken = time.monotonic() - began
        self._assert_nothing_left()
        return taken

    def end(self) -> None:
        """Have it kill everything and leave: the quick end of a test."""
        if self.process.poll() is None:
            eventually(lambda: not _zombies(self.pid), 2.0, lambda: f"zombies\n{self}")
            self.process.send_signal(signal.SIGTERM)
            self.expect("bringing all vassals down")
            self.process.send_signal(signal.SIGINT)
            assert self.process.wait(DEADLINE_SECONDS) == 0, self
        self._assert_nothing_left()

    def clean_up(self) -> None:
        """Leave nothing behind, whatever has happened."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(AssertionError):
            eventually(lambda: not self.family(), LAST_BREATH_SECONDS)
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._reader.join(LAST_BREATH_SECONDS)

    # -- details -------------------------------------------------------------------------------

    def _follow(self, descriptor: int) -> None:
        with open(descriptor, "rb") as stream:
            for raw in stream:
                with self._news:
                    self.lines += _lines(raw.decode("utf-8", "replace").rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self._is_silent = True
            self._news.notify_all()

    def _next(self, text: str, vassal: str) -> Line | None:
        cursor = text if vassal == OUTPUT else vassal
        for index in range(self._cursors.get(cursor, 0), len(self.lines)):
            line = self.lines[index]
            if line.vassal == vassal and text in line.message:
                self._cursors[cursor] = index + 1
                return line
        return None

    def _is_ours(self, pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                return f"{_MARK}={self._mark}".encode() in file.read()
        except OSError:
            return False

    def _assert_nothing_left(self) -> None:
        """No process is alive; nobody holds what was the daemon's standard error."""
        eventually(lambda: not self.family(), 1.0, lambda: f"alive: {self.family()}\n{self}")
        self._reader.join(1.0)
        assert not self._reader.is_alive(), "somebody still holds the daemon's output"


def emperor_program() -> str:
    """The command as it is installed."""
    found = shutil.which("emperor", path=sysconfig.get_path("scripts"))
    assert found is not None, "install the package first"
    return found


@contextlib.contextmanager
def reign(
    *words: str,
    command: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
    cwd: str = "/",
) -> Iterator[Daemon]:
    """``emperor run`` with these words; nothing is left of it afterwards. ``command`` is what
    starts the program, if not the installed script."""
    daemon = Daemon(
        words,
        command=command or (emperor_program(),),
        environment=environment or {},
        cwd=cwd,
    )
    try:
        yield daemon
        daemon.end()
    finally:
        daemon.clean_up()


def eventually(
    is_so: Callable[[], bool],
    seconds: float = DEADLINE_SECONDS,
    complaint: Callable[[], str] = lambda: "",
) -> None:
    """Look until it is so, where nothing tells; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(complaint())
        select.select((), (), (), 0.01)


def state_of(pid: int) -> str:
    """A process's state letter (``T`` stopped, ``Z`` dead and not waited for), or nothing."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0].decode()
    except OSError:
        return ""


def _lines(text: str) -> Iterator[Line]:
    """What one line of the output holds: a vassal may have begun a line that it has not ended
    when the daemon writes one."""
    before, brace, rest = text.partition('{"time": ')
    if before or not brace:
        yield Line(time=0.0, vassal=OUTPUT, level="", message=before)
    if brace:
        fields = json.loads(brace + rest)
        yield Line(
            time=fields["time"],
            vassal=fields.get("vassal", ""),
            level=fields["level"],
            message=fields["message"],
        )


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    return found


def _command_line(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return re.sub("\0", " ", file.read().decode("utf-8", "replace"))
    except OSError:
        return ""


def _zombies(pid: int) -> list[int]:
    """The dead below a process that nobody has waited for."""
    found = []
    for child in _children(pid):
        found += [child] if state_of(child) == "Z" else _zombies(child)
    return found
