"""An operator's word, whatever the vassal is doing; and the queue that all have to pass."""

import signal
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.support.vassal_history import (
    BARE,
    KILL,
    LAZY,
    ONE,
    RELOAD,
    STOP,
    TERM,
    TWO,
    History,
    fresh_one,
    listening,
    ready,
    reloading,
    said,
    starting,
)

from emperor.runtime import events as ev
from emperor.runtime.events import Cause
from emperor.runtime.law.state import ALIVE, HOLD_SECONDS, Phase, Vassal
from emperor.runtime.law.table import step
from emperor.runtime.protocol import Order, Word


def waiting() -> History:
    """One that is being compiled."""
    history = History()
    history.take(ev.Noticed())
    return history


def broken() -> History:
    """One that does not compile."""
    history = waiting()
    history.not_compiled()
    return history


def queued() -> History:
    """One whose turn has not come."""
    history = waiting()
    history.is_held = True
    history.compiled(ONE)
    return history


def spawning() -> History:
    """One that the guardian was asked for."""
    history = waiting()
    history.compiled(ONE)
    return history


def delayed() -> History:
    """One that died and waits for a minute."""
    history = starting(throttle_step_seconds=60.0)
    history.take(ev.Exited(status=1))
    return history


def stopping() -> History:
    """One that is restarted."""
    history = ready()
    history.take(ev.Noticed())
    history.compiled(BARE)
    return history


def leaving() -> History:
    """One that goes of its own will."""
    history = ready()
    history.take(said(Word.LEAVING))
    return history


def parked() -> History:
    """One that has left."""
    history = ready()
    history.take(ev.Exited(status=26))
    return history


def vanished() -> History:
    """One that is told to go because its file is gone."""
    history = ready()
    history.take(ev.Vanished())
    return history


def gone() -> History:
    """One of which nothing is left."""
    history = waiting()
    history.take(ev.Vanished())
    return history


EVERYWHERE: tuple[Callable[[], History], ...] = (
    *(waiting, broken, listening, queued, spawning, starting, ready, reloading),
    *(delayed, stopping, leaving, parked, vanished, gone),
)
HERE = tuple(make for make in EVERYWHERE if make not in (vanished, gone))

everywhere = pytest.mark.parametrize("make", EVERYWHERE, ids=lambda make: make.__name__)
here = pytest.mark.parametrize("make", HERE, ids=lambda make: make.__name__)


def carried_on(history: History) -> Phase:
    """Where it ends up when everything under way is carried on and all compiles give ONE."""
    history.is_held = False
    for _ in range(20):
        if history.phase is Phase.STOPPING:
            history.take(ev.Exited(status=0))
        elif history.phase is Phase.SPAWNING:
            history.take(ev.Spawned(pid=9))
        elif history.phase is Phase.QUEUED:
            history.take(ev.MayStart())
        elif history.state.pending is not None:
            history.compiled(ONE)
        elif history.phase is Phase.RELOADING and history.state.is_reload_ours:
            history.take(said(Word.WANTS_CONFIG))
        elif history.phase in (Phase.STARTING, Phase.RELOADING):
            history.take(said(Word.ACCEPTING))
        else:
            break
    return history.phase


def test_these_are_all_phases() -> None:
    assert {make().phase for make in EVERYWHERE} == set(Phase)


# -- stop and start --------------------------------------------------------------------


@here
def test_stopped_it_rests_and_nothing_but_an_operator_wakes_it(
    make: Callable[[], History],
) -> None:
    history = make()
    had_process = history.phase in (*ALIVE, Phase.STOPPING, Phase.SPAWNING)
    history.take(ev.Halt())
    assert carried_on(history) is Phase.PARKED
    assert history.state.is_stopped
    assert history.state.deadline() is None
    assert ev.Unlisten() in history.done
    said_so = history.said()[-1]
    assert said_so.startswith("stopped by an operator") or not had_process
    for event in (ev.Noticed(), ev.Noticed(cause=Cause.INCLUDE), ev.Reload(), ev.Retry()):
        assert history.take(event) == ()
        assert history.phase is Phase.PARKED


