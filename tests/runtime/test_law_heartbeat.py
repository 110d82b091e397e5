"""Who has sent heartbeats must go on sending them."""

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
    starting,
)

from emperor.runtime import events as ev
from emperor.runtime.law.state import Phase
from emperor.runtime.protocol import Word

BEAT = said(Word.HEARTBEAT)


def beating() -> History:
    """One that sends heartbeats; 30 s of silence are allowed, then 10 s of grace."""
    history = ready()
    history.take(BEAT)
    return history


def hung() -> History:
    """One that was silent for too long."""
    history = beating()
    assert history.wait(30) == (RELOAD,)
    assert (history.phase, history.state.is_hung) == (Phase.RELOADING, True)
    return history


def test_who_never_sent_one_owes_none() -> None:
    history = ready()
    assert (history.wait(3600), history.state.deadline()) == ((), None)


def test_the_first_one_arms_it_and_each_one_gives_30_s_more() -> None:
    history = beating()
    for _ in range(5):
        assert history.wait(29.9) == ()
        history.take(BEAT)
    assert history.wait(29.9) == ()
    assert history.wait(0.2) == (RELOAD,)
    assert history.said() == ["no heartbeat for 30 s: asking it to reload"]


def test_it_is_armed_while_it_starts_too() -> None:
    history = starting()
    history.take(BEAT)
    assert history.wait(30) == (RELOAD,)


def test_zero_seconds_is_never() -> None:
    history = ready(heartbeat_seconds=0.0)
    history.take(BEAT)
    assert (history.wait(3600), history.state.deadline()) == ((), None)


def test_only_a_heartbeat_is_a_heartbeat() -> None:
    history = beating()
    history.wait(29)
    history.take(said(Word.LOYAL), said(Word.SPAWNED))
    assert history.wait(1) == (RELOAD,)


def test_no_word_within_the_grace_is_a_kill_and_a_respawn() -> None:
    history = hung()
    assert history.wait(9.9) == ()
    assert history.wait(0.2) == (KILL,)
    assert history.said() == ["shows no life: killing it"]
    history.take(ev.Exited(status=-9))
    assert history.phase is Phase.WAITING  # at once: it is not blamed
    assert history.fresh() == (ev.Spawn(spec=ONE),)
    assert history.state.blacklisted is None
    history.take(ev.Spawned(pid=8))
    assert history.state.deadline() is None  # the new one has sent none yet


def test_the_kill_is_repeated_until_it_is_gone() -> None:
    history = hung()
    history.wait(10)
    assert history.wait(10) == (KILL, KILL)


@pytest.mark.parametrize("byte", [1, 5, 17, 26, 30, 99])
def test_any_word_is_life_and_the_reload_goes_on(byte: int) -> None:
    history = hung()
    history.wait(9)
    history.take(ev.Said(byte=byte))
    assert not history.state.is_hung
    assert history.wait(60) == ()


def test_life_and_then_nothing_is_a_reload_that_takes_too_long() -> None:
    history = hung()
    history.take(BEAT)
    assert history.wait(ONE.reload_seconds - 1) == ()
    assert history.wait(2) == (KILL,)
    assert history.said() == ["does not reload in time: killing it"]


def test_the_reload_that_it_was_asked_for_gives_it_its_config() -> None:
    history = hung()
    assert history.take(said(Word.WANTS_CONFIG)) == (ev.Deliver(spec=ONE),)
    history.take(said(Word.ACCEPTING))
    assert (history.phase, history.state.deadline()) == (Phase.READY, None)
    history.take(BEAT)
    assert history.wait(30) == (RELOAD,)


def test_it_is_disarmed_during_our_reloads() -> None:
    history = beating()
    history.take(ev.Noticed())
    assert history.compiled(TWO) == (RELOAD,)
    history.take(BEAT)  # the old process, on its way out
    assert history.wait(80) == ()
    history.take(said(Word.WANTS_CONFIG))
    assert history.wait(3600) == ()
    history.take(said(Word.ACCEPTING))
    assert history.wait(3600) == ()


def test_it_is_disarmed_during_its_own_reloads() -> None:
    history = beating()
    history.take(said(Word.WANTS_CONFIG), BEAT)
    history.fresh()
    assert history.wait(3600) == ()


def test_it_is_disarmed_when_it_is_told_to_go() -> None:
    history = beating()
    assert history.take(ev.Vanished()) == (STOP,)
    history.take(BEAT)
    assert history.wait(30) == (KILL,)  # the curse, and no reload
    assert history.state.deadline() == history.now + 5


def test_without_a_master_nobody_reloads_so_it_is_killed_at_once() -> None:
    history = ready(BARE)
    history.take(BEAT)
    assert history.wait(30) == (KILL,)
    assert history.said() == ["no heartbeat for 30 s: killing it"]
    history.take(ev.Exited(status=-9))
    assert history.fresh() == (ev.Spawn(spec=BARE),)


def test_an_edit_of_one_that_hangs_is_what_it_gets() -> None:
    history = hung()
    history.take(ev.Noticed())
    assert history.compiled(TWO) == ()
    assert history.wait(10) == (KILL,)  # no later than without the edit
    history.take(ev.Exited(status=-9))
    assert history.fresh() == (ev.Spawn(spec=TWO),)


def test_a_reload_that_took_place_owes_nothing_of_before() -> None:
    history = reloading()
    history.take(said(Word.ACCEPTING))
    assert history.state.deadline() is None
