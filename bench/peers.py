"""How each contender is started and stopped: one daemon at a time, every process by its pid."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from bench.figures import BenchError
from bench.processes import Process, alive, below
from bench.vassals import Place, TinyLog, wait_until, write_vassals

EMPEROR = "emperor"
UWSGI = "uwsgi"
DESCRIPTORS = 20_000  # the peer's start depends on it: it closes every number in each child
_START_SECONDS = 120.0
_STOP_SECONDS = 60.0
_DEATH_SECONDS = 5.0
_TAIL_BYTES = 2000
# A shell that forbids byte code would make every start of ours compile its sources again.
_ENVIRONMENT = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
_QUIET = tuple((os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A daemon that runs a directory of vassals."""

    name: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A daemon that was started just before ``since_ns`` (monotonic), and its vassals' log."""

    process: subprocess.Popen[bytes]
    log: TinyLog
    output: str  # the file with what it writes
    since_ns: int

    def wait_until(self, holds: Callable[[], bool], *, what: str) -> None:
        """Return as soon as ``holds`` does; BenchError, with the end of its output, if it fails
        or takes too long."""

        def holds_or_has_left() -> bool:
            if self.process.poll() is not None:
                raise BenchError(f"the daemon left with {self.process.returncode}")
            return holds()

        try:
            wait_until(holds_or_has_left, seconds=_START_SECONDS, what=what)
        except BenchError as failed:
            with open(self.output, errors="replace") as file:
                raise BenchError(f"{failed}\n{file.read()[-_TAIL_BYTES:]}") from failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A daemon with all its vassals up."""

    pid: int
    log: TinyLog
    start_seconds: float  # from just before the exec to the last vassal's "accepting"


def emperor_program() -> str:
    """The ``emperor`` command of the environment that runs the bench, else BenchError."""
    program = os.path.join(os.path.dirname(sys.executable), "emperor")
    if not os.path.exists(program):
        raise BenchError(f"{program} is not there: run the bench with its environment's python")
    return program


def uwsgi_program() -> str | None:
    """The uWSGI binary on PATH, or None: then there is only our side to measure."""
    return shutil.which("uwsgi-core") or shutil.which("uwsgi")


def contenders(where: Place) -> tuple[Contender, ...]:
    """Ours, and uWSGI's Emperor where there is one, on the same files and program."""
    watch = ("--emperor", where.vassals, "--binary-path", where.tiny)
    control = ("--emperor-control", os.path.join(where.root, "control"))
    ours = Contender(name=EMPEROR, argv=(emperor_program(), "run", *watch, *control))
    binary = uwsgi_program()
    # uWSGI's Emperor starts what `binary-path` names as TINY --ini NAME.ini
    theirs = () if binary is None else (Contender(name=UWSGI, argv=(binary, *watch)),)
    return (ours, *theirs)


def alternated(rivals: Sequence[Contender], runs: int) -> Iterator[tuple[int, Contender]]:
    """Each run with each contender, the order turned round from run to run."""
    for run in range(runs):
        for rival in rivals if run % 2 == 0 else reversed(rivals):
            yield run, rival


def limit_descriptors() -> int:
    """Give this process, and so every contender, one ``ulimit -n``; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    may_raise = os.geteuid() == 0 or hard == resource.RLIM_INFINITY
    limit = DESCRIPTORS if may_raise else min(DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    return limit


def timed_ms(argv: tuple[str, ...]) -> float:
    """Milliseconds from spawn to exit, output thrown away; BenchError unless it exits 0."""
    since = time.perf_counter_ns()
    pid = os.posix_spawn(argv[0], argv, _ENVIRONMENT, file_actions=_QUIET)
    _, status = os.waitpid(pid, 0)
    spent = (time.perf_counter_ns() - since) / 1e6
    if status != 0:
        shown = subprocess.run(argv, capture_output=True, text=True, errors="replace")
        raise BenchError(f"{' '.join(argv)}: status {status}\n{shown.stderr[-_TAIL_BYTES:]}")
    return spent


@contextmanager
def running(rival: Contender, where: Place) -> Iterator[Running]:
    """The contender on fresh vassal files with every vassal up; nothing of it is left after.

    Raises BenchError with the end of its output if it fails or takes too long.
    """
    write_vassals(where)
    with started(rival, where) as daemon:
        log, many = daemon.log, len(where.names)
        daemon.wait_until(
            lambda: len(log.first("ready")) >= many, what=f"start of {many} vassals"
        )
        up = max(log.first("ready").values())
        yield Running(
            pid=daemon.process.pid, log=log, start_seconds=(up - daemon.since_ns) / 1e9
        )


@contextmanager
def started(
    rival: Contender, where: Place, *, environment: Mapping[str, str] | None = None
) -> Iterator[Started]:
    """The contender, just started, with this in its environment; nothing is left of it."""
    log = TinyLog(path=os.path.join(where.root, "events"))
    output = os.path.join(where.root, "output")
    since = time.monotonic_ns()
    daemon = _spawn(rival, output, {"TINY_LOG": log.path, **(environment or {})})
    try:
        yield Started(process=daemon, log=log, output=output, since_ns=since)
    finally:
        _stop(daemon)
        for path in (output, log.path):
            with suppress(FileNotFoundError):
                os.unlink(path)


def _spawn(
    rival: Contender, output: str, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    with open(output, "wb") as sink:
        return subprocess.Popen(
            rival.argv,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env={**os.environ, **environment},
            start_new_session=True,  # an interrupt of the bench is not one of the daemon
        )


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the daemon; SIGKILL, one pid at a time, to what outlives its deadline."""
    family = below(daemon.pid)
    daemon.terminate()
    try:
        daemon.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
    _bury(family)


def _bury(family: Sequence[Process]) -> None:
    with suppress(BenchError):
        wait_until(lambda: not _any_alive(family), seconds=_DEATH_SECONDS, what="end of all")
    for process in family:
        if alive(process):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def _any_alive(family: Sequence[Process]) -> bool:
    return any(alive(process) for process in family)
