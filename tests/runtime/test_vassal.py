"""The law of a vassal, told as histories: what happens, and what is done about it."""

import signal
from dataclasses import replace

import pytest
from tests.support.vassal_history import (
    BARE,
    KILL,
    ONE,
    RELOAD,
    STOP,
    TWO,
    History,
    ready,
    reloading,
    said,
)

from emperor.runtime import events as ev
from emperor.runtime.events import Cause
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.law.state import HOLD_SECONDS, STALE_SECONDS, Phase
from emperor.runtime.protocol import Order, Word

# -- coming up -------------------------------------------------------------------------


def test_it_is_compiled_and_spawned() -> None:
    history = History()
    assert history.take(ev.Noticed()) == (history.is_compiling(Cause.FILE),)
    assert history.compiled() == (ev.Spawn(spec=ONE),)
    assert history.take(ev.Spawned(pid=7)) == ()
    assert history.said() == ["spawned (pid 7)"]
    assert history.state.phase is Phase.STARTING
    history.take(said(Word.ACCEPTING))
    assert (history.said(), history.state.phase) == (["accepts requests"], Phase.READY)
    assert history.state.deadline() is None


def test_a_broken_one_waits_for_its_file_and_nothing_else() -> None:
    history = History()
    history.take(ev.Noticed())
    assert history.not_compiled() == ()
    assert (history.state.phase, history.state.deadline()) == (Phase.WAITING, None)
    assert history.take(ev.Noticed(cause=Cause.INCLUDE)) == (
        history.is_compiling(Cause.INCLUDE),
    )
    assert history.compiled() == (ev.Spawn(spec=ONE),)


def test_a_broken_one_starts_with_what_an_earlier_daemon_kept() -> None:
    history = History()
    history.take(ev.Noticed())
    assert history.not_compiled(kept=ONE) == (ev.Spawn(spec=ONE),)
    assert history.said() == ["does not compile: spawning with the last good config"]


def test_only_the_answer_to_the_last_compile_counts() -> None:
    history = History()
    history.take(ev.Noticed())
    first = history.state.serial
    history.take(ev.Noticed())
    assert history.take(ev.Compiled(serial=first, spec=TWO)) == ()
    assert history.compiled(ONE) == (ev.Spawn(spec=ONE),)
    assert history.compiled(TWO) == ()


def test_what_cannot_be_spawned_is_tried_again_and_said_once() -> None:
    history = History()
    history.take(ev.Noticed())
    history.compiled()
    levels = []
    for _ in range(3):
        history.take(ev.NotSpawned(message="Too many open files"))
        levels += [e.level for e in history.done if isinstance(e, ev.Log)]
        assert history.state.phase is Phase.DELAYED
        assert history.wait(0.9) == ()
        assert history.wait(0.2) == (history.is_compiling(Cause.RESPAWN, if_stale=True),)
        assert history.fresh() == (ev.Spawn(spec=ONE),)
    assert levels == ["error", "debug", "debug"]


def test_an_edit_while_it_is_being_spawned_reloads_it_once_it_is_up() -> None:
    history = History()
    history.take(ev.Noticed())
    history.compiled(ONE)
    history.take(ev.Noticed())
    assert history.compiled(TWO) == ()
    assert history.take(ev.Spawned(pid=7), said(Word.ACCEPTING)) == ()
    assert history.wait(HOLD_SECONDS) == (RELOAD,)
    assert history.take(said(Word.WANTS_CONFIG)) == (ev.Deliver(spec=TWO),)


# -- reloading -------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "reason"), [(ONE, "touched"), (TWO, "changed")])
def test_a_new_stamp_reloads(spec: LaunchSpec, reason: str) -> None:
    history = ready()
    assert history.take(ev.Noticed()) == (history.is_compiling(Cause.FILE),)
    assert history.compiled(spec) == (RELOAD,)
    assert history.said() == [f"{reason}: reloading"]
    assert history.take(said(Word.WANTS_CONFIG)) == (ev.Deliver(spec=spec),)
    assert history.take(said(Word.ACCEPTING)) == ()
    assert (history.state.phase, history.state.running) == (Phase.READY, spec)


def test_owner_or_mode_reload_only_what_they_change() -> None:
    history = ready()
    history.take(ev.Noticed(cause=Cause.ATTRIBUTES))
    assert history.compiled(ONE) == ()
    history.take(ev.Noticed(cause=Cause.ATTRIBUTES))
    assert history.compiled(TWO) == (RELOAD,)


