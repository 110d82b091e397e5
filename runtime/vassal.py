"""The state machine of one vassal: ``step(state, event, now) -> (state, effects)``. Pure.

``TABLE`` says which action answers which event in which phase; a pair that is not in it
changes nothing. All times are monotonic seconds and come from outside.
"""

from __future__ import annotations

import enum
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace

from emperor.runtime import events as ev
from emperor.runtime.events import Cause, Effect, Event
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.protocol import Order, Word

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
    until: float | None = None
    hold: float | None = None
    answer_by: float | None = None

    def deadline(self) -> float | None:
        """When ``Tick`` is due, if ever."""
        times = [t for t in (self.until, self.hold, self.answer_by) if t is not None]
        return min(times) if times else None


Step = tuple[Vassal, tuple[Effect, ...]]
Action = Callable[[Vassal, Event, float], Step]

_ALIVE = (Phase.STARTING, Phase.READY, Phase.RELOADING)
_IDLE = (Phase.WAITING, Phase.DELAYED, Phase.PARKED)


def step(state: Vassal, event: Event, now: float) -> Step:
    """Answer one event: the state after it, and what is to be done, in order."""
    action = TABLE.get((state.phase, type(event)))
    return (state, ()) if action is None else action(state, event, now)


# -- compiling ----------------------------------------------------------------------------------


def _compile(state: Vassal, cause: Cause, *, if_stale: bool = False) -> Step:
    serial = state.serial + 1
    after = replace(state, serial=serial, pending=cause)
    return after, (ev.Compile(serial=serial, cause=cause, if_stale=if_stale),)


def _noticed(state: Vassal, event: Event, now: float) -> Step:
    assert isinstance(event, ev.Noticed)
    wanted = replace(state, is_wanted=True)
    if state.pending is Cause.FILE and event.cause is Cause.ATTRIBUTES:
        return _compile(wanted, Cause.FILE)
    if event.cause is Cause.ATTRIBUTES and state.phase is Phase.PARKED:
        return wanted, ()
    return _compile(wanted, event.cause)


def _answered(state: Vassal, event: Event) -> bool:
    assert isinstance(event, ev.Compiled | ev.NotCompiled | ev.Fresh)
    return event.serial == state.serial and state.pending is not None


def _with_answer(state: Vassal, event: Event) -> Vassal:
    """The state with the compile's spec, or with the last good one if it gave none."""
    spec = state.spec
    if isinstance(event, ev.Compiled):
        spec = event.spec
    elif isinstance(event, ev.NotCompiled) and spec is None:
        spec = event.kept
    return replace(state, spec=spec, pending=None)


def _compiled_idle(state: Vassal, event: Event, now: float) -> Step:
    """No process: one is spawned if there is anything to spawn."""
    if not _answered(state, event):
        return state, ()
    after = _with_answer(state, event)
    if isinstance(event, ev.NotCompiled) and state.phase is not Phase.WAITING:
        return after, ()  # broken, and not its time yet: the last good config has its turn
    if after.spec is None:
        return replace(after, phase=Phase.WAITING, until=None, answer_by=None), ()
    return _spawn(after, now, is_last_good=isinstance(event, ev.NotCompiled))


def _compiled_alive(state: Vassal, event: Event, now: float) -> Step:
    """A process: it is told to reload, or given the config that it waits for."""
    if not _answered(state, event):
        return state, ()
    cause = state.pending
    after = _with_answer(state, event)
    if state.asks_config and not _needs_restart(after):
        return _deliver(after, ())
    if not isinstance(event, ev.Compiled) or cause is Cause.RESPAWN:
        return after, ()
    is_changed = after.running is None or event.spec.digest != after.running.digest
    if cause is Cause.ATTRIBUTES and not is_changed:
        return after, ()
    return _want_reload(after, "changed" if is_changed else "touched", now)


def _compiled_later(state: Vassal, event: Event, now: float) -> Step:
    """The process is being started or is going: the spec is kept for what comes then."""
    if not _answered(state, event):
        return state, ()
    cause = state.pending
    after = _with_answer(state, event)
    if state.phase is Phase.SPAWNING and isinstance(event, ev.Compiled):
        is_changed = after.running is None or event.spec.digest != after.running.digest
        if is_changed or cause is not Cause.ATTRIBUTES:
            after = replace(after, reload_wanted="changed" if is_changed else "touched")
    return after, ()


# -- spawning -------------------------------------------------------------------------------------


