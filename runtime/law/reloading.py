"""How a running vassal gets a new config: told, held back, asked for, delivered. Pure."""

from __future__ import annotations

from dataclasses import replace

from emperor.runtime import events as ev
from emperor.runtime.events import Cause, Effect, Event
from emperor.runtime.law.heartbeat import beat, missed, sign_of_life
from emperor.runtime.law.programs import program_ready, roll, signal_reload, too_late
from emperor.runtime.law.state import (
    HOLD_SECONDS,
    STALE_SECONDS,
    WORKERLESS_HEAL_SECONDS,
    Phase,
    Step,
    Vassal,
    compile_now,
)
from emperor.runtime.law.stopping import begin_stop, kill_for_another, patience, program_of
from emperor.runtime.protocol import Order, Word


def needs_restart(state: Vassal) -> bool:
    """Whether a reload would not do: another program or environment, or nobody who listens."""
    if state.running is None:
        return False
    return not (is_launched_alike(state) and state.running.has_master)


def is_launched_alike(state: Vassal) -> bool:
    """Whether the process was started as the last good config wants it."""
    if state.running is None or state.spec is None:
        return True
    return state.running.is_launched_as(state.spec)


def want_reload(state: Vassal, reason: str, now: float) -> Step:
    """A reload is wanted: now, when it is safe, or as a restart where nobody would listen."""
    assert state.spec is not None
    wanted = replace(state, reload_wanted=reason)
    how = _reload_of_program(state)
    if how == "rolling":
        return roll(state, reason)
    if how == "signal":
        return signal_reload(state, reason, state.spec, now)
    wanted = replace(wanted, has_heir=False)  # one on its way is not what is wanted any more
    if needs_restart(state):
        after, effects = begin_stop(replace(wanted, is_restarting=True), now, patience(state))
        return after, (ev.Log(level="info", message=f"{reason}: restarting"), *effects)
    if state.phase is Phase.READY and state.accepted_at is not None:
        if now >= state.accepted_at + HOLD_SECONDS:
            return send_reload(wanted, now)
        return replace(wanted, hold=state.accepted_at + HOLD_SECONDS), ()
    if state.phase in (Phase.STARTING, Phase.RELOADING):
        return replace(wanted, until=state.until or now + state.spec.reload_seconds), ()
    return wanted, ()


def _reload_of_program(state: Vassal) -> str | None:
    """How a program takes its reload; nothing where it is told as uWSGI is, or restarted."""
    running, spec = state.running, state.spec
    if state.phase is not Phase.READY or running is None or running.program is None:
        return None
    if spec is None or spec.program is None:
        return None
    how = spec.program.reload
    if how == "signal" and not is_launched_alike(state):
        return None
    if how == "rolling" and running.socket != spec.socket:  # two cannot share that
        return None
    return how


def send_reload(state: Vassal, now: float) -> Step:
    """Tell the process to reload."""
    assert state.spec is not None
    after = replace(
        state,
        phase=Phase.RELOADING,
        reload_wanted=None,
        is_reload_ours=True,
        hold=None,
        heartbeat_by=None,
        heal_at=None,
        until=now + state.spec.reload_seconds,
    )
    text = f"{state.reload_wanted}: reloading"
    return after, (ev.Log(level="info", message=text), ev.Send(byte=Order.RELOAD))


def deliver(state: Vassal, now: float) -> Step:
    """Give the process the config that it waits for."""
    assert state.spec is not None
    after = replace(
        state,
        running=state.spec,
        is_reload_ours=False,
        asks_config=False,
        answer_by=None,
        hold=None,
        until=None,
        reload_wanted=None,
    )
    if not state.spec.has_workers:  # it will say nothing more
        after = up_without_workers(after, now)
    return after, (ev.Deliver(spec=state.spec),)


def asked(state: Vassal, now: float) -> Step:
    """Byte 2: the process is about to start over and waits for its config."""
    reloading = replace(
        state,
        phase=Phase.RELOADING,
        accepted_at=None,
        hold=None,
        heartbeat_by=None,
        heal_at=None,
        asks_config=True,
    )
    if state.pending is not None:
        return replace(reloading, answer_by=now + STALE_SECONDS), ()
    if state.is_reload_ours:
        return deliver(reloading, now)
    after, effects = compile_now(reloading, Cause.ANSWER, if_stale=True)
    return replace(after, answer_by=now + STALE_SECONDS), effects