def test_a_chmod_does_not_hide_the_edit_before_it() -> None:
    history = ready()
    history.take(ev.Noticed(), ev.Noticed(cause=Cause.ATTRIBUTES))
    assert history.compiled(ONE) == (RELOAD,)


def test_a_broken_edit_leaves_it_alone() -> None:
    history = ready()
    history.take(ev.Noticed())
    assert history.not_compiled() == ()
    assert history.state.phase is Phase.READY
    history.take(ev.Noticed())
    assert history.compiled(TWO) == (RELOAD,)


def test_a_reload_is_held_back_after_requests_are_accepted() -> None:
    history = ready()
    history.take(said(Word.ACCEPTING), ev.Noticed())
    assert history.compiled(TWO) == ()
    assert history.wait(HOLD_SECONDS - 0.01) == ()
    assert history.wait(0.01) == (RELOAD,)


def test_several_edits_before_it_is_up_are_one_reload() -> None:
    history = History()
    history.take(ev.Noticed())
    history.compiled(ONE)
    history.take(ev.Spawned(pid=7))
    for _ in range(3):
        history.take(ev.Noticed())
        assert history.compiled(TWO) == ()
    history.take(said(Word.ACCEPTING))
    assert history.wait(10) == (RELOAD,)


def test_an_edit_while_it_reloads_is_what_it_gets_or_reloads_it_again() -> None:
    history = ready()
    history.take(ev.Noticed())
    history.compiled(ONE)
    history.take(ev.Noticed())  # before it asks: it waits for the compile
    assert history.take(said(Word.WANTS_CONFIG)) == ()
    assert history.compiled(TWO) == (ev.Deliver(spec=TWO),)
    history.take(ev.Noticed())  # after it was given one
    assert history.compiled(ONE) == ()
    history.take(said(Word.ACCEPTING))
    assert history.wait(HOLD_SECONDS) == (RELOAD,)


def test_its_own_reload_is_answered_with_what_files_say_now() -> None:
    history = ready()
    wanted = history.take(said(Word.WANTS_CONFIG))
    assert wanted == (history.is_compiling(Cause.ANSWER, if_stale=True),)
    assert history.fresh() == (ev.Deliver(spec=ONE),)
    history.take(said(Word.ACCEPTING))
    history.take(said(Word.WANTS_CONFIG))
    assert history.compiled(TWO) == (ev.Deliver(spec=TWO),)
    history.take(said(Word.ACCEPTING))
    history.take(said(Word.WANTS_CONFIG))
    assert history.not_compiled() == (ev.Deliver(spec=TWO),)
    assert history.wait(60) == ()


def test_its_own_reload_without_a_master_is_answered_as_well() -> None:
    history = ready(BARE)
    history.take(said(Word.WANTS_CONFIG))
    assert history.fresh() == (ev.Deliver(spec=BARE),)


def test_a_slow_compile_gives_the_last_good_config_and_is_not_forgotten() -> None:
    history = ready()
    history.take(ev.Noticed(), said(Word.WANTS_CONFIG))
    assert history.wait(STALE_SECONDS) == (ev.Deliver(spec=ONE),)
    assert history.said() == ["compiles too slowly: reloading with the last good config"]
    history.take(said(Word.ACCEPTING))
    history.now += 1
    assert history.compiled(TWO) == (RELOAD,)


def test_a_reload_that_takes_too_long_ends_in_a_new_process() -> None:
    history = ready()
    history.take(ev.Noticed())
    history.compiled(TWO)
    assert history.wait(TWO.reload_seconds) == (KILL,)
    assert history.said() == ["does not reload in time: killing it"]
    history.take(ev.Exited(status=-9))
    assert history.fresh() == (ev.Spawn(spec=TWO),)


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.RELOADING])
def test_one_that_hangs_on_its_way_up_gets_the_repaired_config_in_the_end(
    phase: Phase,
) -> None:
    history = reloading(ONE) if phase is Phase.RELOADING else History()
    if phase is Phase.STARTING:
        history.take(ev.Noticed())
        history.compiled(ONE)
        history.take(ev.Spawned(pid=7))
    assert history.state.phase is phase
    assert history.wait(3600) == ()  # nobody wants anything of it
    history.take(ev.Noticed())
    assert history.compiled(TWO) == ()
    assert history.wait(TWO.reload_seconds) == (KILL,)
    history.take(ev.Exited(status=-9))
    assert history.fresh() == (ev.Spawn(spec=TWO),)


def test_an_operators_reload_compiles_and_reloads() -> None:
    history = ready()
    assert history.take(ev.Reload()) == (history.is_compiling(Cause.FILE),)
    assert history.compiled(ONE) == (RELOAD,)


