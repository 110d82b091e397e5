"""On-demand vassals: the Emperor listens, a connection spawns, byte 22 listens again."""

from dataclasses import replace

import pytest
from tests.support.vassal_history import (
    GRACEFUL_STOP,
    LAZY,
    ONE,
    STOP,
    TWO,
    History,
    listening,
    ready,
    said,
    starting,
)

from emperor.runtime import events as ev
from emperor.runtime.events import Cause
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.law.state import Phase
from emperor.runtime.protocol import Word

EDITED = replace(LAZY, digest="edited")
MOVED = replace(LAZY, digest="moved", socket="/run/moved.socket")
LISTEN = ev.Listen(address="/run/lazy.socket")
LISTEN_MOVED = ev.Listen(address="/run/moved.socket")


def closes(history: History) -> bool:
    """Whether the last ``take`` closed the socket."""
    return ev.Unlisten() in history.done


def edited(history: History, spec: LaunchSpec) -> tuple[ev.Effect, ...]:
    """What a new config leads to."""
    history.take(ev.Noticed())
    return history.compiled(spec)


# -- listening -------------------------------------------------------------------------


def test_it_listens_and_nothing_is_spawned() -> None:
    history = listening()
    assert history.said() == ["waits for a connection to /run/lazy.socket"]
    assert history.hooks() == ["as-on-demand"]
    assert (history.phase, history.state.deadline()) == (Phase.LISTENING, None)
    assert history.wait(3600) == ()


def test_a_connection_spawns_it_with_the_socket() -> None:
    history = listening()
    assert history.take(ev.Connected()) == (ev.Spawn(spec=LAZY),)
    assert not closes(history)
    assert history.said() == ["somebody connects: spawning"]
    history.take(ev.Spawned(pid=7), said(Word.ACCEPTING))
    assert history.phase is Phase.READY
    assert history.take(ev.Connected()) == ()  # late news


def test_a_connection_waits_for_its_turn() -> None:
    history = listening()
    history.is_held = True
    assert history.take(ev.Connected()) == ()
    assert (history.phase, history.done[-1]) == (Phase.QUEUED, ev.AskStart())
    assert history.take(ev.MayStart()) == (ev.Spawn(spec=LAZY),)


def test_byte_22_is_back_to_listening_on_the_same_socket() -> None:
    history = ready(LAZY)
    assert history.take(said(Word.LEAVING)) == (GRACEFUL_STOP,)
    assert history.take(ev.Exited(status=0)) == (LISTEN,)
    assert not closes(history)
    assert history.hooks() == ["stop", "as-on-demand"]
    assert history.take(ev.Connected()) == (ev.Spawn(spec=LAZY),)


def test_byte_22_again_and_again() -> None:
    history = ready(LAZY)
    for _ in range(3):
        history.take(said(Word.LEAVING))
        assert history.take(ev.Exited(status=0)) == (LISTEN,)
        assert not history.state.is_leaving
        history.take(ev.Connected(), ev.Spawned(pid=8), said(Word.ACCEPTING))


def test_one_that_says_22_and_stays_is_killed_and_listens() -> None:
    history = ready(LAZY, curse_seconds=3.0)
    history.take(said(Word.LEAVING))
    assert len(history.wait(3)) == 1
    assert history.take(ev.Exited(status=-9)) == (LISTEN,)


# -- the socket that cannot be had -----------------------------------------------------


def test_a_socket_that_cannot_be_had_is_tried_every_second_and_said_once() -> None:
    history = listening()
    history.is_taken = True
    levels = []
    for _ in range(3):
        assert history.take(ev.NotListening(message="Address already in use")) == ()
        levels += [effect.level for effect in history.done if isinstance(effect, ev.Log)]
        assert history.next_try() == 1.0
        assert history.wait(1) == (history.is_compiling(Cause.RESPAWN, if_stale=True),)
        assert history.fresh() == (LISTEN,)
    assert levels == ["error", "debug", "debug"]
    assert history.state.blacklisted is None


def test_an_edit_that_gives_another_socket_is_tried_at_once() -> None:
    history = listening()
    history.take(ev.NotListening(message="Address already in use"))
    assert edited(history, MOVED) == (LISTEN_MOVED,)


# -- it dies ---------------------------------------------------------------------------


def test_a_loyal_one_that_dies_listens_again_at_once() -> None:
    history = ready(LAZY)
    history.take(ev.Exited(status=-11))
    assert history.fresh() == (LISTEN,)
    assert not closes(history)


def test_an_unloyal_one_that_dies_listens_after_its_throttle() -> None:
    history = starting(LAZY, throttle_step_seconds=20.0)
    history.take(ev.Exited(status=1))
    assert history.next_try() == 20.0
    history.wait(20)
    assert history.fresh() == (LISTEN,)
    assert history.state.blacklisted is not None
    assert history.take(ev.Connected()) == (ev.Spawn(spec=LAZY),)


def test_exit_code_26_rests_without_a_socket() -> None:
    history = ready(LAZY)
    assert history.take(ev.Exited(status=26)) == ()
    assert (history.phase, closes(history)) == (Phase.PARKED, True)
    assert edited(history, EDITED) == (LISTEN,)


# -- its file changes ------------------------------------------------------------------


