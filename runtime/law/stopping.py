"""How a vassal goes: told, then signalled, then killed. Pure."""

from __future__ import annotations

import signal
from dataclasses import replace

from emperor.compiler.programs.values import Program
from emperor.runtime import events as ev
from emperor.runtime.events import Effect, Event
from emperor.runtime.law.state import HOLD_SECONDS, KILL_AGAIN_SECONDS, Phase, Step, Vassal
from emperor.runtime.protocol import Order, Word


def kill() -> ev.Signal:
    """What ends a process and all that it started."""
    return ev.Signal(signum=signal.SIGKILL, is_for_group=True)


def order(state: Vassal) -> int:
    """The byte that tells a process to go.

    One that leaves an open socket to others may have taken a connection a moment before: it
    is to answer that.
    """
    has_socket = state.running is not None and state.running.socket is not None
    goes_on = state.is_leaving and (has_socket or state.is_zerg)
    return Order.GRACEFUL_STOP if state.rules.is_graceful or goes_on else Order.STOP


def program_of(state: Vassal) -> Program | None:
    """How the process is treated, if it is not uWSGI."""
    return None if state.running is None else state.running.program


def patience(state: Vassal) -> float:
    """How long the process may take to go, in seconds."""
    program = program_of(state)
    seconds = state.rules.curse_seconds
    if program is not None and program.stop_seconds is not None:
        seconds = program.stop_seconds
    return seconds if state.most_seconds is None else min(seconds, state.most_seconds)


def begin_stop(state: Vassal, now: float, grace_seconds: float) -> Step:
    """Tell the process to go, but not while uWSGI could miss it: see ``HOLD_SECONDS``. One
    that waits for its config serves nobody and reads nothing else: it is killed."""
    after = replace(state.at_rest(), phase=Phase.STOPPING, until=now + grace_seconds)
    if state.asks_config:
        return after, (kill(),)
    is_uwsgi = program_of(state) is None
    if is_uwsgi and state.phase is Phase.READY and state.accepted_at is not None:
        safe_at = state.accepted_at + HOLD_SECONDS
        if now < safe_at < now + grace_seconds:
            return replace(after, hold=safe_at), ()
    return after, _orders(state)


def _orders(state: Vassal) -> tuple[Effect, ...]:
    """What tells a process to go; whoever does not listen gets a signal."""
    told = ev.Send(byte=order(state))
    program = program_of(state)
    if program is not None:
        by_signal = ev.Signal(signum=program.stop_signal)
        return (told,) if program.ready == "emperor" else (by_signal,)
    if state.running is not None and not state.running.has_master:
        return told, ev.Signal(signum=signal.SIGTERM)
    return (told,)


def kill_for_another(state: Vassal, now: float, why: str) -> Step:
    """The process is of no use any more: it is killed, and another one spawned."""
    after = replace(
        state.at_rest(),
        phase=Phase.STOPPING,
        is_restarting=True,
        until=now + KILL_AGAIN_SECONDS,
    )
    return after, (ev.Log(level="error", message=f"{why}: killing it"), kill())


def vanished_alive(state: Vassal, event: Event, now: float) -> Step:
    """The file is gone: so must be the process. Of an heir: nobody waits for it any more."""
    unwanted = replace(state, is_wanted=False, pending=None, serial=state.serial + 1)
    after, effects = begin_stop(unwanted, now, patience(state))
    text = "is not to take over any more" if state.is_heir else "its file is gone"
    return after, (ev.Log(level="info", message=f"{text}: stopping"), *effects)


def unwanted(state: Vassal, event: Event, now: float) -> Step:
    """It is on its way up or down already: what comes next will find it unwanted."""
    if isinstance(event, ev.Leave):
        until = now + event.grace_seconds
        if state.phase is Phase.STOPPING:
            state = replace(state, until=min(state.until or until, until))
        state = hurried(state, event.grace_seconds)
    return replace(state, is_wanted=False, is_restarting=False, pending=None), ()


def hurried(state: Vassal, grace_seconds: float) -> Vassal:
    """The same vassal, which gets no longer than that to go."""
    return replace(state, most_seconds=grace_seconds)