# -- restarting ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [(BARE, BARE), (BARE, TWO), (ONE, BARE), (ONE, replace(ONE, digest="x", cwd="/other"))],
    ids=["no master", "a master comes", "the master goes", "other directory"],
)
def test_what_a_reload_cannot_do_is_a_restart(before: LaunchSpec, after: LaunchSpec) -> None:
    history = ready(before)
    history.take(ev.Noticed())
    done = history.compiled(after)
    assert done[0] == STOP
    assert (ev.Signal(signum=signal.SIGTERM) in done) == (not before.has_master)
    history.take(ev.Exited(status=0))
    assert history.fresh() == (ev.Spawn(spec=after),)


def test_a_restart_that_is_ignored_is_a_kill() -> None:
    history = ready(BARE, curse_seconds=5.0)
    history.take(ev.Noticed())
    history.compiled(BARE)
    assert history.wait(5) == (KILL,)
    assert history.wait(5) == (KILL,)


# -- stopping --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("graceful", "byte"), [(False, Order.STOP), (True, Order.GRACEFUL_STOP)]
)
def test_a_removed_one_is_told_to_go_and_forgotten(graceful: bool, byte: Order) -> None:
    history = ready(is_graceful=graceful)
    assert history.take(ev.Vanished()) == (ev.Send(byte=byte),)
    assert history.take(ev.Exited(status=0)) == (ev.Forget(),)
    assert history.state.phase is Phase.GONE


def test_one_that_has_just_come_up_is_told_to_go_when_all_its_workers_are_there() -> None:
    history = History()
    history.take(ev.Noticed())
    history.compiled()
    history.take(ev.Spawned(pid=7), said(Word.ACCEPTING))
    history.now += 0.2
    assert history.take(ev.Vanished()) == ()
    assert history.wait(HOLD_SECONDS - 0.21) == ()
    assert history.wait(0.02) == (STOP,)
    assert history.wait(29) == ()
    assert history.wait(1) == (KILL,)


def test_a_removed_one_without_a_process_is_forgotten_at_once() -> None:
    history = History()
    history.take(ev.Noticed())
    assert history.take(ev.Vanished()) == (ev.Forget(),)
    assert history.compiled() == ()


def test_removed_while_it_is_being_spawned() -> None:
    history = History()
    history.take(ev.Noticed())
    history.compiled()
    assert history.take(ev.Vanished()) == ()
    assert history.take(ev.Spawned(pid=7)) == (STOP,)
    assert history.take(ev.Exited(status=0)) == (ev.Forget(),)


def test_a_file_that_comes_back_while_its_vassal_goes() -> None:
    history = ready()
    history.take(ev.Vanished(), ev.Noticed())
    assert history.compiled(TWO) == ()
    history.take(ev.Exited(status=0))
    assert history.fresh() == (ev.Spawn(spec=TWO),)


def test_one_that_reloads_when_it_is_removed_has_nothing_left_to_tell() -> None:
    history = ready()
    history.take(ev.Noticed())
    history.compiled(TWO)
    history.take(ev.Vanished())
    assert history.take(said(Word.WANTS_CONFIG)) == (KILL,)


def test_one_that_is_removed_while_it_waits_for_its_config_is_not_kept_waiting() -> None:
    history = ready()
    history.take(said(Word.WANTS_CONFIG))
    assert history.take(ev.Vanished()) == (KILL,)


def test_a_refresh_that_gives_another_launch_is_a_restart_and_no_lie() -> None:
    history = ready()
    history.take(said(Word.WANTS_CONFIG))
    assert history.compiled(replace(ONE, digest="x", cwd="/other")) == (KILL,)
    history.take(ev.Exited(status=-9))
    assert history.fresh() == (ev.Spawn(spec=replace(ONE, digest="x", cwd="/other")),)


def test_the_end_has_a_deadline_and_a_short_cut() -> None:
    history = ready()
    assert history.take(ev.Leave(grace_seconds=2.0)) == (STOP,)
    assert history.wait(1.9) == ()
    assert history.wait(0.1) == (KILL,)
    assert history.take(ev.Die()) == (KILL,)
    assert history.take(ev.Exited(status=-9)) == (ev.Forget(),)
    assert history.take(ev.Noticed(), ev.Leave(grace_seconds=1.0), ev.Die()) == ()


