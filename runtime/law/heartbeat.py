"""Vassals that have sent a heartbeat must go on sending them. Pure."""

from __future__ import annotations

from dataclasses import replace

from emperor.runtime import events as ev
from emperor.runtime.law.state import Phase, Step, Vassal
from emperor.runtime.law.stopping import kill_for_another
from emperor.runtime.protocol import Order


def beat(state: Vassal, now: float) -> Vassal:
    """Byte 26: it lives; the next one is due. During a reload nothing is promised."""
    if state.phase is Phase.RELOADING or not state.rules.heartbeat_seconds:
        return state
    return replace(state, heartbeat_by=now + state.rules.heartbeat_seconds)


def sign_of_life(state: Vassal, now: float) -> Vassal:
    """Any word of one that seemed to hang: the reload that it was asked for goes on."""
    if not state.is_hung or state.running is None:
        return state
    return replace(state, is_hung=False, until=now + state.running.reload_seconds)


def missed(state: Vassal, now: float) -> Step:
    """No heartbeat in time: a reload is asked for, and the process killed if nothing comes."""
    text = f"no heartbeat for {state.rules.heartbeat_seconds:g} s"
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