@here
def test_started_again_it_runs_with_what_its_file_says(make: Callable[[], History]) -> None:
    history = make()
    history.take(ev.Halt())
    carried_on(history)
    assert history.take(ev.Start()) == (history.is_compiling(Cause.FILE),)
    assert history.compiled(TWO) == (ev.Spawn(spec=TWO),)
    assert ev.AskStart(is_urgent=True) in history.done
    assert not history.state.is_stopped


@here
def test_stopped_and_started_at_once_it_runs(make: Callable[[], History]) -> None:
    history = make()
    history.take(ev.Halt(), ev.Start())
    assert carried_on(history) is Phase.READY


@here
def test_started_it_runs_whatever_kept_it_from_that(make: Callable[[], History]) -> None:
    history = make()
    history.take(ev.Start())
    assert carried_on(history) is Phase.READY


@everywhere
@pytest.mark.parametrize("event", [ev.Halt(), ev.Start(), ev.Retry()], ids=repr)
def test_twice_is_once(make: Callable[[], History], event: ev.Event) -> None:
    history = make()
    once, _ = step(history.state, event, history.now)
    twice, again = step(once, event, history.now)
    assert replace(twice, serial=0) == replace(once, serial=0)
    assert [e for e in again if isinstance(e, ev.Send | ev.Signal | ev.Spawn)] == []


@pytest.mark.parametrize("event", [ev.Halt(), ev.Start(), ev.Reload(), ev.Retry()], ids=repr)
@pytest.mark.parametrize("make", [vanished, gone])
def test_no_word_brings_back_whose_file_is_gone(
    make: Callable[[], History], event: ev.Event
) -> None:
    history = make()
    history.take(event)
    if history.phase is Phase.STOPPING:
        assert history.take(ev.Exited(status=0)) == (ev.Forget(),)
    assert history.phase is Phase.GONE


def test_stop_tells_the_process_as_a_removal_does() -> None:
    assert ready().take(ev.Halt()) == (STOP,)
    assert ready(BARE).take(ev.Halt()) == (STOP, TERM)
    graceful = ready(is_graceful=True, curse_seconds=3.0)
    assert graceful.take(ev.Halt()) == (ev.Send(byte=Order.GRACEFUL_STOP),)
    assert graceful.wait(3) == (KILL,)


def test_stopped_while_it_is_being_spawned_it_is_told_to_go_once_it_runs() -> None:
    history = spawning()
    assert history.take(ev.Halt()) == ()
    assert history.take(ev.Spawned(pid=7)) == (STOP,)
    history = spawning()
    history.take(ev.Halt(), ev.NotSpawned(message="no"))
    assert (history.phase, history.state.deadline()) == (Phase.PARKED, None)


def test_an_edit_while_it_was_stopped_on_its_way_up_is_not_lost() -> None:
    history = spawning()
    history.take(ev.Halt(), ev.Noticed(), ev.Start())
    history.compiled(TWO)
    history.take(ev.Spawned(pid=7), said(Word.ACCEPTING))
    assert history.wait(1) == (RELOAD,)


def test_a_compile_that_was_under_way_when_it_was_stopped_does_not_count() -> None:
    history = waiting()
    old = history.state.serial
    history.take(ev.Halt())
    assert history.take(ev.Compiled(serial=old, spec=ONE)) == ()
    assert history.phase is Phase.PARKED
    history = ready()
    history.take(ev.Noticed(), ev.Halt())
    assert history.compiled(TWO) == ()
    history.take(ev.Exited(status=0))
    assert history.phase is Phase.PARKED


def test_a_removed_one_that_was_stopped_is_forgotten() -> None:
    history = ready()
    history.take(ev.Halt(), ev.Exited(status=0))
    assert history.take(ev.Vanished()) == (ev.Forget(),)
    history = ready()
    history.take(ev.Halt(), ev.Vanished())
    assert history.take(ev.Exited(status=0)) == (ev.Forget(),)


def test_stopping_what_was_restarting_is_no_restart() -> None:
    history = stopping()
    history.take(ev.Halt())
    history.take(ev.Exited(status=0))
    assert history.phase is Phase.PARKED


