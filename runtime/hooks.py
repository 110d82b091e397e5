"""Runs the Emperor's hooks around the life of a vassal, and never makes it wait.

The commands come compiled (``compiler/moments.py``). They are children of the guardian like the
vassals, so they die with the daemon.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

#: How many hooks run at the same time; those of one vassal run one after the other.
MOST_AT_A_TIME = 16

#: A hook that cannot be started for want of descriptors, or of a guardian, is tried again after
#: so many seconds, and for so long.
RETRY_SECONDS = 0.25
LONGEST_RETRY_SECONDS = 10.0


class Spawner(Protocol):
    """What starts processes and signals them; ``Processes`` is one."""

    def spawn(
        self,
        *,
        argv: Sequence[str],
        environment: Mapping[str, str],
        cwd: str,
        descriptors: Mapping[int, int],
        on_spawned: Callable[[int], None],
        on_failed: Callable[[str], None],
        on_exited: Callable[[int], None],
    ) -> None:
        """Start a process that leads its group; raises OSError if it cannot even be asked for.

        ``on_spawned`` gets the pid, or ``on_failed`` the reason; then ``on_exited`` the exit
        code or -signal.
        """

    def signal(self, pid: int, signum: int, *, is_for_group: bool) -> None:
        """Signal a process or its group; nothing happens if it is gone."""


#: (level of ``logging``, shown name of the vassal, message).
Log = Callable[[int, str, str], None]


@dataclass(slots=True, kw_only=True)
class _Round:
    """The hooks of one vassal at one moment, those still to be run first."""

    moment: str
    commands: deque[Sequence[str]]
    environment: Mapping[str, str]
    cwd: str


@dataclass(slots=True, kw_only=True)
class _Lane:
    """What is to be done for one vassal, in order."""

    vassal: str
    rounds: deque[_Round] = field(default_factory=deque)


class _Run:
    """One hook under way."""

    __slots__ = ("argv", "fails_at", "is_late", "lane", "pid", "timer")

    def __init__(self, lane: _Lane, argv: Sequence[str], fails_at: float) -> None:
        self.lane = lane
        self.argv = argv
        self.fails_at = fails_at
        self.pid: int | None = None
        self.is_late = False
        self.timer: asyncio.TimerHandle | None = None

    @property
    def label(self) -> str:
        """What the hook is called: its shell is given that as its own name."""
        return self.argv[3] if len(self.argv) > 3 else " ".join(self.argv)


class Hooks:
    """The Emperor's hooks, by their moment; made inside a running loop.

    ``commands`` are those of the compile server's first answer; ``before`` are words in front
    of each. A hook that takes longer than
    ``timeout_seconds`` (0: no limit) is killed with its group. ``on_idle`` is called whenever
    the last hook is done. A hook that fails is logged and changes nothing.
    """

    def __init__(
        self,
        commands: Mapping[str, Sequence[Sequence[str]]],
        *,
        spawner: Spawner,
        environment: Mapping[str, str],
        timeout_seconds: float,
        before: Sequence[str] = (),
        log: Log,
        on_idle: Callable[[], None],
    ) -> None:
        self._commands = commands
        self._spawner = spawner
        self._environment = dict(environment)
        self._timeout_seconds = timeout_seconds
        self._log = log
        self._before = tuple(before)
        self._on_idle = on_idle
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[str, _Lane] = {}
        self._ready: deque[_Lane] = deque()
        self._runs: set[_Run] = set()

    @property
    def is_idle(self) -> bool:
        """Whether no hook runs and none waits."""
        return not self._lanes

    def run(
        self,
        moment: str,
        *,
        config: str,
        directory: str | None,
        vassal: str = "",
        pid: int = 0,
        uid: int = -1,
        gid: int = -1,
        told: Mapping[str, str] | None = None,
    ) -> None:
        """Run the hooks of that moment, in their order, after those that the vassal still has.

        ``vassal`` is the name in the log, ``config`` the one that hooks are told; without one
        (the Emperor's own start) they are told nothing. ``directory`` is where they run, by
        default where the daemon is. ``told`` are further variables. A round of the same moment
        that still waits is replaced: a vassal that dies again and again does not pile hooks up.
        """
        commands = self._commands.get(moment)
        if not commands:
            return
        directory = directory or os.getcwd()
        if moment == "stop":
            commands = [[*command, config] for command in commands]
        wanted = _Round(
            moment=moment,
            commands=deque(commands),
            environment={
                **self._environment,
                **_told(config=config, directory=directory, pid=pid, uid=uid, gid=gid),
                **(told or {}),
            },
            cwd=directory,
        )
        lane = self._lanes.get(vassal)
        if lane is None:
            lane = self._lanes[vassal] = _Lane(vassal=vassal)
            self._ready.append(lane)
        lane.rounds = deque(
            round_
            for index, round_ in enumerate(lane.rounds)
            if index == 0 or round_.moment != moment
        )
        lane.rounds.append(wanted)
        self._start()

    def kill_all(self) -> None:
        """Kill what runs, and forget what waits: the daemon is in a hurry."""
        for lane in self._ready:
            del self._lanes[lane.vassal]
        self._ready.clear()
        for run in self._runs:
            run.lane.rounds = deque([run.lane.rounds[0]])
            run.lane.rounds[0].commands.clear()
            self._kill(run)

    def _start(self) -> None:
        while self._ready and len(self._runs) < MOST_AT_A_TIME:
            lane = self._ready.popleft()
            argv = lane.rounds[0].commands.popleft()
            run = _Run(lane, argv, self._loop.time() + LONGEST_RETRY_SECONDS)
            self._runs.add(run)
            self._spawn(run)

    def _spawn(self, run: _Run) -> None:
        round_ = run.lane.rounds[0]
        try:
            self._spawner.spawn(
                argv=[*self._before, *run.argv],
                environment=round_.environment,
                cwd=round_.cwd,
                descriptors={},
                on_spawned=lambda pid: self._spawned(run, pid),
                on_failed=lambda message: self._failed(run, message),
                on_exited=lambda status: self._exited(run, status),
            )
        except OSError as error:
            if not run.is_late and self._loop.time() < run.fails_at:
                self._loop.call_later(RETRY_SECONDS, self._spawn, run)
            else:
                self._failed(run, error.strerror or str(error))

    def _spawned(self, run: _Run, pid: int) -> None:
        run.pid = pid
        self._say(run, logging.INFO, f'running "{run.label}" (pid {pid})')
        if run.is_late:
            self._kill(run)
        elif self._timeout_seconds > 0:
            run.timer = self._loop.call_later(self._timeout_seconds, self._expire, run)

    def _expire(self, run: _Run) -> None:
        seconds = f"{self._timeout_seconds:g} seconds"
        self._say(run, logging.WARNING, f'"{run.label}" takes more than {seconds}: killing it')
        self._kill(run)

    def _kill(self, run: _Run) -> None:
        """Kill the hook, now or as soon as it is there."""
        run.is_late = True
        if run.pid is not None:
            self._spawner.signal(run.pid, signal.SIGKILL, is_for_group=True)

    def _failed(self, run: _Run, message: str) -> None:
        round_ = run.lane.rounds[0]
        if round_.cwd != "/" and not run.is_late:  # the directory may be gone with the vassal
            round_.cwd = "/"
            self._spawn(run)
            return
        self._say(run, logging.WARNING, f'"{run.label}" cannot be started: {message}')
        self._done(run)

    def _exited(self, run: _Run, status: int) -> None:
        if run.timer is not None:
            run.timer.cancel()
        if status and not run.is_late:
            how = f"exited with {status}" if status > 0 else f"was killed by {_name(-status)}"
            self._say(run, logging.WARNING, f'"{run.label}" {how}')
        self._done(run)

    def _done(self, run: _Run) -> None:
        self._runs.discard(run)
        lane = run.lane
        if not lane.rounds[0].commands:
            lane.rounds.popleft()
        if lane.rounds:
            self._ready.append(lane)
        else:
            del self._lanes[lane.vassal]
        self._start()
        if self.is_idle:
            self._on_idle()

    def _say(self, run: _Run, level: int, message: str) -> None:
        self._log(level, run.lane.vassal, message)


def _told(*, config: str, directory: str, pid: int, uid: int, gid: int) -> dict[str, str]:
    """What a hook is told in its environment: what is known, so that nobody signals -1."""
    if not config:
        return {}
    told = {"UWSGI_VASSAL_CONFIG": config, "UWSGI_VASSALS_DIR": directory}
    if pid > 0:
        told["UWSGI_VASSAL_PID"] = str(pid)
    if uid >= 0:
        told["UWSGI_VASSAL_UID"] = str(uid)
    if gid >= 0:
        told["UWSGI_VASSAL_GID"] = str(gid)
    return told


def _name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"
