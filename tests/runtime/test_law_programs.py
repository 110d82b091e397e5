"""Programs that are not uWSGI: when they are ready, how they reload, how they go."""

import signal
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.support.vassal_history import (
    GRACEFUL_STOP,
    KILL,
    ONE,
    STOP,
    TERM,
    History,
    heir,
    program,
    ready,
    said,
    serving,
)

from emperor.runtime import events as ev
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.law.state import Phase
from emperor.runtime.protocol import Word

HUP = ev.Signal(signum=signal.SIGHUP)
READY = said(Word.ACCEPTING)
BEAT = said(Word.HEARTBEAT)
INHERIT = ev.Inherit()
FAILED = ev.HeirFailed(message="died before it was ready (exit code 1)")

ROLLING = program("one", reload="rolling")
NEXT = program("two", reload="rolling")
LAST = program("three", reload="rolling")


def begun(spec: LaunchSpec) -> History:
    """One whose process has just been started."""
    history = History()
    history.take(ev.Noticed())
    history.compiled(spec)
    history.take(ev.Spawned(pid=7))
    return history


def edited(history: History, spec: LaunchSpec) -> tuple[ev.Effect, ...]:
    """What a new config leads to."""
    history.take(ev.Noticed())
    return history.compiled(spec)


def rolling() -> History:
    """One beside which the next one is on its way."""
    history = serving(ROLLING)
    assert edited(history, NEXT) == (ev.Succeed(spec=NEXT),)
    assert (history.phase, history.state.has_heir) == (Phase.READY, True)
    return history


def respawns_as(history: History, status: int = 1) -> LaunchSpec | None:
    """With what it is spawned when it has died, and no file has changed since."""
    history.take(ev.Exited(status=status))
    history.wait(1.0)
    assert history.phase is Phase.WAITING
    history.fresh()
    return history.state.running


# -- readiness -----------------------------------------------------------------------------


def test_one_that_says_nothing_is_ready_when_it_runs() -> None:
    history = begun(program())
    assert history.phase is Phase.READY
    assert history.said() == ["spawned (pid 7)", "is ready"]
    assert history.state.has_reported  # the gate may let the next one through


def test_or_when_it_has_run_for_so_long() -> None:
    history = begun(program(ready_after_seconds=3.0))
    assert history.phase is Phase.STARTING
    assert history.wait(2.9) == ()
    assert history.phase is Phase.STARTING
    history.wait(0.1)
    assert (history.phase, history.said()) == (Phase.READY, ["is ready"])


def test_one_that_dies_before_that_was_never_ready() -> None:
    history = begun(program(ready_after_seconds=3.0))
    history.wait(2.0)
    history.take(ev.Exited(status=1))
    assert (history.phase, history.attempts()) == (Phase.DELAYED, 1)
    assert history.state.ready_at is None


@pytest.mark.parametrize("how", ["notify", "emperor"])
def test_one_that_speaks_is_ready_when_it_says_so(how: str) -> None:
    history = begun(program(ready=how, ready_after_seconds=3.0))
    assert (history.wait(3600), history.phase) == ((), Phase.STARTING)
    history.take(READY)
    assert history.phase is Phase.READY
    assert history.take(READY) == ()  # once more changes nothing
    assert history.phase is Phase.READY


def test_it_is_loyal_when_it_has_been_ready_for_ten_seconds() -> None:
    history = begun(program())
    history.wait(9.9)
    assert not history.state.is_loyal
    history.wait(0.2)
    assert history.state.is_loyal
    history.take(ev.Exited(status=1))
    assert history.phase is Phase.WAITING  # at once


def test_or_for_as_long_as_the_emperor_wants() -> None:
    history = serving(program(ready="notify"), heal_seconds=60.0)
    history.state = replace(history.state, is_loyal=False)
    history.take(ev.Exited(status=1))
    history.wait(1.0)
    history.fresh()
    history.take(ev.Spawned(pid=8), READY)
    assert history.state.heal_at == history.now + 60.0


def test_nobody_gives_a_program_a_config() -> None:
    history = serving(program(ready="emperor"))
    assert history.take(said(Word.WANTS_CONFIG), said(Word.SPAWNED)) == ()
    assert history.phase is Phase.READY
    history.take(ev.Halt())
    assert history.take(said(Word.WANTS_CONFIG)) == ()  # no kill either


