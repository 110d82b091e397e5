"""The state machine of one vassal: ``step(state, event, now) -> (state, effects)``. Pure.

``TABLE`` says which action answers which event in which phase; a pair that is not in it
changes nothing. All times are monotonic seconds and come from outside.
"""

from __future__ import annotations

from emperor.runtime import events as ev
from emperor.runtime.events import Event
from emperor.runtime.law.commanding import (
    halt,
    halt_idle,
    halt_later,
    hurry,
    reload,
    reload_idle,
    retry,
    retry_idle,
    start_idle,
    start_later,
    start_listening,
)
from emperor.runtime.law.compiling import (
    compiled_alive,
    compiled_idle,
    compiled_in_queue,
    compiled_later,
    compiled_listening,
    noticed,
    noticed_in_queue,
)
from emperor.runtime.law.dying import exited
from emperor.runtime.law.listening import not_listening, now_listening
from emperor.runtime.law.programs import begin, heir_failed, stopping, superseded
from emperor.runtime.law.reloading import said, tick_alive
from emperor.runtime.law.spawning import connected, may_start, not_spawned, spawned, tick_idle
from emperor.runtime.law.state import ALIVE, IDLE, Action, Phase, Step, Vassal
from emperor.runtime.law.stopping import (
    die,
    die_later,
    disowned,
    disowned_idle,
    disowned_later,
    leave,
    nothing_left,
    said_while_stopping,
    tick_stopping,
    unwanted,
    vanished_alive,
)


def step(state: Vassal, event: Event, now: float) -> Step:
    """Answer one event: the state after it, and what is to be done, in order."""
    action = TABLE.get((state.phase, type(event)))
    return (state, ()) if action is None else action(state, event, now)


def _rows(phases: tuple[Phase, ...], **answers: Action) -> dict[tuple[Phase, type], Action]:
    return {
        (phase, getattr(ev, name)): action
        for phase in phases
        for name, action in answers.items()
    }


TABLE: dict[tuple[Phase, type], Action] = {
    **_rows(
        IDLE,
        Noticed=noticed,
        Compiled=compiled_idle,
        NotCompiled=compiled_idle,
        Fresh=compiled_idle,
        Tick=tick_idle,
        Begin=begin,
        Disowned=disowned_idle,
        HeirFailed=heir_failed,
        Superseded=nothing_left,
        Reload=reload_idle,
        Halt=halt_idle,
        Start=start_idle,
        Retry=retry_idle,
        Vanished=nothing_left,
        Leave=nothing_left,
        Die=nothing_left,
    ),
    **_rows(
        (Phase.LISTENING,),
        Noticed=noticed,
        Compiled=compiled_listening,
        NotCompiled=compiled_listening,
        Fresh=compiled_listening,
        Connected=connected,
        Listening=now_listening,
        NotListening=not_listening,
        Disowned=disowned_idle,
        HeirFailed=heir_failed,
        Superseded=nothing_left,
        Reload=reload,
        Halt=halt_idle,
        Start=start_listening,
        Retry=retry,
        Vanished=nothing_left,
        Leave=nothing_left,
        Die=nothing_left,
    ),
    **_rows(
        (Phase.QUEUED,),
        Noticed=noticed_in_queue,
        Compiled=compiled_in_queue,
        NotCompiled=compiled_in_queue,
        Fresh=compiled_in_queue,
        MayStart=may_start,
        Disowned=disowned_idle,
        HeirFailed=heir_failed,
        Superseded=nothing_left,
        Reload=hurry,
        Halt=halt_idle,
        Start=hurry,
        Retry=hurry,
        Vanished=nothing_left,
        Leave=nothing_left,
        Die=nothing_left,
    ),
    **_rows(
        (Phase.SPAWNING,),
        Noticed=noticed,
        Compiled=compiled_later,
        NotCompiled=compiled_later,
        Fresh=compiled_later,
        Spawned=spawned,
        NotSpawned=not_spawned,
        Disowned=disowned,
        HeirFailed=heir_failed,
        Superseded=unwanted,
        Reload=reload,
        Halt=halt_later,
        Start=start_later,
        Retry=retry,
        Vanished=unwanted,
        Leave=unwanted,
        Die=die_later,
    ),
    **_rows(
        ALIVE,
        Noticed=noticed,
        Compiled=compiled_alive,
        NotCompiled=compiled_alive,
        Fresh=compiled_alive,
        Said=said,
        Tick=tick_alive,
        Exited=exited,
        Stopping=stopping,
        Disowned=disowned,
        HeirFailed=heir_failed,
        Superseded=superseded,
        Reload=reload,
        Halt=halt,
        Retry=retry,
        Vanished=vanished_alive,
        Leave=leave,
        Die=die,
    ),
    **_rows(
        (Phase.STOPPING,),
        Noticed=noticed,
        Compiled=compiled_later,
        NotCompiled=compiled_later,
        Fresh=compiled_later,
        Said=said_while_stopping,
        Tick=tick_stopping,
        Exited=exited,
        Disowned=disowned_later,
        HeirFailed=heir_failed,
        Superseded=unwanted,
        Reload=reload,
        Halt=halt_later,
        Start=start_later,
        Retry=retry,
        Vanished=unwanted,
        Leave=unwanted,
        Die=die,
    ),
}
