"""What the end of a process leads to. Pure."""

from __future__ import annotations

import signal
from dataclasses import replace

from emperor.runtime import events as ev
from emperor.runtime.events import Event
from emperor.runtime.law.spawning import respawn
from emperor.runtime.law.state import EXILE_STATUS, RESPAWN_SECONDS, Phase, Step, Vassal
from emperor.runtime.law.stopping import gone


def exited(state: Vassal, event: Event, now: float) -> Step:
    """The process is dead: whether and when there is another one."""
    assert isinstance(event, ev.Exited)
    text = f"died ({status_text(event.status)})"
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
        after, effects = gone(clean)
        return after, (
            ev.Log(level="info", message=f"is gone ({status_text(event.status)})"),
            *effects,
        )
    if state.is_leaving or (event.status == EXILE_STATUS and not state.is_restarting):
        if state.reload_wanted is not None or state.pending is not None:
            after, effects = respawn(replace(clean, is_leaving=False), now)
            return after, (ev.Log(level="info", message=text), *effects)
        return park(clean, text)
    if state.phase is Phase.STOPPING:
        return respawn(clean, now)
    lived = state.accepted_at is not None and now >= state.accepted_at + RESPAWN_SECONDS
    if lived:
        after, effects = respawn(clean, now)
        return after, (ev.Log(level="warning", message=f"{text}: spawning it again"), *effects)
    after = replace(clean, phase=Phase.DELAYED, until=now + RESPAWN_SECONDS)
    text = f"{text}: spawning it again in {RESPAWN_SECONDS:g} s"
    return after, (ev.Log(level="warning", message=text),)


def park(state: Vassal, text: str) -> Step:
    """Leave the vassal alone until its file changes."""
    parked = replace(state, phase=Phase.PARKED, is_leaving=False)
    message = f"{text}: waiting until its file changes"
    return parked, (ev.Log(level="info", message=message),)


def status_text(status: int) -> str:
    """An exit code or signal as people know it."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
