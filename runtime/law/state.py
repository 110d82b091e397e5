"""The state of one vassal, and what every part of its law knows. Pure."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace

from emperor.runtime import events as ev
from emperor.runtime.events import Cause, Effect, Event
from emperor.runtime.launch import LaunchSpec

#: A reload sooner after "accepting requests" can hang uWSGI: its later workers are not ready.
HOLD_SECONDS = 0.5

#: How long a compile may take before the last good config is used (a vassal waits 5 s).
STALE_SECONDS = 3.0

#: How long a process that died young is waited with, in seconds.
RESPAWN_SECONDS = 1.0

#: Exit code by which a vassal asks not to be spawned again.
EXILE_STATUS = 26

#: How long a killed process group may take to be gone before it is killed again.
KILL_AGAIN_SECONDS = 5.0


class Phase(enum.Enum):
    """What is known of a vassal's process; the values are what people are shown."""

    WAITING = "waiting"  # no process; a compile is under way, or the config is broken
    SPAWNING = "spawning"  # the guardian was asked for it
    STARTING = "starting"  # it runs, and does not accept requests yet
    READY = "ready"  # it accepts requests
    RELOADING = "reloading"  # it was told to reload, or reloads by itself
    STOPPING = "stopping"  # it was told to go, or killed
    DELAYED = "delayed"  # it died, and is spawned again later
    PARKED = "parked"  # it does not want to run until its file changes or somebody asks
    GONE = "gone"  # nothing is left


@dataclass(frozen=True, slots=True, kw_only=True)
class Vassal:
    """The state. ``spec`` is the last good compile, ``running`` what the process was given.

    ``serial`` numbers compiles: only the answer to the last one counts; ``pending`` is the
    cause of the one under way. ``until`` is when the phase is over at the latest, ``hold``
    when a wanted reload may be sent, ``answer_by`` when a waiting process gets what is there.
    """

    phase: Phase = Phase.WAITING
    is_wanted: bool = True
    graceful: bool = False
    curse_seconds: float = 30.0
    spec: LaunchSpec | None = None
    running: LaunchSpec | None = None
    serial: int = 0
    pending: Cause | None = None
    accepted_at: float | None = None
    reload_wanted: str | None = None
    is_restarting: bool = False
    is_leaving: bool = False
    is_reload_ours: bool = False
    asks_config: bool = False
    failed_spawns: int = 0
    until: float | None = None
    hold: float | None = None
    answer_by: float | None = None

    def deadline(self) -> float | None:
        """When ``Tick`` is due, if ever."""
        times = [t for t in (self.until, self.hold, self.answer_by) if t is not None]
        return min(times) if times else None


Step = tuple[Vassal, tuple[Effect, ...]]


Action = Callable[[Vassal, Event, float], Step]


ALIVE = (Phase.STARTING, Phase.READY, Phase.RELOADING)


IDLE = (Phase.WAITING, Phase.DELAYED, Phase.PARKED)


def compile_now(state: Vassal, cause: Cause, *, if_stale: bool = False) -> Step:
    """Ask for a compile; answers to earlier ones do not count any more."""
    serial = state.serial + 1
    after = replace(state, serial=serial, pending=cause)
    return after, (ev.Compile(serial=serial, cause=cause, if_stale=if_stale),)
