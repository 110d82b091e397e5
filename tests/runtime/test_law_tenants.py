"""A file that changes its owner: nothing of the first one's is run any more."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.support.vassal_history import (
    KILL,
    LAZY,
    ONE,
    RELOAD,
    STOP,
    TERM,
    History,
    listening,
    program,
    ready,
    said,
    serving,
    starting,
)

from emperor.runtime import events as ev
from emperor.runtime.events import Cause
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.law.state import Phase
from emperor.runtime.protocol import Word
from emperor.runtime.tenants.privileges import Owner

FIRST = replace(ONE, owner=Owner(uid=20001, gid=20001))
SECOND = replace(ONE, digest="second", owner=Owner(uid=20002, gid=20002))
DISOWNED = ev.Disowned(message="its file belongs to somebody else: stopping")
TOUCH, CHMOD = ev.Noticed(), ev.Noticed(cause=Cause.ATTRIBUTES)


def spawning(spec: LaunchSpec = FIRST) -> History:
    """One that the guardian was asked for."""
    history = History()
    history.take(ev.Noticed())
    history.compiled(spec)
    assert history.phase is Phase.SPAWNING
    return history


def disowned() -> History:
    """One that is being stopped, as its owner has changed."""
    history = ready(FIRST)
    history.take(CHMOD)  # while that is compiled, it is found out
    assert history.take(DISOWNED) == (STOP,)
    assert (history.phase, history.state.spec) == (Phase.STOPPING, None)
    return history


def is_never_seen_again(history: History, spec: LaunchSpec | None) -> bool:
    """Whether no answer and no failure brings back what was compiled."""
    serial = history.state.serial
    for event in (
        ev.Fresh(serial=serial),
        ev.NotCompiled(serial=serial),
        ev.HeirFailed(message="died"),
        ev.Tick(),
    ):
        done = history.take(event)
        if spec in (history.state.spec, *(e.spec for e in done if isinstance(e, ev.Spawn))):
            return False
    return True


# -- a process is stopped, and the vassal rests -------------------------------------------


def test_it_is_stopped_and_rests() -> None:
    history = disowned()
    assert history.said() == ["its file belongs to somebody else: stopping"]
    assert history.wait(29.9) == ()
    assert history.wait(0.1) == (KILL,)
    history.take(ev.Exited(status=-9))
    assert (history.phase, history.attempts()) == (Phase.PARKED, 0)
    assert history.said()[0].startswith("was stopped, as its file has another owner: touch")
    assert (history.wait(3600), history.state.deadline()) == ((), None)
    assert not history.state.is_evicted


@pytest.mark.parametrize("spec", [FIRST, replace(program(ready="notify"), owner=FIRST.owner)])
def test_in_every_phase_in_which_there_is_a_process(spec: LaunchSpec) -> None:
    told = STOP if spec is FIRST else TERM
    for history in (starting(spec), ready(spec) if spec is FIRST else serving(spec)):
        assert history.take(DISOWNED) == (told,)
        assert is_never_seen_again(history, spec)
        history.take(ev.Exited(status=0))
        assert history.phase is Phase.PARKED
        assert is_never_seen_again(history, spec)


def test_while_it_reloads() -> None:
    history = ready(FIRST)
    history.take(TOUCH)
    assert history.compiled(replace(FIRST, digest="new")) == (RELOAD,)
    assert history.take(DISOWNED) == (STOP,)
    assert history.take(said(Word.WANTS_CONFIG)) == (KILL,)
    history.take(ev.Exited(status=-9))
    assert history.phase is Phase.PARKED


def test_while_it_waits_for_its_config() -> None:
    history = ready(FIRST)
    history.take(said(Word.WANTS_CONFIG))
    assert history.take(DISOWNED) == (KILL,)  # it serves nobody, and gets nothing any more
    assert history.wait(4.9) == ()


def test_while_it_is_being_spawned() -> None:
    history = spawning()
    assert history.take(DISOWNED) == ()
    assert is_never_seen_again(history, FIRST)
    assert history.take(ev.Spawned(pid=7)) == (STOP,)
    history.take(ev.Exited(status=0))
    assert history.phase is Phase.PARKED


def test_and_could_not_be_spawned() -> None:
    history = spawning()
    history.take(DISOWNED, ev.NotSpawned(message="no"))
    assert (history.phase, history.state.spec) == (Phase.PARKED, None)


def test_an_answer_to_the_compile_for_the_first_owner_comes_too_late() -> None:
    history = ready(FIRST)
    history.take(TOUCH)
    serial = history.state.serial
    history.take(DISOWNED)
    assert history.take(ev.Compiled(serial=serial, spec=FIRST)) == ()
    assert history.state.spec is None


def test_a_failing_heir_does_not_bring_the_first_owners_config_back() -> None:
    spec = replace(program("one", reload="rolling"), owner=FIRST.owner)
    history = serving(spec)
    history.take(TOUCH)
    history.compiled(replace(spec, digest="two"))
    assert history.state.has_heir
    history.take(DISOWNED)
    assert is_never_seen_again(history, spec)


# -- somebody asks for it ------------------------------------------------------------------


@pytest.mark.parametrize(
    "ask", [TOUCH, ev.Start(), ev.Reload()], ids=lambda e: type(e).__name__
)
def test_at_rest_it_is_compiled_and_runs_as_the_new_owner(ask: ev.Event) -> None:
    history = disowned()
    history.take(ev.Exited(status=0))
    assert history.take(ask) == (history.is_compiling(Cause.FILE),)
    assert history.compiled(SECOND) == (ev.Spawn(spec=SECOND),)


@pytest.mark.parametrize(
    "ask", [TOUCH, ev.Start(), ev.Reload()], ids=lambda e: type(e).__name__
)
def test_while_it_stops_it_comes_back_as_the_new_owner(ask: ev.Event) -> None:
    history = disowned()
    history.take(ask)
    history.take(DISOWNED)  # its compile finds out once more
    if history.state.pending is not None:
        history.compiled(SECOND)
    history.take(ev.Exited(status=0))
    assert history.phase is Phase.WAITING
    history.compiled(SECOND)
    assert history.state.running == SECOND
    history.take(ev.Spawned(pid=8))
    assert (history.phase, history.state.is_evicted) == (Phase.STARTING, False)


@pytest.mark.parametrize(
    "ask", [TOUCH, ev.Start(), ev.Reload()], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("is_spawned", [True, False])
def test_while_it_is_being_spawned_it_comes_back_too(ask: ev.Event, is_spawned: bool) -> None:
    history = spawning()
    history.take(DISOWNED, ask, DISOWNED)
    if is_spawned:
        assert history.take(ev.Spawned(pid=7)) == (STOP,)
        history.take(ev.Exited(status=0))
    else:
        history.take(ev.NotSpawned(message="no"))
    history.wait(1.0)
    assert history.compiled(SECOND) == (ev.Spawn(spec=SECOND),)
    history.take(ev.Spawned(pid=8))
    assert (history.phase, history.state.is_evicted) == (Phase.STARTING, False)


@pytest.mark.parametrize("cause", [Cause.ATTRIBUTES, Cause.INCLUDE])
def test_a_chmod_or_an_include_is_not_asking(cause: Cause) -> None:
    history = disowned()
    history.take(ev.Noticed(cause=cause))
    history.compiled(SECOND)
    history.take(ev.Exited(status=0))
    assert (history.phase, history.state.spec) == (Phase.PARKED, SECOND)


def test_an_operators_stop_holds() -> None:
    history = disowned()
    history.take(ev.Halt(), TOUCH, ev.Exited(status=0))
    assert (history.phase, history.state.is_stopped) == (Phase.PARKED, True)
    assert history.take(TOUCH) == ()
    history.take(ev.Start())
    assert history.compiled(SECOND) == (ev.Spawn(spec=SECOND),)


def test_a_file_that_goes_meanwhile_is_gone() -> None:
    history = disowned()
    history.take(ev.Vanished())
    assert history.take(ev.Exited(status=0)) == (ev.Forget(),)


def test_a_file_that_goes_and_comes_again_is_the_new_owners() -> None:
    history = disowned()
    history.take(ev.Vanished(), TOUCH)
    history.compiled(SECOND)
    history.take(ev.Exited(status=0))
    history.fresh()
    assert history.state.running == SECOND


# -- there is no process, or it goes anyway ------------------------------------------------


def waiting() -> History:
    """One that is to be spawned again, after a look at its files."""
    history = ready(FIRST)
    history.take(ev.Exited(status=1))
    return history


def queued() -> History:
    """One whose turn has not come; its file is looked at again."""
    history = History()
    history.take(TOUCH)
    history.is_held = True
    history.compiled(FIRST)
    return history


def delayed() -> History:
    """One that died, and waits."""
    history = starting(FIRST)
    history.take(ev.Exited(status=1))
    return history


def parked() -> History:
    """One that has left."""
    history = ready(FIRST)
    history.take(ev.Exited(status=26))
    return history


def lazy() -> History:
    """One that waits for a connection."""
    return listening(replace(LAZY, owner=FIRST.owner))


@pytest.mark.parametrize("state", [waiting, queued, delayed, parked, lazy])
def test_without_a_process_the_new_owners_config_is_run(state: Callable[[], History]) -> None:
    history = state()
    first = history.state.spec
    history.take(TOUCH)
    history.take(DISOWNED)
    assert ev.Unlisten() in history.done
    assert (history.phase, history.state.spec) == (Phase.WAITING, None)
    assert history.state.pending is Cause.FILE  # the compile goes on, as the new owner
    history.is_held = False
    assert history.wait(3600) == ()
    copied = history.state
    assert is_never_seen_again(history, first)
    history.state = copied
    assert history.compiled(SECOND) == (ev.Spawn(spec=SECOND),)


def test_one_that_is_being_restarted_comes_back_as_the_new_owner() -> None:
    spec = replace(program("one"), owner=FIRST.owner)
    history = serving(spec)
    history.take(TOUCH)
    assert history.compiled(replace(spec, digest="two")) == (TERM,)
    history.take(TOUCH, DISOWNED)
    assert history.state.spec is None
    history.compiled(SECOND)
    history.take(ev.Exited(status=0))
    assert history.fresh() == (ev.Spawn(spec=SECOND),)


def test_one_that_was_going_for_good_is_gone() -> None:
    history = ready(FIRST)
    history.take(ev.Vanished(), DISOWNED)
    assert history.take(ev.Exited(status=0)) == (ev.Forget(),)


def test_a_chmod_of_one_at_rest_is_compiled_if_something_is_being_compiled() -> None:
    history = parked()
    assert history.take(CHMOD) == ()
    history.take(ev.Noticed(cause=Cause.INCLUDE))
    serial = history.state.serial
    assert history.take(CHMOD) == (history.is_compiling(Cause.ATTRIBUTES),)
    assert history.take(ev.Compiled(serial=serial, spec=FIRST)) == ()  # for the first owner
    assert history.phase is Phase.PARKED
