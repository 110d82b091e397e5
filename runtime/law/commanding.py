"""An operator's word, which wins over every throttle. Pure."""

from __future__ import annotations

from dataclasses import replace

from emperor.runtime import events as ev
from emperor.runtime.events import Cause, Event
from emperor.runtime.law.spawning import queue, respawn
from emperor.runtime.law.state import Phase, Step, Vassal, compile_now
from emperor.runtime.law.stopping import begin_stop, gone, park, patience

_STOPPED = "stopped by an operator"


def reload(state: Vassal, event: Event, now: float) -> Step:
    """What runs reloads; what listens is compiled again."""
    if not state.is_wanted or state.is_heir:  # of an heir the one that runs is compiled
        return state, ()
    again = replace(state, is_restarting=True) if state.is_evicted else state
    return compile_now(again, Cause.FILE)


def reload_idle(state: Vassal, event: Event, now: float) -> Step:
    """What waits is tried now, unless an operator has stopped it."""
    if state.is_stopped:
        return state, ()
    waiting = replace(state, phase=Phase.WAITING, until=None, is_urgent=True)
    return compile_now(waiting, Cause.FILE)


def hurry(state: Vassal, event: Event, now: float) -> Step:
    """What is in the queue starts at once."""
    entry = None if isinstance(event, ev.Retry) else state.blacklisted
    after = replace(state, is_urgent=True, blacklisted=entry)
    return after, (ev.AskStart(is_urgent=True),)


def halt_idle(state: Vassal, event: Event, now: float) -> Step:
    """There is no process: there will be none."""
    if state.is_heir:
        return gone(state, _STOPPED)
    if state.is_stopped:
        return state, ()
    return park(replace(state, is_stopped=True), _STOPPED)


def halt(state: Vassal, event: Event, now: float) -> Step:
    """The process is told to go."""
    stopped = replace(state, is_stopped=True, pending=None, serial=state.serial + 1)
    after, effects = begin_stop(stopped, now, patience(state))
    return after, (ev.Log(level="info", message=_STOPPED), *effects)


def halt_later(state: Vassal, event: Event, now: float) -> Step:
    """It is on its way up or down: it rests after that."""
    return replace(state, is_stopped=True), ()


def start_idle(state: Vassal, event: Event, now: float) -> Step:
    """It runs again, whatever kept it from that."""
    waiting = replace(state, phase=Phase.WAITING, until=None, is_stopped=False, is_urgent=True)
    return compile_now(waiting, Cause.FILE)


def start_listening(state: Vassal, event: Event, now: float) -> Step:
    """It is spawned without waiting for a connection."""
    return queue(replace(state, is_urgent=True))


def start_later(state: Vassal, event: Event, now: float) -> Step:
    """It is on its way up or down: it runs after that."""
    after = replace(state, is_stopped=False)
    if not state.is_wanted or state.is_heir:
        return after, ()
    if state.phase is Phase.STOPPING or state.is_evicted:
        after = replace(after, is_leaving=False, is_restarting=True)
    if state.is_stopped:  # nobody has looked at edits meanwhile
        return compile_now(after, Cause.FILE)
    return after, ()


def retry(state: Vassal, event: Event, now: float) -> Step:
    """Its place on the blacklist is forgotten."""
    return replace(state, blacklisted=None), ()


def retry_idle(state: Vassal, event: Event, now: float) -> Step:
    """Its place on the blacklist is forgotten, and what waits for another try is tried now."""
    forgiven = replace(state, blacklisted=None)
    if state.phase is Phase.DELAYED:
        return respawn(replace(forgiven, is_urgent=True), now)
    if state.phase is Phase.WAITING and state.pending is None:
        return compile_now(forgiven, Cause.FILE)
    return forgiven, ()
