"""Vassals that have sent a heartbeat must go on sending them. Pure."""

from __future__ import annotations

from dataclasses import replace

from emperor.runtime import events as ev
from emperor.runtime.law.state import Phase, Step, Vassal
from emperor.runtime.law.stopping import kill_for_another
from emperor.runtime.protocol import Order


def beat(state: Vassal, now: float) -> Vassal:
    """Byte 26: it lives; the next one is due. During a reload nothing is promised, nor by a
    program with a watchdog before it is ready."""
    if state.phase is Phase.RELOADING or not promised_seconds(state):
        return state
    if watchdog_seconds(state) is not None and state.phase is not Phase.READY:
        return state
    return replace(state, heartbeat_by=now + promised_seconds(state))


def promised_seconds(state: Vassal) -> float:
    """How long it may be silent that has sent a heartbeat; 0 is for ever."""
    watchdog = watchdog_seconds(state)
    return state.rules.heartbeat_seconds if watchdog is None else watchdog


def watchdog_seconds(state: Vassal) -> float | None:
    """How often a program has to give a sign of life from the moment that it is ready."""
    program = None if state.running is None else state.running.program
    return None if program is None else program.watchdog_seconds


def sign_of_life(state: Vassal, now: float) -> Vassal:
    """Any word of one that seemed to hang: the reload that it was asked for goes on."""
    if not state.is_hung or state.running is None:
        return state
    return replace(state, is_hung=False, until=now + state.running.reload_seconds)


def missed(state: Vassal, now: float) -> Step:
    """No heartbeat in time: a reload is asked for, and the process killed if nothing comes."""
    text = f"no heartbeat for {promised_seconds(state):g} s"
    if state.running is None or not state.running.has_master:
        return kill_for_another(state, now, text)
    after = replace(
        state.at_rest(),
        phase=Phase.RELOADING,
        is_hung=True,
        is_reload_ours=True,
        until=now + state.rules.heartbeat_grace_seconds,
    )
    return after, (
        ev.Log(level="error", message=f"{text}: asking it to reload"),
        ev.Send(byte=Order.RELOAD),
    )