def test_a_change_while_it_listens_is_taken_without_a_process() -> None:
    history = listening()
    assert edited(history, EDITED) == ()
    assert history.said() == ["takes its new config when somebody connects"]
    assert history.hooks() == ["as-on-config"]
    assert history.phase is Phase.LISTENING
    assert history.take(ev.Connected()) == (ev.Spawn(spec=EDITED),)


def test_a_broken_edit_while_it_listens_changes_nothing() -> None:
    history = listening()
    history.take(ev.Noticed())
    assert history.not_compiled() == ()
    assert history.take(ev.Connected()) == (ev.Spawn(spec=LAZY),)


def test_another_address_while_it_listens() -> None:
    history = listening()
    assert edited(history, MOVED) == (LISTEN_MOVED,)
    assert history.take(ev.Connected()) == (ev.Spawn(spec=MOVED),)


def test_no_address_any_more_while_it_listens() -> None:
    history = listening()
    assert edited(history, ONE) == (ev.Spawn(spec=ONE),)
    assert closes(history)


def test_an_edit_between_connection_and_turn() -> None:
    history = listening()
    history.is_held = True
    history.take(ev.Connected())
    assert edited(history, EDITED) == (LISTEN,)  # who has connected connects it again
    history.take(ev.Connected())
    assert history.take(ev.MayStart()) == (ev.Spawn(spec=EDITED),)


@pytest.mark.parametrize(
    ("before", "after"), [(LAZY, MOVED), (LAZY, ONE), (ONE, LAZY)], ids=["moved", "no", "new"]
)
def test_a_slow_answer_in_the_queue_never_gives_the_wrong_socket(
    before: LaunchSpec, after: LaunchSpec
) -> None:
    history = ready(before)
    history.is_held = True
    history.take(ev.Noticed(), ev.Exited(status=1))
    history.wait(3)  # too slow: the last good config has its turn
    if history.phase is Phase.LISTENING:
        history.take(ev.Connected())
    assert history.phase is Phase.QUEUED
    done = history.compiled(after)
    if after.socket is None:
        assert (history.phase, closes(history)) == (Phase.QUEUED, True)
    else:
        assert done == (ev.Listen(address=after.socket),)


def test_a_changed_config_while_it_runs_is_a_reload() -> None:
    history = ready(LAZY)
    edited(history, EDITED)
    assert history.phase is Phase.RELOADING


def test_another_address_while_it_runs_is_a_restart_and_then_listening() -> None:
    history = ready(LAZY)
    assert edited(history, MOVED) == (STOP,)
    history.take(ev.Exited(status=0))
    assert history.fresh() == (LISTEN_MOVED,)


def test_no_address_any_more_while_it_runs() -> None:
    history = ready(LAZY)
    assert edited(history, ONE) == (STOP,)
    history.take(ev.Exited(status=0))
    assert history.fresh() == (ev.Spawn(spec=ONE),)
    assert closes(history)


def test_an_address_while_it_runs_without_one() -> None:
    history = ready(ONE)
    assert edited(history, LAZY) == (STOP,)
    history.take(ev.Exited(status=0))
    assert history.fresh() == (LISTEN,)


@pytest.mark.parametrize("status", [0, 26])
def test_an_address_for_one_that_has_left(status: int) -> None:
    history = ready(TWO)
    if status == 0:
        history.take(said(Word.LEAVING))
    history.take(ev.Exited(status=status))
    assert history.phase is Phase.PARKED
    assert edited(history, LAZY) == (LISTEN,)


def test_another_address_while_it_leaves() -> None:
    history = ready(LAZY)
    history.take(said(Word.LEAVING))
    assert edited(history, MOVED) == ()
    assert history.take(ev.Exited(status=0)) == (LISTEN_MOVED,)


def test_a_compile_that_ends_after_it_has_left_is_taken_while_it_listens() -> None:
    history = ready(LAZY)
    history.take(said(Word.LEAVING), ev.Noticed())
    assert history.take(ev.Exited(status=0)) == (LISTEN,)
    assert history.compiled(MOVED) == (LISTEN_MOVED,)


# -- its file goes, the Emperor goes, an operator speaks -------------------------------


@pytest.mark.parametrize("event", [ev.Vanished(), ev.Leave(grace_seconds=1.0), ev.Die()])
def test_while_it_listens_its_end_is_at_once(event: ev.Event) -> None:
    history = listening()
    assert history.take(event) == (ev.Forget(),)


def test_an_operators_reload_while_it_listens_compiles() -> None:
    history = listening()
    assert history.take(ev.Reload()) == (history.is_compiling(Cause.FILE),)
    assert history.fresh() == ()


def test_an_operators_start_while_it_listens_spawns_it() -> None:
    history = listening()
    assert history.take(ev.Start()) == (ev.Spawn(spec=LAZY),)


def test_stopped_while_it_listens_it_holds_no_socket_until_it_is_started() -> None:
    history = listening()
    assert history.take(ev.Halt()) == ()
    assert (history.phase, closes(history)) == (Phase.PARKED, True)
    assert history.take(ev.Connected()) == ()
    history.take(ev.Start())
    assert history.compiled(LAZY) == (LISTEN,)


def test_stopped_while_it_runs_it_holds_no_socket() -> None:
    history = ready(LAZY)
    history.take(ev.Halt(), ev.Exited(status=0))
    assert (history.phase, closes(history)) == (Phase.PARKED, True)