# -- the watchdog --------------------------------------------------------------------------


def test_one_without_a_sign_of_life_is_killed_and_spawned_again() -> None:
    history = begun(program(watchdog_seconds=5.0))
    for _ in range(3):
        assert history.wait(4.9) == ()
        history.take(BEAT)
    assert history.wait(5.0) == (KILL,)
    assert history.said() == ["no heartbeat for 5 s: killing it"]
    history.take(ev.Exited(status=-9))
    assert history.fresh() == (ev.Spawn(spec=program(watchdog_seconds=5.0)),)
    assert history.attempts() == 0


def test_the_watchdog_counts_from_when_it_is_ready() -> None:
    history = begun(program(watchdog_seconds=5.0, ready="notify"))
    history.take(BEAT)
    assert history.wait(60) == ()
    history.take(READY)
    assert history.wait(5.0) == (KILL,)


def test_the_watchdog_is_the_programs_own_matter() -> None:
    history = serving(program(watchdog_seconds=60.0), heartbeat_seconds=0.0)
    history.take(BEAT)
    assert history.wait(59) == ()
    assert history.wait(1) == (KILL,)


# -- how it goes ---------------------------------------------------------------------------

WAYS: dict[str, tuple[LaunchSpec, ev.Effect]] = {
    "TERM": (program(), TERM),
    "another": (program(stop_signal=3), ev.Signal(signum=3)),
    "notify": (program(ready="notify"), TERM),
    "emperor": (program(ready="emperor"), STOP),
}


@pytest.mark.parametrize("way", WAYS)
def test_it_is_told_by_its_own_signal(way: str) -> None:
    spec, told = WAYS[way]
    history = serving(spec)
    assert history.take(ev.Vanished()) == (told,)
    assert history.wait(30) == (KILL,)


@pytest.mark.parametrize("event", [ev.Vanished(), ev.Halt(), ev.Disowned(message="other")])
def test_it_is_told_at_once_also_when_it_has_hardly_begun(event: ev.Event) -> None:
    assert begun(program()).take(event) == (TERM,)


@pytest.mark.parametrize("seconds", [0.5, 7.0, 120.0])
def test_it_has_as_long_as_it_wants(seconds: float) -> None:
    history = serving(program(stop_seconds=seconds), curse_seconds=30.0)
    history.take(ev.Halt())
    assert history.wait(seconds - 0.1) == ()
    assert history.wait(0.1) == (KILL,)
    assert history.wait(10) == (KILL, KILL)


def test_else_the_curse_is_how_long_it_has() -> None:
    history = serving(program(), curse_seconds=12.0)
    history.take(ev.Halt())
    assert history.wait(11.9) == ()
    assert history.wait(0.1) == (KILL,)


@pytest.mark.parametrize(("own", "until"), [(7.0, 7.0), (None, 20.0), (120.0, 20.0)])
def test_no_longer_than_the_emperor_waits_when_he_goes(own: float | None, until: float) -> None:
    history = serving(program(stop_seconds=own))
    assert history.take(ev.Leave(grace_seconds=20.0)) == (TERM,)
    assert history.wait(until - 0.1) == ()
    assert history.wait(0.1) == (KILL,)


def test_also_if_it_was_going_already_or_had_not_come() -> None:
    history = serving(program(stop_seconds=60.0))
    history.take(ev.Halt(), ev.Leave(grace_seconds=5.0))
    assert history.wait(5.0) == (KILL,)
    history = History()
    history.take(ev.Noticed())
    history.compiled(program(stop_seconds=60.0))
    history.take(ev.Leave(grace_seconds=5.0))
    assert history.take(ev.Spawned(pid=7)) == (TERM,)
    assert history.wait(5.0) == (KILL,)


# -- leaving of its own will ---------------------------------------------------------------


def test_one_that_says_that_it_stops_is_told_nothing() -> None:
    history = serving(program(ready="notify", stop_seconds=7.0))
    assert history.take(ev.Stopping()) == ()
    assert (history.phase, history.said()) == (Phase.STOPPING, ["leaves of its own will"])
    assert history.take(ev.Stopping()) == ()
    assert history.wait(6.9) == ()
    assert history.wait(0.1) == (KILL,)


