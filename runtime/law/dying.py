"""What the end of a process leads to. Pure."""

from __future__ import annotations

import signal
from dataclasses import replace

from emperor.runtime import events as ev
from emperor.runtime.events import Effect, Event
from emperor.runtime.law.blacklist import LEAST_DELAY_SECONDS, blame, delay_seconds
from emperor.runtime.law.listening import listen
from emperor.runtime.law.spawning import respawn
from emperor.runtime.law.state import EXILE_STATUS, Phase, Step, Vassal
from emperor.runtime.law.stopping import evict, gone, park, program_of


def exited(state: Vassal, event: Event, now: float) -> Step:
    """The process is dead: whether and when there is another one."""
    assert isinstance(event, ev.Exited)
    after, effects = _what_next(replace(state, died_at=now), event.status, now)
    return after, (ev.Hook(moment="stop"), *effects)


def _what_next(state: Vassal, status: int, now: float) -> Step:
    text = status_text(status)
    if not state.is_wanted:
        after, effects = gone(state)
        return after, (ev.Log(level="info", message=f"is gone ({text})"), *effects)
    if state.is_heir:
        return gone(state, f"died before it was ready ({text})")
    if state.is_stopped:
        return park(state, f"stopped by an operator ({text})")
    if state.is_restarting:
        return respawn(replace(state, is_restarting=False, is_evicted=False), now)
    if state.is_evicted:
        return evict(state)
    if has_left(state, status):
        return _left(state, status, now)
    return _died(state, text, now)


def has_left(state: Vassal, status: int) -> bool:
    """Whether it is gone of its own will. A program may say that it stops when it fails."""
    program = program_of(state)
    if program is not None:
        return state.is_leaving and status in (0, -program.stop_signal)
    return state.is_leaving or status == EXILE_STATUS


def _left(state: Vassal, status: int, now: float) -> Step:
    """It went of its own will: it rests, or listens again, or was a zerg."""
    text = f"has left ({status_text(status)})"
    if state.is_zerg:
        after, effects = gone(state)
    elif state.is_leaving and state.spec is not None and state.spec.socket is not None:
        after, effects = listen(state)
    elif _has_news(state):
        after, effects = respawn(replace(state, is_leaving=False), now)
    else:
        return park(state, f"{text}: waiting until its file changes")
    return after, (ev.Log(level="info", message=text), *effects)


def _has_news(state: Vassal) -> bool:
    """Whether its file has changed, or somebody has asked, since it was given its config."""
    is_told = state.is_reload_ours  # and has not asked for its config since
    return is_told or state.reload_wanted is not None or state.pending is not None


def _died(state: Vassal, text: str, now: float) -> Step:
    """It died: a loyal one is spawned again at once, another one is blamed and waits."""
    if state.is_loyal:
        after, effects = respawn(state, now)
        message = f"died ({text}): spawning it again"
        return after, (ev.Log(level="warning", message=message), *effects)
    entry = state.blacklisted
    delay = LEAST_DELAY_SECONDS
    if state.rules.has_blacklist:
        entry = blame(entry, state.rules, now, seed=state.seed)
        delay = delay_seconds(entry)
    after = replace(
        state.without_process(), phase=Phase.DELAYED, until=now + delay, blacklisted=entry
    )
    message = f"died ({text}): spawning it again in {delay:.3g} s"
    if entry is not None and entry.attempts > 1:
        message += f" (died {entry.attempts} times before it was loyal)"
    logged: tuple[Effect, ...] = (ev.Log(level="warning", message=message),)
    return after, logged


def status_text(status: int) -> str:
    """An exit code or signal as people know it."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
