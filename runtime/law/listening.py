"""On-demand vassals: the Emperor holds the socket, a connection spawns the process. Pure."""

from __future__ import annotations

from dataclasses import replace

from emperor.runtime import events as ev
from emperor.runtime.events import Event
from emperor.runtime.law.blacklist import LEAST_DELAY_SECONDS
from emperor.runtime.law.state import Phase, Step, Vassal


def listen(state: Vassal) -> Step:
    """Wait for a connection; a compile under way stays under way."""
    assert state.spec is not None
    assert state.spec.socket is not None
    after = replace(
        state.without_process(),
        phase=Phase.LISTENING,
        is_urgent=False,
        is_restarting=False,
        is_leaving=False,
    )
    return after, (ev.Listen(address=state.spec.socket),)


def now_listening(state: Vassal, event: Event, now: float) -> Step:
    """The socket is open."""
    assert state.spec is not None
    text = f"waits for a connection to {state.spec.socket}"
    after = replace(state, failed_spawns=0)
    return after, (ev.Log(level="info", message=text), ev.Hook(moment="as-on-demand"))


def not_listening(state: Vassal, event: Event, now: float) -> Step:
    """The socket cannot be had: it is tried again."""
    assert isinstance(event, ev.NotListening)
    text = f"cannot listen: {event.message}; trying again in {LEAST_DELAY_SECONDS:g} s"
    after = replace(
        state,
        phase=Phase.DELAYED,
        failed_spawns=state.failed_spawns + 1,
        until=now + LEAST_DELAY_SECONDS,
    )
    level = "debug" if state.failed_spawns else "error"  # loudly, and once
    return after, (ev.Log(level=level, message=text),)