@pytest.mark.parametrize("word", [ev.Stopping(), said(Word.LEAVING)])
@pytest.mark.parametrize("status", [0, -15])
def test_and_rests_if_its_end_is_a_good_one(word: ev.Event, status: int) -> None:
    history = serving(program())
    history.take(word, ev.Exited(status=status))
    assert history.phase is Phase.PARKED
    assert history.comes_back(program("two")) is False  # nobody has asked
    history.take(ev.Noticed())
    assert history.comes_back(program("two"))


@pytest.mark.parametrize("status", [3, 1, 26, -9, -11])
def test_any_other_end_is_a_death(status: int) -> None:
    history = serving(program())
    history.take(ev.Stopping(), ev.Exited(status=status))
    assert history.phase is Phase.WAITING  # it was loyal: at once
    history = begun(program())
    history.take(ev.Stopping(), ev.Exited(status=status))
    assert (history.phase, history.attempts()) == (Phase.DELAYED, 1)


@pytest.mark.parametrize("status", [0, 26, -15])
def test_an_end_without_a_word_is_a_death(status: int) -> None:
    history = begun(program())
    history.take(ev.Exited(status=status))
    assert (history.phase, history.attempts()) == (Phase.DELAYED, 1)


def test_an_edit_of_one_that_leaves_is_spawned() -> None:
    history = serving(program())
    history.take(ev.Stopping())
    edited(history, program("two"))
    history.take(ev.Exited(status=0))
    assert history.fresh() == (ev.Spawn(spec=program("two")),)


# -- reloads: by a signal, or by a restart -------------------------------------------------

SIGNALLED = program("one", reload="signal", reload_signal=1)
ALIKE = replace(SIGNALLED, digest="alike")


def test_a_signal_reloads_what_would_be_started_alike() -> None:
    history = serving(SIGNALLED)
    assert edited(history, ALIKE) == (HUP,)
    assert history.said() == ["changed: telling it to reload"]
    assert (history.phase, history.state.running) == (Phase.READY, ALIKE)
    assert edited(history, ALIKE) == (HUP,)
    assert history.said() == ["touched: telling it to reload"]
    assert history.state.deadline() is None


def test_another_signal_if_it_wants_that() -> None:
    history = serving(program("one", reload="signal", reload_signal=12))
    spec = program("one", reload="signal", reload_signal=12)
    assert edited(history, spec) == (ev.Signal(signum=12),)


def test_the_signal_would_kill_one_that_has_hardly_begun() -> None:
    history = begun(SIGNALLED)
    history.wait(0.2)
    assert edited(history, ALIKE) == ()
    assert history.wait(0.25) == ()
    assert history.wait(0.1) == (HUP,)
    assert history.state.running == ALIKE
    assert history.wait(1.0) == ()


def test_an_edit_of_one_that_is_being_spawned_is_signalled_later() -> None:
    history = History()
    history.take(ev.Noticed())
    history.compiled(SIGNALLED)
    edited(history, ALIKE)
    assert history.take(ev.Spawned(pid=7)) == ()
    assert history.wait(0.6) == (HUP,)


@pytest.mark.parametrize(
    "spec",
    [
        program("two", reload="signal"),
        program("one", reload="signal", stop_signal=9),
        replace(SIGNALLED, cwd="/elsewhere"),
        program("one", reload="restart"),
    ],
)
def test_one_that_would_be_started_in_another_way_is_restarted(spec: LaunchSpec) -> None:
    history = serving(SIGNALLED)
    assert edited(history, spec) == (TERM,)
    assert history.said()[0].endswith(": restarting")
    history.take(ev.Exited(status=0))
    assert history.fresh() == (ev.Spawn(spec=spec),)


def test_a_restart_is_no_death() -> None:
    history = begun(program("one"))
    assert edited(history, program("two")) == (TERM,)
    history.take(ev.Exited(status=-15))
    assert history.fresh() == (ev.Spawn(spec=program("two")),)
    assert history.attempts() == 0


@pytest.mark.parametrize("how", ["signal", "restart", "rolling"])
def test_one_that_is_not_ready_is_restarted_in_any_case(how: str) -> None:
    history = begun(program("one", reload=how, ready="notify"))
    assert edited(history, program("one", reload=how, ready="notify")) == (TERM,)