def gone(state: Vassal, why: str = "is not wanted any more") -> Step:
    """The end: nothing is left to do. ``why`` an heir does not take over is told to the one
    that runs."""
    after = replace(state.at_rest(), phase=Phase.GONE, is_wanted=False, pending=None)
    if state.is_heir:
        return after, (ev.Renounce(message=why), ev.Forget())
    return after, (ev.Forget(),)


def park(state: Vassal, text: str) -> Step:
    """Let the vassal rest until its file changes or an operator starts it."""
    parked = replace(
        state.without_process(),
        phase=Phase.PARKED,
        is_leaving=False,
        is_restarting=False,
        is_urgent=False,
        is_evicted=False,
        pending=None,
        serial=state.serial + 1,
    )
    return parked, (ev.Unlisten(), ev.Log(level="info", message=text))


def disowned(state: Vassal, event: Event, now: float) -> Step:
    """Its file belongs to somebody else: what was compiled for the first owner is not run any
    more, and his process goes."""
    assert isinstance(event, ev.Disowned)
    evicted = replace(
        state,
        spec=None,
        is_evicted=True,
        has_heir=False,
        is_behind=False,
        pending=None,
        serial=state.serial + 1,
    )
    told = ev.Log(level="error", message=event.message)
    if state.phase is Phase.SPAWNING:
        return evicted, (told,)
    after, effects = begin_stop(evicted, now, patience(state))
    return after, (told, *effects)


def disowned_later(state: Vassal, event: Event, now: float) -> Step:
    """It is going anyway: what comes after it is compiled for the new owner."""
    return replace(state, spec=None, has_heir=False, is_behind=False), ()


def disowned_idle(state: Vassal, event: Event, now: float) -> Step:
    """There is no process: the new owner's config is compiled, and nothing is left of the
    first one's."""
    after = replace(state.without_process(), phase=Phase.WAITING, spec=None, is_behind=False)
    return after, (ev.Unlisten(),)


def evict(state: Vassal) -> Step:
    """The first owner's process is gone: the vassal rests until somebody asks for it."""
    text = "was stopped, as its file has another owner: touch the file to run it as that one"
    return park(state, text)


def nothing_left(state: Vassal, event: Event, now: float) -> Step:
    """There is no process and nobody wants one."""
    return gone(state)


def leave(state: Vassal, event: Event, now: float) -> Step:
    """The Emperor goes: the process is told to."""
    assert isinstance(event, ev.Leave)
    unwanted = replace(
        hurried(state, event.grace_seconds), is_wanted=False, is_restarting=False, pending=None
    )
    is_uwsgi = program_of(state) is None
    return begin_stop(unwanted, now, event.grace_seconds if is_uwsgi else patience(unwanted))


def die(state: Vassal, event: Event, now: float) -> Step:
    """The Emperor goes now: the process is killed."""
    after = replace(
        state.at_rest(),
        phase=Phase.STOPPING,
        is_wanted=False,
        is_restarting=False,
        pending=None,
        until=now + KILL_AGAIN_SECONDS,
    )
    return after, (kill(),)


def die_later(state: Vassal, event: Event, now: float) -> Step:
    """It is being spawned: it is killed as soon as its pid is known."""
    return replace(hurried(state, 0.0), is_wanted=False), ()


def tick_stopping(state: Vassal, event: Event, now: float) -> Step:
    """It can be told to go by now; or it does not go, and is killed again and again."""
    if state.until is None or now < state.until:
        if state.hold is None or now < state.hold:
            return state, ()
        return replace(state, hold=None), _orders(state)
    after = replace(state, until=now + KILL_AGAIN_SECONDS, hold=None)
    return after, (ev.Log(level="warning", message="does not go: killing it"), kill())


def said_while_stopping(state: Vassal, event: Event, now: float) -> Step:
    """One byte from a process that was told to go."""
    assert isinstance(event, ev.Said)
    if event.byte == Word.WANTS_CONFIG and program_of(state) is None:
        # it was reloading when it was told to go: nothing of it serves any more
        return state, (kill(),)
    return state, ()