def test_the_end_comes_sooner_for_one_that_is_going_already() -> None:
    history = ready(curse_seconds=100.0)
    history.take(ev.Vanished(), ev.Leave(grace_seconds=2.0))
    assert history.wait(2) == (KILL,)


def test_the_end_while_it_is_being_spawned() -> None:
    history = History()
    history.take(ev.Noticed())
    history.compiled()
    assert history.take(ev.Die()) == ()
    assert history.take(ev.Spawned(pid=7)) == (STOP,)
    assert history.wait(0) == (KILL,)


# -- dying -----------------------------------------------------------------------------


def test_a_loyal_one_is_spawned_at_once_another_one_later() -> None:
    history = ready()
    wanted = history.take(ev.Exited(status=-9))
    assert wanted == (history.is_compiling(Cause.RESPAWN, if_stale=True),)
    assert history.said() == ["died (SIGKILL): spawning it again"]
    assert history.fresh() == (ev.Spawn(spec=ONE),)
    history.take(ev.Spawned(pid=8))
    assert history.take(ev.Exited(status=22)) == ()
    assert history.said() == ["died (exit code 22): spawning it again in 1 s"]
    assert history.wait(0.99) == ()
    assert history.wait(0.01) != ()
    assert history.compiled(TWO) == (ev.Spawn(spec=TWO),)


def test_an_edit_waits_for_one_second_after_a_death_and_not_for_the_throttle() -> None:
    history = ready(throttle_step_seconds=60.0)
    history.take(ev.Exited(status=1))
    history.fresh()
    history.take(ev.Spawned(pid=8), ev.Exited(status=1))
    history.now += 0.4
    history.take(ev.Noticed())
    assert history.compiled(TWO) == ()
    assert history.wait(0.59) == ()
    assert history.wait(0.02) != ()
    assert history.fresh() == (ev.Spawn(spec=TWO),)


def test_broken_on_disk_and_dead_it_runs_with_the_last_good_config() -> None:
    history = ready()
    history.take(ev.Noticed())
    history.not_compiled()
    history.take(ev.Exited(status=1))
    assert history.not_compiled() == (ev.Spawn(spec=ONE),)
    assert history.said() == ["does not compile: spawning with the last good config"]


def test_a_compile_too_slow_for_the_dead_is_not_forgotten() -> None:
    history = ready()
    history.take(ev.Noticed(), ev.Exited(status=-9))
    assert history.wait(STALE_SECONDS) == (ev.Spawn(spec=ONE),)
    history.take(ev.Spawned(pid=8), said(Word.ACCEPTING))
    history.now += 1
    assert history.compiled(TWO) == (RELOAD,)


@pytest.mark.parametrize("leaves", [True, False], ids=["byte 22", "exit code 26"])
def test_one_that_wants_no_successor_is_parked(leaves: bool) -> None:
    history = ready()
    if leaves:
        assert history.take(said(Word.LEAVING)) == (STOP,)
    assert history.take(ev.Exited(status=0 if leaves else 26)) == ()
    assert (history.state.phase, history.state.deadline()) == (Phase.PARKED, None)
    assert history.take(ev.Noticed(cause=Cause.ATTRIBUTES)) == ()
    history.take(ev.Noticed())
    assert history.not_compiled() == ()
    history.take(ev.Reload())
    assert history.compiled() == (ev.Spawn(spec=ONE),)


@pytest.mark.parametrize("is_answered", [True, False])
def test_an_edit_while_it_leaves_brings_it_back(is_answered: bool) -> None:
    history = ready()
    history.take(said(Word.LEAVING), ev.Noticed())
    if is_answered:
        history.compiled(TWO)
    history.take(ev.Exited(status=0))
    assert history.comes_back(TWO)


def test_an_edit_before_exit_code_26_brings_it_back() -> None:
    history = History()
    history.take(ev.Noticed())
    history.compiled(ONE)
    history.take(ev.Spawned(pid=7), ev.Noticed())
    history.compiled(TWO)  # held back: it does not accept requests yet
    history.take(ev.Exited(status=26))
    assert history.comes_back(TWO)


def test_an_operators_reload_while_it_leaves_brings_it_back() -> None:
    history = ready()
    history.take(said(Word.LEAVING), ev.Reload())
    history.compiled(ONE)
    history.take(ev.Exited(status=0))
    assert history.comes_back(ONE)


def test_exit_code_26_in_a_restart_of_ours_is_no_wish() -> None:
    history = ready(BARE)
    history.take(ev.Noticed())
    history.compiled(BARE)
    history.take(ev.Exited(status=26))
    assert history.fresh() == (ev.Spawn(spec=BARE),)
