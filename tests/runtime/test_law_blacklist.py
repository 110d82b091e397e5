"""Who dies before it is loyal waits: how long, and what ends the waiting."""

from dataclasses import replace

import pytest
from tests.support.vassal_history import (
    ONE,
    STOP,
    TWO,
    History,
    ready,
    reloading,
    said,
    starting,
)

from emperor.runtime import events as ev
from emperor.runtime.events import Cause
from emperor.runtime.law.blacklist import Entry, blame, delay_seconds
from emperor.runtime.law.rules import Rules, rules
from emperor.runtime.law.state import HOLD_SECONDS, Phase
from emperor.runtime.protocol import Word


def dies(history: History, status: int = 1) -> float:
    """Its process dies unloyal; how many seconds it waits. Then it is there again."""
    assert history.take(ev.Exited(status=status)) == ()
    delay = history.next_try()
    assert delay is not None
    assert history.wait(delay - 0.001) == ()
    assert history.wait(0.002) == (history.is_compiling(Cause.RESPAWN, if_stale=True),)
    assert history.fresh() == (ev.Spawn(spec=ONE),)
    history.take(ev.Spawned(pid=8))
    return delay


def throttles(rules: Rules, count: int, *, seed: int = 0) -> list[float]:
    """The throttle after each of so many deaths."""
    entry, found = None, []
    for number in range(count):
        entry = blame(entry, rules, float(number), seed=seed)
        found.append(entry.throttle_seconds)
    return found


# -- the linear throttle, which is uWSGI's ---------------------------------------------


def test_nothing_is_tried_sooner_than_a_second_after_its_death() -> None:
    history = starting()
    assert [dies(history) for _ in range(5)] == pytest.approx([1.0] * 5)
    assert history.state.blacklisted is not None
    assert history.state.blacklisted.attempts == 5


def test_the_throttle_grows_by_its_step_up_to_its_cap_and_stays_there() -> None:
    history = starting(throttle_step_seconds=0.7, throttle_cap_seconds=2.5)
    delays = [dies(history) for _ in range(6)]
    assert delays == pytest.approx([1.0, 1.4, 2.1, 2.5, 2.5, 2.5])


def test_by_default_each_death_adds_3_ms_and_3_minutes_are_the_most() -> None:
    assert throttles(Rules(), 3) == pytest.approx([0.003, 0.006, 0.009])
    assert throttles(Rules(), 60_010)[-5:] == [180.0] * 5


def test_the_entry_says_how_often_since_when_and_when_last() -> None:
    history = starting()
    history.now = 2000.0
    dies(history)
    history.now = 2010.0
    dies(history)
    assert history.state.blacklisted == Entry(
        attempts=2, throttle_seconds=0.006, first_at=2000.0, last_at=2010.0
    )


def test_the_log_counts_the_deaths() -> None:
    history = starting()
    dies(history)
    history.take(ev.Exited(status=-11))
    assert history.said() == [
        "died (SIGSEGV): spawning it again in 1 s (died 2 times before it was loyal)"
    ]
    assert history.hooks() == ["stop"]


# -- the exponential backoff -----------------------------------------------------------


EXPONENTIAL = Rules(is_exponential=True, backoff_factor=3.0, throttle_cap_seconds=50.0)


def test_exponential_begins_with_a_second_and_multiplies_up_to_the_cap() -> None:
    steady = Rules(
        is_exponential=True,
        backoff_factor=3.0,
        backoff_jitter=0.0,
        throttle_cap_seconds=50.0,
    )
    assert throttles(steady, 6) == [1.0, 3.0, 9.0, 27.0, 50.0, 50.0]


def test_jitter_stays_within_its_part_of_the_delay() -> None:
    wanted = [1.0, 3.0, 9.0, 27.0, 50.0, 50.0]
    for seed in range(200):
        for delay, middle in zip(throttles(EXPONENTIAL, 6, seed=seed), wanted, strict=True):
            assert 0.9 * middle <= delay <= 1.1 * middle


def test_jitter_is_each_vassals_own_and_the_same_each_time() -> None:
    assert throttles(EXPONENTIAL, 9, seed=5) == throttles(EXPONENTIAL, 9, seed=5)
    firsts = {throttles(EXPONENTIAL, 1, seed=seed)[0] for seed in range(100)}
    assert len(firsts) > 90
    delays = throttles(EXPONENTIAL, 30, seed=5)[10:]
    assert len(set(delays)) == len(delays)  # at the cap too