def test_from_uwsgi_to_a_program_and_back_is_a_restart() -> None:
    history = ready(ONE)
    assert edited(history, ROLLING) == (STOP,)
    history.take(ev.Exited(status=0))
    history.fresh()
    history.take(ev.Spawned(pid=8))
    assert edited(history, ONE) == (TERM,)
    history.take(ev.Exited(status=0))
    assert history.fresh() == (ev.Spawn(spec=ONE),)


def test_another_on_demand_socket_is_a_restart() -> None:
    history = serving(ROLLING)
    moved = replace(NEXT, socket="/run/new.socket")
    assert edited(history, moved) == (TERM,)


# -- rolling reloads: the one that runs ----------------------------------------------------


def test_the_one_that_runs_goes_on_while_the_next_one_is_on_its_way() -> None:
    history = rolling()
    assert history.said() == ["changed: starting the next one beside it"]
    assert history.wait(3600) == ()
    assert (history.phase, history.state.running) == (Phase.READY, ROLLING)


def test_a_touch_rolls_too() -> None:
    history = serving(ROLLING)
    assert edited(history, ROLLING) == (ev.Succeed(spec=ROLLING),)


def test_an_operators_reload_rolls_too() -> None:
    history = serving(ROLLING)
    history.take(ev.Reload())
    assert history.compiled(ROLLING) == (ev.Succeed(spec=ROLLING),)


def test_superseded_it_is_told_to_go_and_is_gone() -> None:
    history = rolling()
    assert history.take(ev.Superseded()) == (TERM,)
    assert history.said() == ["the next one is ready: stopping this one"]
    assert history.wait(29) == ()
    assert history.wait(1) == (KILL,)
    assert history.take(ev.Exited(status=-9)) == (ev.Forget(),)


def test_superseded_it_answers_what_it_has_begun() -> None:
    history = serving(program(ready="emperor", reload="rolling", stop_seconds=7.0))
    assert history.take(ev.Superseded()) == (GRACEFUL_STOP,)
    assert history.wait(7.0) == (KILL,)


def test_superseded_it_takes_no_answer_any_more() -> None:
    history = rolling()
    history.take(ev.Noticed())
    serial = history.state.serial
    history.take(ev.Superseded())
    assert history.take(ev.Compiled(serial=serial, spec=LAST)) == ()
    assert history.state.reload_wanted == "changed"  # of before
    assert history.take(ev.Exited(status=0)) == (ev.Forget(),)


def test_if_the_next_one_fails_it_stays_and_keeps_its_config() -> None:
    history = rolling()
    assert history.take(FAILED) == ()
    assert history.said() == [
        "the next one died before it was ready (exit code 1): this one stays"
    ]
    assert (history.phase, history.state.spec) == (Phase.READY, ROLLING)
    assert (history.state.is_behind, history.state.reload_wanted) == (True, None)


def test_it_keeps_its_config_over_a_respawn_and_another() -> None:
    history = rolling()
    history.take(FAILED)
    assert respawns_as(history) == ROLLING
    assert history.state.is_behind
    history.take(ev.Spawned(pid=8))
    assert respawns_as(history) == ROLLING
    assert history.state.is_behind


@pytest.mark.parametrize("spec", [NEXT, LAST, ROLLING])
def test_another_reload_tries_again(spec: LaunchSpec) -> None:
    history = rolling()
    history.take(FAILED)
    assert edited(history, spec) == (ev.Succeed(spec=spec),)
    assert (history.state.is_behind, history.state.has_heir) == (False, True)


def test_an_edit_meanwhile_is_another_next_one() -> None:
    history = rolling()
    assert edited(history, LAST) == (ev.Succeed(spec=LAST),)
    history.take(FAILED)
    assert history.state.spec == ROLLING  # and not the one in between


def test_an_edit_that_does_not_compile_changes_nothing() -> None:
    history = rolling()
    history.take(ev.Noticed())
    assert history.not_compiled() == ()
    assert (history.state.has_heir, history.state.spec) == (True, NEXT)


RESTARTED = program("one", reload="restart")