def accepting(state: Vassal, now: float) -> Step:
    """Byte 5: requests are served from now on."""
    if state.running is not None and state.running.program is not None:
        return program_ready(state, now) if state.phase is Phase.STARTING else (state, ())
    after = up(state, now, heal_seconds=state.rules.heal_seconds)
    return after, (ev.Log(level="info", message="accepts requests"),)


def up(state: Vassal, now: float, *, heal_seconds: float | None) -> Vassal:
    """It does what it is for; after so many seconds of that it counts as loyal."""
    heals = heal_seconds is not None and not state.is_loyal
    return replace(
        state,
        phase=Phase.READY,
        accepted_at=now,
        until=None,
        is_reload_ours=False,
        hold=now + HOLD_SECONDS if state.reload_wanted is not None else None,
        heal_at=now + (heal_seconds or 0.0) if heals else None,
    )


def reported(state: Vassal, now: float) -> Step:
    """Byte 1: the process is up. That is the last word of one without workers: its loyalty
    is that it stays."""
    running = state.running
    is_all = running is not None and running.program is None and not running.has_workers
    if state.phase is not Phase.STARTING or not is_all:
        return state, ()
    return up_without_workers(state, now), (ev.Log(level="info", message="is up"),)


def up_without_workers(state: Vassal, now: float) -> Vassal:
    """It is up, as far as can be told."""
    heal = state.rules.heal_seconds
    return up(state, now, heal_seconds=WORKERLESS_HEAL_SECONDS if heal is None else heal)


def loyal(state: Vassal, now: float) -> Step:
    """Byte 17: the blacklist forgets it. One that never says "accepting" (a sub-emperor has no
    requests to accept) is up as well."""
    after = replace(state, is_loyal=True, blacklisted=None, heal_at=None)
    effects: tuple[Effect, ...] = (ev.Log(level="debug", message="is loyal"),)
    is_old_word = state.is_reload_ours or state.asks_config
    if state.phase is Phase.READY or is_old_word:
        return after, effects
    after, more = accepting(after, now)
    return after, effects + more


def said(state: Vassal, event: Event, now: float) -> Step:
    """One byte from a process that is up."""
    assert isinstance(event, ev.Said)
    state = sign_of_life(state, now)
    if not state.has_reported:
        state = replace(state, has_reported=True)
    match event.byte:
        case Word.SPAWNED:
            return reported(state, now)
        case Word.ACCEPTING:
            return accepting(state, now)
        case Word.WANTS_CONFIG if program_of(state) is None:  # nobody else reads one
            return asked(state, now)
        case Word.LOYAL:
            return loyal(state, now)
        case Word.HEARTBEAT:
            return beat(state, now), ()
        case Word.WANTS_ZERG if not state.is_zerg:
            return state, (ev.WantZerg(),)
        case Word.LEAVING:
            after, effects = begin_stop(replace(state, is_leaving=True), now, patience(state))
            return after, (ev.Log(level="info", message="leaves of its own will"), *effects)
        case _:
            return state, ()


def tick_alive(state: Vassal, event: Event, now: float) -> Step:
    """A reload takes too long, a compile does, a heartbeat is missing, or a held reload may be
    sent."""
    if state.ready_at is not None and now >= state.ready_at:
        return program_ready(state, now)
    if state.until is not None and now >= state.until:
        if state.is_heir:
            return too_late(state, now)
        why = "shows no life" if state.is_hung else "does not reload in time"
        return kill_for_another(state, now, why)
    if state.answer_by is not None and now >= state.answer_by and state.asks_config:
        text = "compiles too slowly: reloading with the last good config"
        after, effects = deliver(state, now)
        return after, (ev.Log(level="warning", message=text), *effects)
    if state.heartbeat_by is not None and now >= state.heartbeat_by:
        return missed(state, now)
    if state.heal_at is not None and now >= state.heal_at:
        text = "has been up long enough: as good as loyal"
        after = replace(state, is_loyal=True, blacklisted=None, heal_at=None)
        return after, (ev.Log(level="info", message=text),)
    if state.hold is not None and now >= state.hold and state.reload_wanted is not None:
        return want_reload(state, state.reload_wanted, now)
    return state, ()