@pytest.mark.parametrize("factor", [1e6, float("inf"), 1e308])
def test_a_huge_factor_is_the_cap_and_no_crash(factor: float) -> None:
    wild = Rules(is_exponential=True, backoff_factor=factor, backoff_jitter=0.0)
    assert throttles(wild, 80)[1:] == [180.0] * 79


def test_not_even_jitter_makes_it_less_than_a_second() -> None:
    for seed in range(50):
        assert delay_seconds(blame(None, EXPONENTIAL, 0.0, seed=seed)) >= 1.0
    history = starting(is_exponential=True, backoff_jitter=0.9)
    assert min(dies(history) for _ in range(4)) >= 1.0


# -- what ends it ----------------------------------------------------------------------


def test_loyalty_clears_the_blacklist() -> None:
    history = starting(throttle_step_seconds=60.0)
    dies(history)
    dies(history)
    history.take(said(Word.ACCEPTING))
    assert history.attempts() == 2
    history.take(said(Word.LOYAL))
    assert (history.attempts(), history.state.is_loyal) == (0, True)
    history.take(ev.Exited(status=1))
    assert history.said() == ["died (exit code 1): spawning it again"]
    history.fresh()
    history.take(ev.Spawned(pid=9))
    assert dies(history) == pytest.approx(60.0)  # it begins from the start


def test_loyalty_is_the_processes_own() -> None:
    history = ready()
    history.take(ev.Exited(status=0))
    history.fresh()
    history.take(ev.Spawned(pid=8), said(Word.ACCEPTING))
    history.now += 3600
    history.take(ev.Exited(status=0))
    assert history.phase is Phase.DELAYED


def test_loyalty_outlasts_a_reload() -> None:
    history = reloading()
    history.take(ev.Exited(status=22))
    assert history.said() == ["died (exit code 22): spawning it again"]
    assert history.fresh() == (ev.Spawn(spec=TWO),)


def test_without_a_blacklist_it_is_always_a_second() -> None:
    history = starting(has_blacklist=False, throttle_step_seconds=60.0)
    assert [dies(history) for _ in range(4)] == pytest.approx([1.0] * 4)
    assert history.state.blacklisted is None


def test_one_that_has_served_long_enough_counts_as_loyal() -> None:
    history = starting(heal_seconds=30.0)
    dies(history)
    history.take(said(Word.ACCEPTING))
    history.wait(29.9)
    assert history.attempts() == 1
    history.wait(0.2)
    assert history.said() == ["has been up long enough: as good as loyal"]
    assert (history.attempts(), history.state.deadline()) == (0, None)
    history.take(ev.Exited(status=1))
    assert history.phase is Phase.WAITING


def test_healing_starts_again_with_each_reload() -> None:
    history = starting(heal_seconds=30.0)
    history.take(said(Word.ACCEPTING))
    history.wait(20)
    history.take(said(Word.WANTS_CONFIG))
    history.fresh()
    history.take(said(Word.ACCEPTING))
    history.wait(29.9)
    assert not history.state.is_loyal
    history.wait(0.2)
    assert history.state.is_loyal


def test_a_loyal_one_needs_no_healing() -> None:
    history = ready(heal_seconds=30.0)
    assert history.state.deadline() is None


@pytest.mark.parametrize("event", [ev.Retry(), ev.Reload(), ev.Start()])
def test_an_operator_wins_over_the_throttle(event: ev.Event) -> None:
    history = starting(throttle_step_seconds=60.0)
    history.take(ev.Exited(status=1))
    history.now += 0.1  # not even the second is waited for
    assert len(history.take(event)) == 1
    assert history.next_try() is None
    history.compiled()
    asked = [effect for effect in history.done if isinstance(effect, ev.AskStart)]
    assert asked == [ev.AskStart(is_urgent=True)]
    assert history.phase is Phase.SPAWNING
    assert not history.state.is_urgent  # his word was for one start
    assert (history.state.blacklisted is None) == isinstance(event, ev.Retry)


