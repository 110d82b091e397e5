"""What a change of files leads to, and what an answered compile does. Pure."""

from __future__ import annotations

from dataclasses import replace

from emperor.runtime import events as ev
from emperor.runtime.events import Cause, Event
from emperor.runtime.law.reloading import deliver, needs_restart, want_reload
from emperor.runtime.law.spawning import spawn
from emperor.runtime.law.state import Phase, Step, Vassal, compile_now


def noticed(state: Vassal, event: Event, now: float) -> Step:
    """A monitor saw the file, or a path that a broken vassal reads: compile."""
    assert isinstance(event, ev.Noticed)
    wanted = replace(state, is_wanted=True)
    if state.pending is Cause.FILE and event.cause is Cause.ATTRIBUTES:
        return compile_now(wanted, Cause.FILE)
    if event.cause is Cause.ATTRIBUTES and state.phase is Phase.PARKED:
        return wanted, ()
    return compile_now(wanted, event.cause)


def answered(state: Vassal, event: Event) -> bool:
    """Whether an answer is the one that is waited for."""
    assert isinstance(event, ev.Compiled | ev.NotCompiled | ev.Fresh)
    return event.serial == state.serial and state.pending is not None


def with_answer(state: Vassal, event: Event) -> Vassal:
    """The state with the compile's spec, or with the last good one if it gave none."""
    spec = state.spec
    if isinstance(event, ev.Compiled):
        spec = event.spec
    elif isinstance(event, ev.NotCompiled) and spec is None:
        spec = event.kept
    return replace(state, spec=spec, pending=None)


def compiled_idle(state: Vassal, event: Event, now: float) -> Step:
    """No process: one is spawned if there is anything to spawn."""
    if not answered(state, event):
        return state, ()
    after = with_answer(state, event)
    if isinstance(event, ev.NotCompiled) and state.phase is not Phase.WAITING:
        return after, ()  # broken, and not its time yet: the last good config has its turn
    if after.spec is None:
        return replace(after, phase=Phase.WAITING, until=None, answer_by=None), ()
    return spawn(after, now, is_last_good=isinstance(event, ev.NotCompiled))


def reload_reason(state: Vassal, event: Event, cause: Cause | None) -> str | None:
    """Why a process must take over what was compiled; nothing if it need not.

    A compile for a respawn or for a process that asks only refreshes what is known: a changed
    include alone reloads nothing.
    """
    if not isinstance(event, ev.Compiled) or cause in (Cause.RESPAWN, Cause.ANSWER):
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
    if state.asks_config and (reason is None or not needs_restart(after)):
        return deliver(after, ())
    return (after, ()) if reason is None else want_reload(after, reason, now)


def compiled_later(state: Vassal, event: Event, now: float) -> Step:
    """The process is being started or is going: the spec is kept for what comes then."""
    if not answered(state, event):
        return state, ()
    after = with_answer(state, event)
    reason = reload_reason(state, event, state.pending)
    return (after if reason is None else replace(after, reload_wanted=reason)), ()
