"""How a vassal comes up, and comes back. Pure."""

from __future__ import annotations

from dataclasses import replace

from emperor.runtime import events as ev
from emperor.runtime.events import Cause, Effect, Event
from emperor.runtime.law.blacklist import LEAST_DELAY_SECONDS
from emperor.runtime.law.listening import listen
from emperor.runtime.law.programs import program_spawned
from emperor.runtime.law.reloading import want_reload
from emperor.runtime.law.state import STALE_SECONDS, Phase, Step, Vassal, compile_now
from emperor.runtime.law.stopping import begin_stop, evict, gone, park, patience


def start(state: Vassal, now: float, *, is_last_good: bool = False) -> Step:
    """There is a config to run: wait for a connection where it is on demand, else queue."""
    assert state.spec is not None
    if state.spec.socket is not None:
        after, effects = listen(state)
    else:
        after, effects = queue(state)
        effects = (ev.Unlisten(), *effects)  # it may have been on demand before
    if is_last_good:
        text = "does not compile: spawning with the last good config"
        return after, (ev.Log(level="warning", message=text), *effects)
    return after, effects


def queue(state: Vassal) -> Step:
    """Wait for the turn to start; a compile under way stays under way."""
    after = replace(state.without_process(), phase=Phase.QUEUED)
    return after, (ev.AskStart(is_urgent=state.is_urgent),)


def connected(state: Vassal, event: Event, now: float) -> Step:
    """Somebody has connected: the process that answers is started."""
    after, effects = queue(state)
    return after, (ev.Log(level="info", message="somebody connects: spawning"), *effects)


def may_start(state: Vassal, event: Event, now: float) -> Step:
    """Its turn has come: the process is started with the last good config."""
    assert state.spec is not None
    after = replace(
        state,
        phase=Phase.SPAWNING,
        running=state.spec,
        is_urgent=False,
        is_restarting=False,
        is_leaving=False,
    )
    return after, (ev.Spawn(spec=state.spec),)


def spawned(state: Vassal, event: Event, now: float) -> Step:
    """The process runs; what was decided meanwhile is done now."""
    assert isinstance(event, ev.Spawned)
    text = f"spawned (pid {event.pid})"
    after = replace(state, phase=Phase.STARTING, failed_spawns=0)
    effects: tuple[Effect, ...] = (
        ev.Log(level="info", message=text),
        ev.Hook(moment="as-emperor"),
    )
    if not state.is_wanted or state.is_stopped or state.is_evicted:
        after, more = begin_stop(after, now, patience(state))
        return after, effects + more
    if state.running is not None and state.running.program is not None:
        after, more = program_spawned(after, now)
        effects += more
    if state.reload_wanted is not None:
        after, more = want_reload(after, state.reload_wanted, now)
        return after, effects + more
    return after, effects


def not_spawned(state: Vassal, event: Event, now: float) -> Step:
    """The process could not be started: it is tried again."""
    assert isinstance(event, ev.NotSpawned)
    if not state.is_wanted:
        return gone(state)
    if state.is_heir:
        return gone(state, f"cannot be spawned ({event.message})")
    if state.is_stopped:
        return park(state, "stopped by an operator")
    if state.is_evicted and not state.is_restarting:
        return evict(state)
    text = f"cannot be spawned: {event.message}; trying again in {LEAST_DELAY_SECONDS:g} s"
    after = replace(
        state.without_process(),
        phase=Phase.DELAYED,
        is_evicted=False,
        is_restarting=False,
        failed_spawns=state.failed_spawns + 1,
        until=now + LEAST_DELAY_SECONDS,
    )
    level = "debug" if state.failed_spawns else "error"  # loudly, and once
    return after, (ev.Log(level=level, message=text),)


def respawn(state: Vassal, now: float) -> Step:
    """Spawn again, after a look whether the last good config still is what files say."""
    waiting = replace(state.without_process(), phase=Phase.WAITING)
    if state.spec is not None:
        waiting = replace(waiting, answer_by=now + STALE_SECONDS)
    if state.pending is not None:
        return waiting, ()
    return compile_now(waiting, Cause.RESPAWN, if_stale=True)


def tick_idle(state: Vassal, event: Event, now: float) -> Step:
    """The time to spawn again has come, or a compile takes too long."""
    if state.until is not None and now >= state.until:
        return respawn(state, now)
    if state.answer_by is not None and now >= state.answer_by and state.spec is not None:
        text = "compiles too slowly: spawning with the last good config"
        after, effects = start(state, now)
        return after, (ev.Log(level="warning", message=text), *effects)
    return state, ()
