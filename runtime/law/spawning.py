"""How a vassal comes up, and comes back. Pure."""

from __future__ import annotations

from dataclasses import replace

from emperor.runtime import events as ev
from emperor.runtime.events import Cause, Effect, Event
from emperor.runtime.law.reloading import want_reload
from emperor.runtime.law.state import (
    IDLE,
    RESPAWN_SECONDS,
    STALE_SECONDS,
    Phase,
    Step,
    Vassal,
    compile_now,
)
from emperor.runtime.law.stopping import begin_stop, gone


def spawn(state: Vassal, now: float, *, is_last_good: bool = False) -> Step:
    """Start a process with the last good config; a compile under way stays under way."""
    assert state.spec is not None
    after = replace(
        state,
        phase=Phase.SPAWNING,
        running=state.spec,
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


def spawned(state: Vassal, event: Event, now: float) -> Step:
    """The process runs; what was decided meanwhile is done now."""
    assert isinstance(event, ev.Spawned)
    text = f"spawned (pid {event.pid})"
    after = replace(state, phase=Phase.STARTING, failed_spawns=0)
    effects: tuple[Effect, ...] = (ev.Log(level="info", message=text),)
    if not state.is_wanted:
        after, more = begin_stop(after, now, state.curse_seconds)
        return after, effects + more
    if state.reload_wanted is not None:
        after, more = want_reload(after, state.reload_wanted, now)
        return after, effects + more
    return after, effects


def not_spawned(state: Vassal, event: Event, now: float) -> Step:
    """The process could not be started: it is tried again."""
    assert isinstance(event, ev.NotSpawned)
    if not state.is_wanted:
        return gone(state)
    text = f"cannot be spawned: {event.message}; trying again in {RESPAWN_SECONDS:g} s"
    after = replace(
        state,
        phase=Phase.DELAYED,
        running=None,
        failed_spawns=state.failed_spawns + 1,
        until=now + RESPAWN_SECONDS,
    )
    level = "debug" if state.failed_spawns else "error"  # loudly, and once
    return after, (ev.Log(level=level, message=text),)


def respawn(state: Vassal, now: float) -> Step:
    """Spawn again, after a look whether the last good config still is what files say."""
    waiting = replace(state, phase=Phase.WAITING, running=None, until=None, hold=None)
    if state.pending is not None:
        return replace(waiting, answer_by=now + STALE_SECONDS if state.spec else None), ()
    if state.spec is not None:
        waiting = replace(waiting, answer_by=now + STALE_SECONDS)
    return compile_now(waiting, Cause.RESPAWN, if_stale=True)


def tick_idle(state: Vassal, event: Event, now: float) -> Step:
    """The time to spawn again has come, or a compile takes too long."""
    if state.until is not None and now >= state.until:
        return respawn(state, now)
    if state.answer_by is not None and now >= state.answer_by and state.spec is not None:
        text = "compiles too slowly: spawning with the last good config"
        after, effects = spawn(state, now)
        return after, (ev.Log(level="warning", message=text), *effects)
    return state, ()


def asked_to_reload(state: Vassal, event: Event, now: float) -> Step:
    """An operator's word: everything that runs reloads, everything that waits is tried."""
    if not state.is_wanted:
        return state, ()
    if state.phase in IDLE:
        waiting = replace(state, phase=Phase.WAITING, until=None)
        return compile_now(waiting, Cause.FILE)
    return compile_now(state, Cause.FILE)
