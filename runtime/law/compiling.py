"""What a change of files leads to, and what an answered compile does. Pure."""

from __future__ import annotations

from dataclasses import replace

from emperor.runtime import events as ev
from emperor.runtime.events import Cause, Event
from emperor.runtime.law.blacklist import LEAST_DELAY_SECONDS
from emperor.runtime.law.reloading import deliver, is_launched_alike, needs_restart, want_reload
from emperor.runtime.law.spawning import start
from emperor.runtime.law.state import STALE_SECONDS, Phase, Step, Vassal, compile_now
from emperor.runtime.law.stopping import gone

# Nobody has said that anything changed: it is only looked whether it has.
_REFRESHING = (Cause.RESPAWN, Cause.ANSWER)


def noticed(state: Vassal, event: Event, now: float) -> Step:
    """A monitor saw the file, or a path that a broken vassal reads: compile."""
    assert isinstance(event, ev.Noticed)
    wanted = replace(state, is_wanted=True)
    if state.phase is Phase.STOPPING and not state.is_wanted:
        wanted = replace(wanted, is_restarting=True)  # its end is our doing, and no crash
    if state.is_evicted and event.cause is Cause.FILE:
        wanted = replace(wanted, is_restarting=True)  # as the new owner
    if state.is_stopped:
        return wanted, ()  # an operator's word holds; its start compiles
    if state.pending is Cause.FILE and event.cause is Cause.ATTRIBUTES:
        return compile_now(wanted, Cause.FILE)
    is_at_rest = state.phase is Phase.PARKED and state.pending is None
    if event.cause is Cause.ATTRIBUTES and is_at_rest:
        return wanted, ()
    return compile_now(wanted, event.cause)


def noticed_in_queue(state: Vassal, event: Event, now: float) -> Step:
    """Its file has changed before its turn came: it asks again when that is compiled."""
    waiting = replace(state, phase=Phase.WAITING, answer_by=now + STALE_SECONDS)
    return noticed(waiting, event, now)


def answered(state: Vassal, event: Event) -> bool:
    """Whether an answer is the one that is waited for."""
    assert isinstance(event, ev.Compiled | ev.NotCompiled | ev.Fresh)
    return event.serial == state.serial and state.pending is not None


def with_answer(state: Vassal, event: Event) -> Vassal:
    """The state with the compile's spec, or with the last good one if it gave none."""
    spec = state.spec
    if isinstance(event, ev.Compiled):
        return replace(state, spec=event.spec, pending=None, is_behind=False)
    if isinstance(event, ev.NotCompiled) and spec is None:
        spec = event.kept
    return replace(state, spec=spec, pending=None)


def compiled_idle(state: Vassal, event: Event, now: float) -> Step:
    """No process: one is started if there is anything to start."""
    if not answered(state, event):
        return state, ()
    after = with_answer(state, event)
    is_news = isinstance(event, ev.Compiled) and state.pending not in _REFRESHING
    if state.phase is not Phase.WAITING and not is_news:
        return after, ()  # nothing new to try: it waits as long as it would have
    if after.spec is None:
        broken = replace(after.at_rest(), phase=Phase.WAITING, is_urgent=False)
        return gone(broken) if state.is_zerg else (broken, ())
    earliest = (state.died_at or 0.0) + LEAST_DELAY_SECONDS
    if state.phase is Phase.DELAYED and now < earliest:
        return replace(after, until=earliest), ()  # repaired, but it has just died
    return start(after, now, is_last_good=isinstance(event, ev.NotCompiled))


def compiled_in_queue(state: Vassal, event: Event, now: float) -> Step:
    """A slow answer: what is started is the newest, when its turn comes; with another socket
    it begins again, for a process gets the one that is held."""
    if not answered(state, event):
        return state, ()
    after = with_answer(state, event)
    assert after.spec is not None
    assert state.spec is not None
    if after.spec.socket != state.spec.socket:
        return start(after, now)
    return after, ()


def compiled_listening(state: Vassal, event: Event, now: float) -> Step:
    """It waits for a connection: a new config is taken without a process."""
    if not answered(state, event):
        return state, ()
    after = with_answer(state, event)
    assert after.spec is not None
    assert state.spec is not None
    if not isinstance(event, ev.Compiled):
        return after, ()
    told = (
        ev.Log(level="info", message="takes its new config when somebody connects"),
        ev.Hook(moment="as-on-config"),
    )
    if after.spec.socket == state.spec.socket:
        return after, told
    again, effects = start(after, now)
    return again, effects if after.spec.socket is None else (*told, *effects)


def reload_reason(state: Vassal, event: Event, cause: Cause | None) -> str | None:
    """Why a process must take over what was compiled; nothing if it need not.

    A compile for a respawn or for a process that asks only refreshes what is known: a changed
    include alone reloads nothing.
    """
    if not isinstance(event, ev.Compiled) or cause in _REFRESHING:
        return None
    is_changed = state.running is None or event.spec.digest != state.running.digest
    if cause is Cause.ATTRIBUTES and not is_changed:
        return None
    return "changed" if is_changed else "touched"


def compiled_alive(state: Vassal, event: Event, now: float) -> Step:
    """A process: it is told to reload, or given the config that it waits for."""
    if not answered(state, event):
        return state, ()
    after = with_answer(state, event)
    reason = reload_reason(state, event, state.pending)
    if state.asks_config:
        if is_launched_alike(after) and (reason is None or not needs_restart(after)):
            return deliver(after, now)
        return want_reload(after, reason or "changed", now)
    return (after, ()) if reason is None else want_reload(after, reason, now)


def compiled_later(state: Vassal, event: Event, now: float) -> Step:
    """The process is being started or is going: the spec is kept for what comes then."""
    if not answered(state, event):
        return state, ()
    after = with_answer(state, event)
    reason = reload_reason(state, event, state.pending)
    return (after if reason is None else replace(after, reload_wanted=reason)), ()
