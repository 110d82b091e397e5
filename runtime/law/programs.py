"""Programs that are not uWSGI: when they are ready, and how they reload. Pure.

With ``vassal-reload = rolling`` a reload is a second process on the same sockets, the heir. It
is a state machine of its own, until it is ready: then it takes the place of the first.
"""

from __future__ import annotations

from dataclasses import replace

from emperor.runtime import events as ev
from emperor.runtime.events import Effect, Event
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.law.state import (
    HOLD_SECONDS,
    KILL_AGAIN_SECONDS,
    WORKERLESS_HEAL_SECONDS,
    Phase,
    Step,
    Vassal,
)
from emperor.runtime.law.stopping import begin_stop, kill, patience


def program_spawned(state: Vassal, now: float) -> Step:
    """The process runs: one that will not speak is ready after a time, perhaps at once."""
    assert state.running is not None
    program = state.running.program
    assert program is not None
    if state.is_heir:
        state = replace(state, until=now + program.ready_timeout_seconds)
    if program.ready != "running":
        return state, ()
    if program.ready_after_seconds > 0:
        return replace(state, ready_at=now + program.ready_after_seconds), ()
    return program_ready(state, now)


def program_ready(state: Vassal, now: float) -> Step:
    """It does what it is for; an heir takes over."""
    assert state.running is not None
    program = state.running.program
    assert program is not None
    heal = state.rules.heal_seconds
    watchdog = program.watchdog_seconds
    after = replace(
        state,
        phase=Phase.READY,
        is_heir=False,
        has_reported=True,
        accepted_at=now,
        until=None,
        ready_at=None,
        hold=now if state.reload_wanted is not None else None,
        heartbeat_by=None if watchdog is None else now + watchdog,
        heal_at=None
        if state.is_loyal
        else now + (WORKERLESS_HEAL_SECONDS if heal is None else heal),
    )
    effects: tuple[Effect, ...] = (ev.Log(level="info", message="is ready"),)
    return after, (*effects, ev.Inherit()) if state.is_heir else effects


def roll(state: Vassal, reason: str) -> Step:
    """A reload is wanted: another process is started beside this one, which goes on."""
    assert state.spec is not None
    after = replace(state, reload_wanted=reason, has_heir=True, is_behind=False, hold=None)
    text = f"{reason}: starting the next one beside it"
    return after, (ev.Log(level="info", message=text), ev.Succeed(spec=state.spec))


def signal_reload(state: Vassal, reason: str, spec: LaunchSpec, now: float) -> Step:
    """A reload is wanted: a signal asks for it, and the program sees to the rest. One that has
    hardly begun would be killed by it: that has to wait."""
    assert spec.program is not None
    assert state.accepted_at is not None
    if now < state.accepted_at + HOLD_SECONDS:
        held_until = state.accepted_at + HOLD_SECONDS
        return replace(state, reload_wanted=reason, has_heir=False, hold=held_until), ()
    after = replace(state, running=spec, reload_wanted=None, has_heir=False, hold=None)
    return after, (
        ev.Log(level="info", message=f"{reason}: telling it to reload"),
        ev.Signal(signum=spec.program.reload_signal),
    )


def heir_failed(state: Vassal, event: Event, now: float) -> Step:
    """What was to take over is not ready in time, or dead: what runs goes on as it is."""
    assert isinstance(event, ev.HeirFailed)
    if not state.has_heir or not state.is_wanted:
        return state, ()
    after = replace(
        state,
        spec=state.running,
        has_heir=False,
        reload_wanted=None,
        is_behind=True,
    )
    text = f"the next one {event.message}: this one stays"
    return after, (ev.Log(level="error", message=text),)


def begin(state: Vassal, event: Event, now: float) -> Step:
    """An heir is to be started with a config that is there already, and no throttle."""
    assert isinstance(event, ev.Begin)
    after = replace(state, spec=event.spec, is_heir=True, phase=Phase.QUEUED)
    return after, (ev.AskStart(is_urgent=True),)


def too_late(state: Vassal, now: float) -> Step:
    """An heir is not ready in time: it goes."""
    until = now + KILL_AGAIN_SECONDS
    after = replace(state.at_rest(), phase=Phase.STOPPING, until=until)
    return after, (ev.Log(level="error", message="is not ready in time: killing it"), kill())


def superseded(state: Vassal, event: Event, now: float) -> Step:
    """Another process has taken its place: it answers what it has begun, and goes."""
    unwanted = replace(
        state,
        rules=replace(state.rules, is_graceful=True),
        is_wanted=False,
        pending=None,
        serial=state.serial + 1,
    )
    after, effects = begin_stop(unwanted, now, patience(state))
    text = "the next one is ready: stopping this one"
    return after, (ev.Log(level="info", message=text), *effects)


def stopping(state: Vassal, event: Event, now: float) -> Step:
    """The program says that it is on its way out: nobody has to tell it."""
    after = replace(
        state.at_rest(), phase=Phase.STOPPING, is_leaving=True, until=now + patience(state)
    )
    return after, (ev.Log(level="info", message="leaves of its own will"),)