def test_sigurg_forgets_and_leaves_alone_what_runs() -> None:
    history = starting()
    dies(history)
    history.take(said(Word.ACCEPTING))
    assert history.take(ev.Retry()) == ()
    assert (history.state.blacklisted, history.phase) == (None, Phase.READY)


def test_sigurg_tries_a_broken_one_again() -> None:
    history = History()
    history.take(ev.Noticed())
    assert history.take(ev.Retry()) == ()  # it is being compiled
    history.not_compiled()
    assert history.take(ev.Retry()) == (history.is_compiling(Cause.FILE),)


def test_an_edit_waits_for_the_rest_of_the_second_alone() -> None:
    history = starting(throttle_step_seconds=60.0)
    dies(history)
    history.take(ev.Exited(status=1))
    assert history.next_try() == pytest.approx(120.0)
    history.now += 0.25
    history.take(ev.Noticed())
    assert history.compiled(TWO) == ()
    assert history.next_try() == pytest.approx(0.75)
    history.wait(0.75)
    assert history.fresh() == (ev.Spawn(spec=TWO),)
    assert history.state.blacklisted is not None  # an edit is no loyalty


def test_an_edit_after_that_second_is_spawned_at_once() -> None:
    history = starting(throttle_step_seconds=60.0)
    history.take(ev.Exited(status=1))
    history.now += 1.5
    history.take(ev.Noticed())
    assert history.compiled(TWO) == (ev.Spawn(spec=TWO),)


def test_a_broken_edit_does_not_shorten_the_wait() -> None:
    history = starting(throttle_step_seconds=60.0)
    history.take(ev.Exited(status=1))
    history.take(ev.Noticed())
    assert history.not_compiled() == ()
    assert history.next_try() == pytest.approx(60.0)


# -- what is no crash ------------------------------------------------------------------


def test_one_that_could_not_be_spawned_is_not_blamed() -> None:
    history = starting()
    history.take(ev.Exited(status=1))
    history.wait(1)
    history.fresh()
    blamed = history.state.blacklisted
    history.take(ev.NotSpawned(message="Too many open files"))
    assert history.next_try() == pytest.approx(1.0)
    assert history.state.blacklisted == blamed


def test_a_restart_is_not_blamed() -> None:
    history = starting()
    history.take(said(Word.ACCEPTING), ev.Noticed())
    history.now += HOLD_SECONDS
    assert history.compiled(replace(ONE, digest="x", cwd="/other")) == (STOP,)
    history.take(ev.Exited(status=-9))
    assert (history.phase, history.state.blacklisted) == (Phase.WAITING, None)


def test_one_whose_file_came_back_while_it_was_stopped_is_not_blamed() -> None:
    history = starting()
    assert history.take(ev.Vanished()) == (STOP,)
    history.take(ev.Noticed())
    history.take(ev.Exited(status=0))
    assert (history.phase, history.state.blacklisted) == (Phase.WAITING, None)


# -- what the configuration says -------------------------------------------------------


def test_the_rules_come_from_the_configuration() -> None:
    config = {
        "graceful_shutdown": True,
        "curse_tolerance_seconds": 31.0,
        "has_blacklist": False,
        "throttle_milliseconds": 5,
        "max_throttle_milliseconds": 2000,
        "backoff": "linear",
        "backoff_factor": 4.0,
        "backoff_cap_seconds": 7.0,
        "backoff_jitter": 0.5,
        "heal_after_seconds": 9.0,
        "required_heartbeat_seconds": 33.0,
        "heartbeat_grace_seconds": 3.0,
    }
    made = rules(config)
    assert made == Rules(
        is_graceful=True,
        curse_seconds=31.0,
        has_blacklist=False,
        throttle_step_seconds=0.005,
        throttle_cap_seconds=2.0,
        is_exponential=False,
        backoff_factor=4.0,
        backoff_jitter=0.5,
        heal_seconds=9.0,
        heartbeat_seconds=33.0,
        heartbeat_grace_seconds=3.0,
    )
    exponential = rules(config | {"backoff": "exponential"})
    assert (exponential.is_exponential, exponential.throttle_cap_seconds) == (True, 7.0)
    no_cap = rules(config | {"backoff": "exponential", "backoff_cap_seconds": None})
    assert no_cap.throttle_cap_seconds == 2.0
