"""Vassals that ask for another instance of themselves, and vassals that are Emperors."""

from dataclasses import replace

import pytest
from tests.support.vassal_history import (
    GRACEFUL_STOP,
    ONE,
    RELOAD,
    STOP,
    TWO,
    History,
    ready,
    said,
    starting,
)

from emperor.runtime import events as ev
from emperor.runtime.events import Cause
from emperor.runtime.law.state import HOLD_SECONDS, WORKERLESS_HEAL_SECONDS, Phase, Vassal
from emperor.runtime.protocol import Word

ROUTER = replace(ONE, digest="router", has_workers=False)
OTHER_ROUTER = replace(ROUTER, digest="other router")


def zerg(*, is_up: bool = True) -> History:
    """A zerg; with ``is_up`` it serves."""
    history = History(Vassal(is_zerg=True))
    history.take(ev.Noticed())
    if is_up:
        history.compiled(ONE)
        history.take(ev.Spawned(pid=7), said(Word.ACCEPTING), said(Word.LOYAL))
        history.now += 10
    return history


# -- zergs -----------------------------------------------------------------------------


def test_byte_30_asks_for_one() -> None:
    history = ready()
    assert history.take(said(Word.WANTS_ZERG)) == (ev.WantZerg(),)
    assert history.phase is Phase.READY


def test_a_zerg_gets_none() -> None:
    assert zerg().take(said(Word.WANTS_ZERG)) == ()


@pytest.mark.parametrize("is_told", [True, False], ids=["byte 22", "exit code 26"])
def test_a_zerg_leaves_for_good(is_told: bool) -> None:
    history = zerg()
    if is_told:
        assert history.take(said(Word.LEAVING)) == (GRACEFUL_STOP,)
    assert history.take(ev.Exited(status=0 if is_told else 26)) == (ev.Forget(),)
    assert history.phase is Phase.GONE


def test_a_zerg_leaves_for_good_even_if_its_file_has_changed() -> None:
    history = zerg()
    history.take(said(Word.LEAVING), ev.Noticed())
    history.compiled(TWO)
    assert history.take(ev.Exited(status=0)) == (ev.Forget(),)


def test_a_zerg_whose_section_is_broken_is_gone() -> None:
    history = zerg(is_up=False)
    assert history.not_compiled() == (ev.Forget(),)
    assert history.phase is Phase.GONE


def test_a_zerg_whose_section_breaks_later_is_left_alone() -> None:
    history = zerg()
    history.take(ev.Noticed())
    assert history.not_compiled() == ()
    assert history.phase is Phase.READY


def test_a_zerg_that_dies_comes_back() -> None:
    history = zerg()
    history.take(ev.Exited(status=-9))
    assert history.fresh() == (ev.Spawn(spec=ONE),)
    history.take(ev.Spawned(pid=8), ev.Exited(status=1))
    assert history.phase is Phase.DELAYED


def test_a_zerg_reloads_and_goes_with_its_file() -> None:
    history = zerg()
    history.take(ev.Noticed())
    assert history.compiled(TWO) == (RELOAD,)
    assert history.take(ev.Vanished()) == (STOP,)
    assert history.take(ev.Exited(status=0)) == (ev.Forget(),)


# -- sub-emperors: 17 and never 5 ------------------------------------------------------


def test_one_that_is_loyal_is_up() -> None:
    history = starting()
    history.take(said(Word.SPAWNED), said(Word.LOYAL))
    assert history.said() == ["is loyal", "accepts requests"]
    assert history.phase is Phase.READY
    history.now += HOLD_SECONDS
    history.take(ev.Noticed())
    assert history.compiled(TWO) == (RELOAD,)
    assert history.take(said(Word.WANTS_CONFIG)) == (ev.Deliver(spec=TWO),)
    history.take(said(Word.LOYAL))
    assert (history.phase, history.state.deadline()) == (Phase.READY, None)
    assert history.said() == ["is loyal", "accepts requests"]


def test_an_edit_while_it_starts_is_told_when_it_is_loyal() -> None:
    history = starting()
    history.take(ev.Noticed())
    assert history.compiled(TWO) == ()
    history.take(said(Word.LOYAL))
    assert history.wait(HOLD_SECONDS) == (RELOAD,)


def test_a_loyal_word_of_the_old_generation_does_not_end_a_reload() -> None:
    history = ready()
    history.take(ev.Noticed())
    history.compiled(TWO)
    history.take(said(Word.LOYAL))  # a worker of before
    assert history.phase is Phase.RELOADING
    history.take(ev.Noticed(), said(Word.WANTS_CONFIG), said(Word.LOYAL))
    assert history.phase is Phase.RELOADING


def test_it_obeys() -> None:
    history = starting()
    history.take(said(Word.LOYAL))
    history.now += HOLD_SECONDS
    assert history.take(ev.Vanished()) == (STOP,)
    assert history.take(ev.Exited(status=0)) == (ev.Forget(),)


# -- vassals without workers, routers for example: 1 and then nothing -------------------


def test_one_without_workers_is_up_with_its_first_word() -> None:
    history = starting(ROUTER)
    history.take(said(Word.SPAWNED))
    assert (history.said(), history.phase) == (["is up"], Phase.READY)


def test_one_without_workers_is_loyal_if_it_stays() -> None:
    history = starting(ROUTER)
    history.take(said(Word.SPAWNED))
    history.wait(WORKERLESS_HEAL_SECONDS)
    assert (history.state.is_loyal, history.state.deadline()) == (True, None)
    history.take(ev.Exited(status=1))
    assert history.phase is Phase.WAITING


def test_one_without_workers_is_up_again_when_it_has_its_config() -> None:
    history = starting(ROUTER)
    history.take(said(Word.SPAWNED))
    history.now += 1
    history.take(ev.Noticed())
    assert history.compiled(OTHER_ROUTER) == (RELOAD,)
    assert history.take(said(Word.WANTS_CONFIG)) == (ev.Deliver(spec=OTHER_ROUTER),)
    assert history.phase is Phase.READY
    history.wait(WORKERLESS_HEAL_SECONDS)
    assert (history.state.is_loyal, history.state.deadline()) == (True, None)


def test_one_without_workers_that_reloads_by_itself_gets_what_files_say() -> None:
    history = starting(ROUTER)
    history.take(said(Word.SPAWNED))
    history.now += 20
    history.take(ev.Reload())
    history.compiled(ROUTER)
    history.take(ev.Noticed(), said(Word.WANTS_CONFIG))
    assert history.compiled(OTHER_ROUTER) == (ev.Deliver(spec=OTHER_ROUTER),)
    history.take(said(Word.WANTS_CONFIG))
    assert history.state.pending is Cause.ANSWER