def test_an_edit_that_asks_for_a_restart_counts_more_than_what_was_on_its_way() -> None:
    history = rolling()
    assert edited(history, RESTARTED) == (TERM,)
    assert not history.state.has_heir
    history.take(FAILED)
    assert history.state.spec == RESTARTED
    history.take(ev.Exited(status=0))
    assert history.fresh() == (ev.Spawn(spec=RESTARTED),)


@pytest.mark.parametrize("age", [0.1, 10.0])
def test_so_does_one_that_asks_for_a_signal(age: float) -> None:
    history = begun(SIGNALLED)
    history.wait(age)
    assert edited(history, NEXT) == (ev.Succeed(spec=NEXT),)
    edited(history, ALIKE)
    assert not history.state.has_heir
    history.take(FAILED)
    history.wait(1.0)
    assert history.state.running == ALIKE


def test_if_it_dies_meanwhile_it_comes_back_with_the_new_config() -> None:
    history = rolling()
    assert respawns_as(history) == NEXT
    history.take(FAILED)  # too late: it is what runs here
    assert (history.state.spec, history.said()) == (NEXT, [])


def test_a_failure_of_the_next_one_is_no_fault_of_this_one() -> None:
    history = begun(ROLLING)
    history.take(ev.Exited(status=1))
    before = history.state.blacklisted
    history.wait(1.0)
    history.fresh()
    history.take(ev.Spawned(pid=8))
    edited(history, NEXT)
    history.take(FAILED)
    assert (history.state.blacklisted, history.attempts()) == (before, 1)


def test_one_that_is_going_is_told_of_no_failure() -> None:
    history = rolling()
    history.take(ev.Vanished())
    assert (history.take(FAILED), history.said()) == ((), [])
    assert history.take(ev.Exited(status=0)) == (ev.Forget(),)


@pytest.mark.parametrize("event", [ev.Vanished(), ev.Leave(grace_seconds=9.0), ev.Halt()])
def test_one_beside_whom_another_is_on_its_way_goes_as_ever(event: ev.Event) -> None:
    history = rolling()
    assert history.take(event) == (TERM,)
    history.take(ev.Exited(status=0))
    assert history.phase is (Phase.PARKED if isinstance(event, ev.Halt) else Phase.GONE)


def test_one_that_waits_is_gone_when_its_place_is_taken() -> None:
    for events in ([ev.Exited(status=1)], [ev.Halt(), ev.Exited(status=1)]):
        history = rolling()
        history.take(*events)
        assert history.take(ev.Superseded()) == (ev.Forget(),)


def test_one_that_is_on_its_way_up_or_down_goes_when_its_place_is_taken() -> None:
    history = rolling()
    assert respawns_as(history) == NEXT  # spawning
    history.take(ev.Superseded())
    assert history.take(ev.Spawned(pid=8)) == (TERM,)
    assert history.take(ev.Exited(status=0)) == (ev.Forget(),)
    history = rolling()
    history.take(ev.Stopping(), ev.Superseded())
    assert history.take(ev.Exited(status=0)) == (ev.Forget(),)


# -- rolling reloads: the heir -------------------------------------------------------------


def test_an_heir_takes_over_as_soon_as_it_is_ready() -> None:
    history = heir(NEXT)
    assert history.take(ev.Spawned(pid=8)) == (INHERIT,)
    assert (history.phase, history.state.is_heir) == (Phase.READY, False)
    history = heir(program(ready="notify"))
    assert history.take(ev.Spawned(pid=8)) == ()
    assert history.take(READY) == (INHERIT,)
    history = heir(program(ready_after_seconds=3.0))
    assert history.take(ev.Spawned(pid=8)) == ()
    assert history.wait(2.9) == ()
    assert history.wait(0.1) == (INHERIT,)
    assert history.wait(3600) == ()


def test_from_then_on_it_is_as_any_other() -> None:
    history = heir(NEXT)
    history.take(ev.Spawned(pid=8))
    assert edited(history, LAST) == (ev.Succeed(spec=LAST),)
    history.take(FAILED, ev.Exited(status=1))
    assert (history.phase, history.attempts()) == (Phase.DELAYED, 1)


def test_an_heir_is_in_a_hurry() -> None:
    history = History(is_held=True)
    history.take(ev.Begin(spec=NEXT))
    assert history.done == (ev.AskStart(is_urgent=True),)


