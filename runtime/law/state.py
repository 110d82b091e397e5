"""The state of one vassal, and what every part of its law knows. Pure."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from emperor.runtime import events as ev
from emperor.runtime.events import Cause, Effect, Event
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.law.blacklist import Entry
from emperor.runtime.law.rules import Rules

#: A reload or a stop that comes sooner after "accepting requests" can hang uWSGI: only its
#: first worker is ready then, and the others miss the signal.
HOLD_SECONDS = 0.5

#: How long a compile may take before the last good config is used (a vassal waits 5 s).
STALE_SECONDS = 3.0

#: One without workers (a router) never says that it is loyal: it is, when it was up so long.
WORKERLESS_HEAL_SECONDS = 10.0

#: Exit code by which a vassal asks not to be spawned again.
EXILE_STATUS = 26

#: How long a killed process group may take to be gone before it is killed again.
KILL_AGAIN_SECONDS = 5.0


class Phase(enum.Enum):
    """What is known of a vassal's process; the values are what people are shown."""

    WAITING = "waiting"  # no process; a compile is under way, or the config is broken
    LISTENING = "listening"  # the Emperor holds its socket: a connection spawns it
    QUEUED = "queued"  # it is to be spawned when its turn comes
    SPAWNING = "spawning"  # the guardian was asked for it
    STARTING = "starting"  # it runs, and does not accept requests yet
    READY = "ready"  # it accepts requests
    RELOADING = "reloading"  # it was told to reload, or reloads by itself
    STOPPING = "stopping"  # it was told to go, or killed
    DELAYED = "delayed"  # it died, and is spawned again later
    PARKED = "parked"  # it rests until its file changes or an operator starts it
    GONE = "gone"  # nothing is left


@dataclass(frozen=True, slots=True, kw_only=True)
class Vassal:
    """The state. ``spec`` is the last good compile, ``running`` what the process was given.

    ``serial`` numbers compiles: only the answer to the last one counts; ``pending`` is the
    cause of the one under way. All moments are monotonic seconds: ``until`` is when the phase
    is over at the latest, ``hold`` when a wanted reload may be sent, ``answer_by`` when a
    waiting process gets what is there, ``heartbeat_by`` when silence means that it hangs,
    ``heal_at`` when a process counts as loyal though it never said so, ``ready_at`` when one
    counts as ready that never says so. ``most_seconds`` is how long the Emperor, who goes
    himself, lets it take to go.

    An heir is to take the place of a process that runs; ``has_heir`` is that one's side of it,
    and ``is_behind`` that it did not come to that.
    """

    phase: Phase = Phase.WAITING
    rules: Rules = field(default_factory=Rules)
    seed: int = 0
    is_zerg: bool = False
    is_wanted: bool = True
    is_stopped: bool = False  # by an operator, until one starts it
    is_urgent: bool = False  # an operator's word: no throttle holds its next start
    is_evicted: bool = False  # its file belongs to somebody else now
    is_heir: bool = False
    has_heir: bool = False
    is_behind: bool = False
    spec: LaunchSpec | None = None
    running: LaunchSpec | None = None
    serial: int = 0
    pending: Cause | None = None
    has_reported: bool = False
    accepted_at: float | None = None
    died_at: float | None = None
    is_loyal: bool = False
    blacklisted: Entry | None = None
    reload_wanted: str | None = None
    is_restarting: bool = False
    is_leaving: bool = False
    is_reload_ours: bool = False
    is_hung: bool = False
    asks_config: bool = False
    failed_spawns: int = 0
    until: float | None = None
    hold: float | None = None
    answer_by: float | None = None
    heartbeat_by: float | None = None
    heal_at: float | None = None
    ready_at: float | None = None
    most_seconds: float | None = None

    def deadline(self) -> float | None:
        """When ``Tick`` is due, if ever."""
        times = (
            self.until,
            self.hold,
            self.answer_by,
            self.heartbeat_by,
            self.heal_at,
            self.ready_at,
        )
        return min((t for t in times if t is not None), default=None)

    def without_process(self) -> Vassal:
        """The same vassal with nothing left that was true of a process."""
        return replace(
            self.at_rest(),
            running=None,
            has_reported=False,
            accepted_at=None,
            is_loyal=False,
            reload_wanted=None,
            is_reload_ours=False,
            has_heir=False,
        )

    def at_rest(self) -> Vassal:
        """The same vassal with no deadline, and nobody waiting for a config."""
        return replace(
            self,
            until=None,
            hold=None,
            answer_by=None,
            heartbeat_by=None,
            heal_at=None,
            ready_at=None,
            asks_config=False,
            is_hung=False,
        )


Step = tuple[Vassal, tuple[Effect, ...]]


Action = Callable[[Vassal, Event, float], Step]


#: A process that listens to the Emperor.
ALIVE = (Phase.STARTING, Phase.READY, Phase.RELOADING)

#: No process, and none asked for.
IDLE = (Phase.WAITING, Phase.DELAYED, Phase.PARKED)


def compile_now(state: Vassal, cause: Cause, *, if_stale: bool = False) -> Step:
    """Ask for a compile; answers to earlier ones do not count any more."""
    serial = state.serial + 1
    after = replace(state, serial=serial, pending=cause)
    return after, (ev.Compile(serial=serial, cause=cause, if_stale=if_stale),)