def test_starting_what_leaves_brings_it_back() -> None:
    history = leaving()
    assert history.take(ev.Start()) == ()
    history.take(ev.Exited(status=0))
    assert history.fresh() == (ev.Spawn(spec=ONE),)


# -- reload ----------------------------------------------------------------------------


@here
def test_a_reload_ends_in_a_process_with_the_new_config(make: Callable[[], History]) -> None:
    history = make()
    is_idle = history.phase in (Phase.WAITING, Phase.DELAYED, Phase.PARKED)
    done = history.take(ev.Reload())
    if history.phase is Phase.QUEUED:
        assert done == ()
        assert history.done == (ev.AskStart(is_urgent=True),)
    else:
        assert done == (history.is_compiling(Cause.FILE),)
    assert history.state.is_urgent == (is_idle or history.phase is Phase.QUEUED)


def test_a_reload_of_what_is_stopping_by_an_operators_word_starts_nothing() -> None:
    history = ready()
    history.take(ev.Halt(), ev.Reload())
    history.compiled(TWO)
    history.take(ev.Exited(status=0))
    assert history.phase is Phase.PARKED


@pytest.mark.parametrize("status", [0, 26])
def test_one_that_was_told_to_reload_and_leaves_instead_comes_back(status: int) -> None:
    history = ready()
    history.take(ev.Noticed())
    assert history.compiled(TWO) == (RELOAD,)
    if status == 0:
        history.take(said(Word.LEAVING))
    history.take(ev.Exited(status=status))
    assert history.fresh() == (ev.Spawn(spec=TWO),)


def test_one_that_has_reloaded_and_leaves_then_rests() -> None:
    history = reloading()
    history.take(said(Word.LEAVING), ev.Exited(status=0))
    assert history.phase is Phase.PARKED


@pytest.mark.parametrize("is_stopping", [True, False])
def test_an_edit_while_it_is_stopped_and_a_slow_compile_are_not_forgotten(
    is_stopping: bool,
) -> None:
    history = ready() if is_stopping else spawning()
    history.take(ev.Halt(), ev.Noticed(), ev.Start())
    if is_stopping:
        history.take(ev.Exited(status=0))
        assert history.wait(3) == (ev.Spawn(spec=ONE),)  # the last good config
    history.take(ev.Spawned(pid=8), said(Word.ACCEPTING))
    history.now += 1
    assert history.compiled(TWO) == (RELOAD,)


@pytest.mark.parametrize("cause", [Cause.ANSWER, Cause.RESPAWN], ids=lambda cause: cause.name)
def test_a_look_whether_anything_changed_does_not_shorten_the_throttle(cause: Cause) -> None:
    history = delayed()
    if cause is Cause.RESPAWN:
        history.wait(60)
        history.wait(3)  # too slow
        history.take(ev.Spawned(pid=8))
    else:
        history.wait(60)
        history.fresh()
        history.take(ev.Spawned(pid=8), said(Word.WANTS_CONFIG))
    assert history.state.pending is cause
    history.take(ev.Exited(status=1))
    history.now += 2
    assert history.compiled(TWO) == ()
    assert history.next_try() == pytest.approx(118.0)


# -- the queue -------------------------------------------------------------------------


def test_it_asks_for_its_turn_and_starts_when_it_comes() -> None:
    history = queued()
    assert history.done[-1] == ev.AskStart()
    assert history.state.deadline() is None
    assert history.take(ev.MayStart()) == (ev.Spawn(spec=ONE),)
    assert history.take(ev.MayStart()) == ()


def test_its_file_changes_before_its_turn() -> None:
    history = queued()
    assert history.take(ev.Noticed()) == (history.is_compiling(Cause.FILE),)
    assert history.take(ev.MayStart()) == ()  # it does not wait for that turn any more
    history.compiled(TWO)
    assert history.done[-1] == ev.AskStart()
    assert history.take(ev.MayStart()) == (ev.Spawn(spec=TWO),)


def test_its_file_breaks_before_its_turn() -> None:
    history = queued()
    history.take(ev.Noticed())
    history.not_compiled()
    assert history.take(ev.MayStart()) == (ev.Spawn(spec=ONE),)