def test_an_heir_that_is_not_ready_in_time_is_killed_and_gone() -> None:
    history = heir(program(ready="notify", ready_timeout_seconds=20.0))
    history.take(ev.Spawned(pid=8))
    assert history.wait(19.9) == ()
    assert history.wait(0.1) == (KILL,)
    assert history.said() == ["is not ready in time: killing it"]
    assert history.take(READY) == ()  # too late
    assert history.wait(5.0) == (KILL,)
    gone = history.take(ev.Exited(status=-9))
    assert gone == (ev.Renounce(message="died before it was ready (SIGKILL)"), ev.Forget())


def test_its_time_is_counted_from_when_it_runs() -> None:
    history = heir(program(ready="notify", ready_timeout_seconds=20.0))
    assert history.wait(3600) == ()
    history.take(ev.Spawned(pid=8))
    assert history.state.until == history.now + 20.0


@pytest.mark.parametrize("status", [0, 1, 26, -11])
def test_an_heir_that_dies_is_gone_and_not_blamed(status: int) -> None:
    history = heir(program(ready="notify"))
    history.take(ev.Spawned(pid=8))
    renounce, forget = history.take(ev.Exited(status=status))
    assert isinstance(renounce, ev.Renounce)
    assert renounce.message.startswith("died before it was ready (")
    assert (forget, history.attempts()) == (ev.Forget(), 0)


def test_an_heir_that_stops_of_its_own_will_is_gone_too() -> None:
    history = heir(program(ready="notify"))
    history.take(ev.Spawned(pid=8), ev.Stopping())
    assert isinstance(history.take(ev.Exited(status=0))[0], ev.Renounce)


def test_an_heir_that_cannot_be_spawned_is_gone() -> None:
    history = heir(NEXT)
    assert history.take(ev.NotSpawned(message="no such file")) == (
        ev.Renounce(message="cannot be spawned (no such file)"),
        ev.Forget(),
    )


ASKED: dict[str, tuple[Callable[[History], object], bool]] = {
    "queued": (lambda it: None, False),
    "spawning": (lambda it: it.take(ev.MayStart()), True),
    "starting": (lambda it: it.take(ev.MayStart(), ev.Spawned(pid=8)), True),
}
ENDS = [ev.Vanished(), ev.Leave(grace_seconds=9.0), ev.Die(), ev.Halt()]


@pytest.mark.parametrize("moment", ASKED)
@pytest.mark.parametrize("end", ENDS, ids=lambda event: type(event).__name__)
def test_an_heir_goes_in_every_moment(moment: str, end: ev.Event) -> None:
    prepare, has_process = ASKED[moment]
    history = History(is_held=True)
    history.take(ev.Begin(spec=program(ready="notify")))
    prepare(history)
    done = history.take(end)
    if has_process:
        if history.phase is Phase.SPAWNING:
            done = history.take(ev.Spawned(pid=8))
        assert done == ((KILL,) if end == ev.Die() and moment == "starting" else (TERM,))
        done = history.take(ev.Exited(status=-15))
    assert history.phase is Phase.GONE
    assert [type(effect) for effect in done] == [ev.Renounce, ev.Forget]


@pytest.mark.parametrize("end", ENDS, ids=lambda event: type(event).__name__)
def test_an_heir_goes_also_when_it_could_not_be_spawned(end: ev.Event) -> None:
    history = heir(NEXT)
    history.take(end)
    done = history.take(ev.NotSpawned(message="no"))
    assert [type(effect) for effect in done] == [ev.Renounce, ev.Forget]


def test_an_heir_is_never_compiled() -> None:
    for prepare, _ in ASKED.values():
        history = History(is_held=True)
        history.take(ev.Begin(spec=program(ready="notify")))
        prepare(history)
        done = history.take(ev.Reload(), ev.Retry(), ev.Halt(), ev.Start())
        assert not [effect for effect in done if isinstance(effect, ev.Compile)]


def test_an_heir_that_nobody_waits_for_does_not_speak_of_a_file() -> None:
    history = heir(program(ready="notify"))
    history.take(ev.Spawned(pid=8), ev.Vanished())
    assert history.said()[-1] == "is not to take over any more: stopping"