def _spawn(state: Vassal, now: float, *, is_last_good: bool = False) -> Step:
    assert state.spec is not None
    after = replace(
        state,
        phase=Phase.SPAWNING,
        running=state.spec,
        pending=None,
        accepted_at=None,
        reload_wanted=None,
        is_restarting=False,
        is_leaving=False,
        is_reload_ours=False,
        asks_config=False,
        until=None,
        hold=None,
        answer_by=None,
    )
    effects: tuple[Effect, ...] = (ev.Spawn(spec=state.spec),)
    if is_last_good:
        text = "does not compile: spawning with the last good config"
        effects = (ev.Log(level="warning", message=text), *effects)
    return after, effects


def _spawned(state: Vassal, event: Event, now: float) -> Step:
    assert isinstance(event, ev.Spawned)
    text = f"spawned (pid {event.pid})"
    after = replace(state, phase=Phase.STARTING)
    effects: tuple[Effect, ...] = (ev.Log(level="info", message=text),)
    if not state.is_wanted:
        after, more = _begin_stop(after, now, state.curse_seconds)
        return after, effects + more
    if state.reload_wanted is not None:
        after, more = _want_reload(after, state.reload_wanted, now)
        return after, effects + more
    return after, effects


def _not_spawned(state: Vassal, event: Event, now: float) -> Step:
    assert isinstance(event, ev.NotSpawned)
    if not state.is_wanted:
        return _gone(state)
    text = f"cannot be spawned: {event.message}; trying again in {RESPAWN_SECONDS:g} s"
    after = replace(state, phase=Phase.DELAYED, running=None, until=now + RESPAWN_SECONDS)
    return after, (ev.Log(level="error", message=text),)


def _respawn(state: Vassal, now: float) -> Step:
    """Spawn again, after a look whether the last good config still is what files say."""
    waiting = replace(state, phase=Phase.WAITING, running=None, until=None, hold=None)
    if state.pending is not None:
        return replace(waiting, answer_by=now + STALE_SECONDS if state.spec else None), ()
    if state.spec is not None:
        waiting = replace(waiting, answer_by=now + STALE_SECONDS)
    return _compile(waiting, Cause.RESPAWN, if_stale=True)


def _tick_idle(state: Vassal, event: Event, now: float) -> Step:
    if state.until is not None and now >= state.until:
        return _respawn(state, now)
    if state.answer_by is not None and now >= state.answer_by and state.spec is not None:
        text = "compiles too slowly: spawning with the last good config"
        after, effects = _spawn(replace(state, pending=None), now)
        return after, (ev.Log(level="warning", message=text), *effects)
    return state, ()


# -- reloading ------------------------------------------------------------------------------------


def _want_reload(state: Vassal, reason: str, now: float) -> Step:
    """A reload is wanted: now, when it is safe, or as a restart where nobody would listen."""
    assert state.spec is not None
    wanted = replace(state, reload_wanted=reason)
    if _needs_restart(state):
        after, effects = _begin_stop(
            replace(wanted, is_restarting=True), now, state.curse_seconds
        )
        return after, (ev.Log(level="info", message=f"{reason}: restarting"), *effects)
    if state.phase is Phase.READY and state.accepted_at is not None:
        if now >= state.accepted_at + HOLD_SECONDS:
            return _send_reload(wanted, now)
        return replace(wanted, hold=state.accepted_at + HOLD_SECONDS), ()
    if state.phase is Phase.STARTING:
        return replace(wanted, until=state.until or now + state.spec.reload_seconds), ()
    return wanted, ()


def _needs_restart(state: Vassal) -> bool:
    """Whether a reload would not do: another program or environment, or nobody who listens."""
    if state.running is None or state.spec is None:
        return False
    return not (state.running.is_launched_as(state.spec) and state.running.has_master)


def _send_reload(state: Vassal, now: float) -> Step:
    assert state.spec is not None
    after = replace(
        state,
        phase=Phase.RELOADING,
        reload_wanted=None,
        is_reload_ours=True,
        hold=None,
        until=now + state.spec.reload_seconds,
    )
    text = f"{state.reload_wanted}: reloading"
    return after, (ev.Log(level="info", message=text), ev.Send(byte=Order.RELOAD))


def _deliver(state: Vassal, before: tuple[Effect, ...]) -> Step:
    """Give the process the config that it waits for."""
    assert state.spec is not None
    after = replace(
        state,
        running=state.spec,
        asks_config=False,
        answer_by=None,
        until=None,
        reload_wanted=None,
    )
    return after, (*before, ev.Deliver(spec=state.spec))


def _asked(state: Vassal, now: float) -> Step:
    """Byte 2: the process is about to start over and waits for its config."""
    reloading = replace(
        state, phase=Phase.RELOADING, accepted_at=None, hold=None, asks_config=True
    )
    if state.pending is not None:
        return replace(reloading, answer_by=now + STALE_SECONDS), ()
    if state.is_reload_ours:
        return _deliver(replace(reloading, is_reload_ours=False), ())
    after, effects = _compile(reloading, Cause.ANSWER, if_stale=True)
    return replace(after, answer_by=now + STALE_SECONDS), effects