def test_a_slow_answer_before_its_turn_is_what_it_gets() -> None:
    history = ready()
    history.is_held = True
    history.take(ev.Noticed(), ev.Exited(status=1))
    history.wait(3)
    assert history.phase is Phase.QUEUED
    assert history.compiled(TWO) == ()
    assert history.take(ev.MayStart()) == (ev.Spawn(spec=TWO),)


@pytest.mark.parametrize("event", [ev.Vanished(), ev.Leave(grace_seconds=1.0), ev.Die()])
def test_removed_before_its_turn(event: ev.Event) -> None:
    history = queued()
    assert history.take(event) == (ev.Forget(),)
    assert history.take(ev.MayStart()) == ()


@pytest.mark.parametrize("event", [ev.Reload(), ev.Start(), ev.Retry()], ids=repr)
def test_an_operator_moves_it_to_the_front(event: ev.Event) -> None:
    history = queued()
    history.take(event)
    assert history.done == (ev.AskStart(is_urgent=True),)
    assert history.take(ev.MayStart()) == (ev.Spawn(spec=ONE),)


# -- how a process goes ----------------------------------------------------------------


@pytest.mark.parametrize("event", [ev.Vanished(), ev.Halt(), said(Word.LEAVING)], ids=repr)
def test_the_curse_is_tolerated_for_so_long_and_then_killed_every_5_s(event: ev.Event) -> None:
    history = ready(curse_seconds=12.0)
    assert history.take(event) == (STOP,)
    assert history.wait(11.9) == ()
    assert history.wait(0.2) == (KILL,)
    assert history.said() == ["does not go: killing it"]
    assert history.wait(10) == (KILL, KILL)


def fresh_and_ready() -> History:
    """One that accepts requests since just now: its later workers may not be ready."""
    history = ready(curse_seconds=12.0)
    history.take(said(Word.ACCEPTING))
    return history


@pytest.mark.parametrize("event", [ev.Vanished(), ev.Halt(), said(Word.LEAVING)], ids=repr)
def test_a_stop_is_held_back_after_requests_are_accepted(event: ev.Event) -> None:
    history = fresh_and_ready()
    assert history.take(event) == ()
    assert history.phase is Phase.STOPPING
    assert history.wait(HOLD_SECONDS - 0.01) == ()
    assert history.wait(0.02) == (STOP,)
    assert history.wait(12 - HOLD_SECONDS) == (KILL,)


def test_a_stop_that_is_held_back_is_not_sent_to_whom_it_would_not_reach() -> None:
    history = fresh_and_ready()
    history.take(ev.Vanished())
    assert history.take(ev.Exited(status=0)) == (ev.Forget(),)
    history = fresh_and_ready()
    history.take(ev.Vanished())
    assert history.take(ev.Die()) == (KILL,)
    assert history.wait(4) == ()


def test_a_stop_is_not_held_back_for_longer_than_there_is_time() -> None:
    history = fresh_and_ready()
    assert history.take(ev.Leave(grace_seconds=0.2)) == (STOP,)
    assert history.wait(0.2) == (KILL,)


def test_one_that_never_reads_its_socket_gets_a_signal_too() -> None:
    history = ready(BARE, is_graceful=True)
    done = history.take(ev.Vanished())
    assert done == (
        ev.Send(byte=Order.GRACEFUL_STOP),
        ev.Signal(signum=signal.SIGTERM),
    )


def test_a_reload_that_waits_is_forgotten_when_a_config_is_given() -> None:
    """A word that no honest process says must not make the daemon spin."""
    history = ready()
    history.take(said(Word.ACCEPTING), ev.Noticed())
    assert history.compiled(TWO) == ()  # held back
    history.take(said(Word.WANTS_CONFIG), said(Word.ACCEPTING))
    assert history.fresh() == (ev.Deliver(spec=TWO),)
    assert history.state.deadline() is None


def test_a_vassal_begins_wanted_and_waiting() -> None:
    assert fresh_one().state == Vassal()
    assert listening().state.spec == LAZY
