"""How a running vassal gets a new config: told, held back, asked for, delivered. Pure."""

from __future__ import annotations

from dataclasses import replace

from emperor.runtime import events as ev
from emperor.runtime.events import Cause, Effect, Event
from emperor.runtime.law.state import (
    HOLD_SECONDS,
    KILL_AGAIN_SECONDS,
    STALE_SECONDS,
    Phase,
    Step,
    Vassal,
    compile_now,
)
from emperor.runtime.law.stopping import begin_stop, kill
from emperor.runtime.protocol import Order, Word


def needs_restart(state: Vassal) -> bool:
    """Whether a reload would not do: another program or environment, or nobody who listens."""
    if state.running is None or state.spec is None:
        return False
    return not (state.running.is_launched_as(state.spec) and state.running.has_master)


def want_reload(state: Vassal, reason: str, now: float) -> Step:
    """A reload is wanted: now, when it is safe, or as a restart where nobody would listen."""
    assert state.spec is not None
    wanted = replace(state, reload_wanted=reason)
    if needs_restart(state):
        after, effects = begin_stop(
            replace(wanted, is_restarting=True), now, state.curse_seconds
        )
        return after, (ev.Log(level="info", message=f"{reason}: restarting"), *effects)
    if state.phase is Phase.READY and state.accepted_at is not None:
        if now >= state.accepted_at + HOLD_SECONDS:
            return send_reload(wanted, now)
        return replace(wanted, hold=state.accepted_at + HOLD_SECONDS), ()
    if state.phase in (Phase.STARTING, Phase.RELOADING):
        return replace(wanted, until=state.until or now + state.spec.reload_seconds), ()
    return wanted, ()


def send_reload(state: Vassal, now: float) -> Step:
    """Tell the process to reload."""
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


def deliver(state: Vassal, before: tuple[Effect, ...]) -> Step:
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


def asked(state: Vassal, now: float) -> Step:
    """Byte 2: the process is about to start over and waits for its config."""
    reloading = replace(
        state, phase=Phase.RELOADING, accepted_at=None, hold=None, asks_config=True
    )
    if state.pending is not None:
        return replace(reloading, answer_by=now + STALE_SECONDS), ()
    if state.is_reload_ours:
        return deliver(replace(reloading, is_reload_ours=False), ())
    after, effects = compile_now(reloading, Cause.ANSWER, if_stale=True)
    return replace(after, answer_by=now + STALE_SECONDS), effects


def accepting(state: Vassal, now: float) -> Step:
    """Byte 5: requests are served from now on."""
    after = replace(
        state,
        phase=Phase.READY,
        accepted_at=now,
        until=None,
        is_reload_ours=False,
        hold=now + HOLD_SECONDS if state.reload_wanted is not None else None,
    )
    return after, (ev.Log(level="info", message="accepts requests"),)


def said(state: Vassal, event: Event, now: float) -> Step:
    """One byte from a process that is up."""
    assert isinstance(event, ev.Said)
    match event.byte:
        case Word.ACCEPTING:
            return accepting(state, now)
        case Word.WANTS_CONFIG:
            return asked(state, now)
        case Word.LOYAL:
            return state, (ev.Log(level="debug", message="is loyal"),)
        case Word.LEAVING:
            after, effects = begin_stop(
                replace(state, is_leaving=True), now, state.curse_seconds
            )
            return after, (ev.Log(level="info", message="leaves of its own will"), *effects)
        case _:
            return state, ()


def tick_alive(state: Vassal, event: Event, now: float) -> Step:
    """A reload takes too long, a compile does, or a held reload may be sent."""
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
        return after, (ev.Log(level="error", message=text), kill())
    if state.answer_by is not None and now >= state.answer_by and state.asks_config:
        text = "compiles too slowly: reloading with the last good config"
        return deliver(state, (ev.Log(level="warning", message=text),))
    if state.hold is not None and now >= state.hold and state.reload_wanted is not None:
        return send_reload(state, now)
    return state, ()