def _accepting(state: Vassal, now: float) -> Step:
    after = replace(
        state,
        phase=Phase.READY,
        accepted_at=now,
        until=None,
        is_reload_ours=False,
        hold=now + HOLD_SECONDS if state.reload_wanted is not None else None,
    )
    return after, (ev.Log(level="info", message="accepts requests"),)


def _said(state: Vassal, event: Event, now: float) -> Step:
    assert isinstance(event, ev.Said)
    match event.byte:
        case Word.ACCEPTING:
            return _accepting(state, now)
        case Word.WANTS_CONFIG:
            return _asked(state, now)
        case Word.LOYAL:
            return state, (ev.Log(level="debug", message="is loyal"),)
        case Word.LEAVING:
            after, effects = _begin_stop(
                replace(state, is_leaving=True), now, state.curse_seconds
            )
            return after, (ev.Log(level="info", message="leaves of its own will"), *effects)
        case _:
            return state, ()


def _said_while_stopping(state: Vassal, event: Event, now: float) -> Step:
    assert isinstance(event, ev.Said)
    if event.byte == Word.WANTS_CONFIG and state.spec is not None:
        # it was reloading when it was told to go: it will read the order when it is up again
        return state, (ev.Deliver(spec=state.spec), ev.Send(byte=_order(state)))
    return state, ()


def _tick_alive(state: Vassal, event: Event, now: float) -> Step:
    if state.until is not None and now >= state.until:
        text = "does not reload in time: killing it"
        after = replace(
            state,
            phase=Phase.STOPPING,
            is_restarting=True,
            until=now + KILL_AGAIN_SECONDS,
            hold=None,
            answer_by=None,
        )
        return after, (ev.Log(level="error", message=text), _kill())
    if state.answer_by is not None and now >= state.answer_by and state.asks_config:
        text = "compiles too slowly: reloading with the last good config"
        return _deliver(replace(state, pending=None), (ev.Log(level="warning", message=text),))
    if state.hold is not None and now >= state.hold and state.reload_wanted is not None:
        return _send_reload(state, now)
    return state, ()


def _asked_to_reload(state: Vassal, event: Event, now: float) -> Step:
    """An operator's word: everything that runs reloads, everything that waits is tried."""
    if state.phase in _IDLE:
        waiting = replace(state, phase=Phase.WAITING, until=None)
        return _compile(waiting, Cause.FILE)
    return _compile(state, Cause.FILE)


# -- stopping -------------------------------------------------------------------------------------


def _kill() -> ev.Signal:
    return ev.Signal(signum=signal.SIGKILL, is_for_group=True)


def _order(state: Vassal) -> int:
    return Order.GRACEFUL_STOP if state.graceful else Order.STOP


def _begin_stop(state: Vassal, now: float, grace_seconds: float) -> Step:
    """Tell the process to go; whoever does not listen gets a signal."""
    effects: list[Effect] = [ev.Send(byte=_order(state))]
    if state.running is not None and not state.running.has_master:
        effects.append(ev.Signal(signum=signal.SIGTERM))
    after = replace(
        state,
        phase=Phase.STOPPING,
        until=now + grace_seconds,
        hold=None,
        answer_by=None,
        asks_config=False,
    )
    return after, tuple(effects)


def _vanished_alive(state: Vassal, event: Event, now: float) -> Step:
    unwanted = replace(state, is_wanted=False, pending=None, serial=state.serial + 1)
    after, effects = _begin_stop(unwanted, now, state.curse_seconds)
    return after, (ev.Log(level="info", message="its file is gone: stopping"), *effects)


def _unwanted(state: Vassal, event: Event, now: float) -> Step:
    """It is on its way up or down already: what comes next will find it unwanted."""
    if isinstance(event, ev.Leave):
        until = now + event.grace_seconds
        if state.phase is Phase.STOPPING:
            state = replace(state, until=min(state.until or until, until))
        state = replace(state, curse_seconds=event.grace_seconds)
    return replace(state, is_wanted=False, is_restarting=False, pending=None), ()


def _gone(state: Vassal) -> Step:
    after = replace(
        state,
        phase=Phase.GONE,
        is_wanted=False,
        pending=None,
        until=None,
        hold=None,
        answer_by=None,
    )
    return after, (ev.Forget(),)


def _nothing_left(state: Vassal, event: Event, now: float) -> Step:
    return _gone(state)


def _leave(state: Vassal, event: Event, now: float) -> Step:
    assert isinstance(event, ev.Leave)
    unwanted = replace(state, is_wanted=False, pending=None, curse_seconds=event.grace_seconds)
    return _begin_stop(unwanted, now, event.grace_seconds)


def _die(state: Vassal, event: Event, now: float) -> Step:
    after = replace(
        state,
        phase=Phase.STOPPING,
        is_wanted=False,
        is_restarting=False,
        pending=None,
        until=now + KILL_AGAIN_SECONDS,
        hold=None,
        answer_by=None,
    )
    return after, (_kill(),)


def _die_later(state: Vassal, event: Event, now: float) -> Step:
    """It is being spawned: it is killed as soon as its pid is known."""
    return replace(state, is_wanted=False, curse_seconds=0.0), ()


def _tick_stopping(state: Vassal, event: Event, now: float) -> Step:
    if state.until is None or now < state.until:
        return state, ()
    after = replace(state, until=now + KILL_AGAIN_SECONDS)
    return after, (ev.Log(level="warning", message="does not go: killing it"), _kill())


# -- death ----------------------------------------------------------------------------------------


def _exited(state: Vassal, event: Event, now: float) -> Step:
    assert isinstance(event, ev.Exited)
    text = f"died ({_status_text(event.status)})"
    clean = replace(
        state,
        running=None,
        accepted_at=None,
        asks_config=False,
        is_reload_ours=False,
        reload_wanted=None,
        until=None,
        hold=None,
        answer_by=None,
    )
    if not state.is_wanted:
        after, effects = _gone(clean)
        return after, (
            ev.Log(level="info", message=f"is gone ({_status_text(event.status)})"),
            *effects,
        )
    if state.is_leaving or (event.status == EXILE_STATUS and not state.is_restarting):
        return _park(clean, text)
    if state.phase is Phase.STOPPING:
        return _respawn(clean, now)
    lived = state.accepted_at is not None and now >= state.accepted_at + RESPAWN_SECONDS
    if lived:
        after, effects = _respawn(clean, now)
        return after, (ev.Log(level="warning", message=f"{text}: spawning it again"), *effects)
    after = replace(clean, phase=Phase.DELAYED, until=now + RESPAWN_SECONDS)
    text = f"{text}: spawning it again in {RESPAWN_SECONDS:g} s"
    return after, (ev.Log(level="warning", message=text),)


def _park(state: Vassal, text: str) -> Step:
    parked = replace(state, phase=Phase.PARKED, is_leaving=False)
    message = f"{text}: waiting until its file changes"
    if state.pending is not None:  # its file has changed already
        return replace(parked, phase=Phase.WAITING), (ev.Log(level="info", message=text),)
    return parked, (ev.Log(level="info", message=message),)


def _status_text(status: int) -> str:
    if status >= 0:
        return f"exit code {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


# -- the table --------------------------------------------------------------------------------


def _rows(phases: tuple[Phase, ...], **answers: Action) -> dict[tuple[Phase, type], Action]:
    return {
        (phase, getattr(ev, name)): action
        for phase in phases
        for name, action in answers.items()
    }


TABLE: dict[tuple[Phase, type], Action] = {
    **_rows(
        _IDLE,
        Noticed=_noticed,
        Compiled=_compiled_idle,
        NotCompiled=_compiled_idle,
        Fresh=_compiled_idle,
        Tick=_tick_idle,
        Reload=_asked_to_reload,
        Vanished=_nothing_left,
        Leave=_nothing_left,
        Die=_nothing_left,
    ),
    **_rows(
        (Phase.SPAWNING,),
        Noticed=_noticed,
        Compiled=_compiled_later,
        NotCompiled=_compiled_later,
        Fresh=_compiled_later,
        Spawned=_spawned,
        NotSpawned=_not_spawned,
        Reload=_asked_to_reload,
        Vanished=_unwanted,
        Leave=_unwanted,
        Die=_die_later,
    ),
    **_rows(
        _ALIVE,
        Noticed=_noticed,
        Compiled=_compiled_alive,
        NotCompiled=_compiled_alive,
        Fresh=_compiled_alive,
        Said=_said,
        Tick=_tick_alive,
        Exited=_exited,
        Reload=_asked_to_reload,
        Vanished=_vanished_alive,
        Leave=_leave,
        Die=_die,
    ),
    **_rows(
        (Phase.STOPPING,),
        Noticed=_noticed,
        Compiled=_compiled_later,
        NotCompiled=_compiled_later,
        Fresh=_compiled_later,
        Said=_said_while_stopping,
        Tick=_tick_stopping,
        Exited=_exited,
        Vanished=_unwanted,
        Leave=_unwanted,
        Die=_die,
    ),
}
