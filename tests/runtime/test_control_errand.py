"""What the control socket does with a request: commands, waiting, rolling, and giving up."""

import asyncio
from collections.abc import Callable
from typing import Any

from tests.support.control_court import (
    DEADLINE_SECONDS,
    FAILED,
    PARKED,
    READY,
    RELOADING,
    MemoryCourt,
    view,
)

from emperor.runtime.control.errand import Errand
from emperor.runtime.control.protocol import (
    Answer,
    End,
    Outcome,
    Request,
    read_answer,
)
from emperor.runtime.control.waiting import Waiting
from emperor.runtime.views import Key, VassalView, Verb

RELOAD, STOP, START, RETRY = Verb.RELOAD, Verb.STOP, Verb.START, Verb.RETRY


class Listener:
    """Takes every line of an errand the moment there is one."""

    def __init__(self, court: MemoryCourt, request: Request) -> None:
        self.said: list[Answer | End] = []
        self._news = asyncio.Event()
        self.errand = Errand(
            request, court=court, waiting=Waiting(court), on_ready=self._listen
        )
        self.errand.begin()

    def _listen(self) -> None:
        while (line := self.errand.next_line()) is not None:
            self.said.append(read_answer(line))
        self._news.set()

    async def until(self, count: int) -> list[tuple[str, Outcome]]:
        """The first so many outcomes."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while len(self.said) < count:
                self._news.clear()
                await self._news.wait()
        return [(a.name, a.outcome) for a in self.said[:count] if isinstance(a, Answer)]

    async def end(self) -> tuple[list[tuple[str, Outcome]], bool]:
        """All outcomes, and whether they are fine."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not self.errand.is_over:
                self._news.clear()
                await self._news.wait()
        last = self.said[-1]
        assert isinstance(last, End)
        return await self.until(len(self.said)), last.is_fine


def play(scenario: Callable[[MemoryCourt], Any], *views: VassalView) -> None:
    """Run a scenario in a court of these vassals; nobody listens to it afterwards."""

    async def run() -> None:
        court = MemoryCourt(views)
        await scenario(court)
        assert court.listeners == 0

    asyncio.run(run())


A, B, C = view("a.ini"), view("b.ini"), view("c.ini")


def changing(court: MemoryCourt, **facts: Any) -> Callable[[Key, Verb], None]:
    """Every vassal that is told something changes so."""
    return lambda key, verb: court.change(key[1], **facts)


def test_a_look_shows_all_or_those_named() -> None:
    async def scenario(court: MemoryCourt) -> None:
        court.change("b.ini", **RELOADING)
        listener = Listener(court, Request(verb=None))
        assert await listener.end() == (
            [("a.ini", Outcome.WELL), ("b.ini", Outcome.PENDING), ("c.ini", Outcome.FAILED)],
            False,
        )
        named = Listener(court, Request(verb=None, names=("a.ini", "a.ini")))
        assert await named.end() == ([("a.ini", Outcome.WELL)], True)
        assert court.told == []

    play(scenario, A, B, view("c.ini", **FAILED))


def test_a_look_without_vassals_ends_at_once() -> None:
    async def scenario(court: MemoryCourt) -> None:
        assert await Listener(court, Request(verb=None)).end() == ([], True)
        assert await Listener(court, Request(verb=STOP, waits=True)).end() == ([], True)

    play(scenario)


def test_a_command_without_waiting_is_given_and_answered() -> None:
    async def scenario(court: MemoryCourt) -> None:
        court.on_command = changing(court, **RELOADING)
        listener = Listener(court, Request(verb=RELOAD, names=("b.ini", "nope", "b.ini")))
        assert await listener.end() == (
            [("nope", Outcome.UNKNOWN), ("b.ini", Outcome.ASKED)],
            False,
        )
        assert court.told == [("b.ini", RELOAD)]

    play(scenario, A, B)


def test_a_name_of_several_monitors_means_all_and_its_long_form_one() -> None:
    async def scenario(court: MemoryCourt) -> None:
        both = Listener(court, Request(verb=RETRY, names=("a.ini",)))
        assert await both.end() == (
            [("dir:///x//a.ini", Outcome.ASKED), ("dir:///y//a.ini", Outcome.ASKED)],
            True,
        )
        one = Listener(court, Request(verb=RETRY, names=("dir:///y//a.ini",)))
        assert await one.end() == ([("dir:///y//a.ini", Outcome.ASKED)], True)
        everybody = Listener(court, Request(verb=RETRY))
        assert len((await everybody.end())[0]) == 2
        assert len(court.told) == 5

    play(
        scenario,
        view("a.ini", monitor="dir:///x", shown="dir:///x//a.ini"),
        view("a.ini", monitor="dir:///y", shown="dir:///y//a.ini"),
    )


def test_waiting_ends_when_each_vassal_has_settled_in_the_order_of_events() -> None:
    async def scenario(court: MemoryCourt) -> None:
        court.on_command = changing(court, **RELOADING)
        listener = Listener(court, Request(verb=RELOAD, waits=True))
        await court.until_told(("a.ini", RELOAD), ("b.ini", RELOAD))
        court.change("b.ini", pid=4712)  # nothing that matters
        court.change("b.ini", **READY)
        assert await listener.until(1) == [("b.ini", Outcome.WELL)]
        assert not listener.errand.is_over
        court.change("a.ini", **FAILED)
        assert await listener.end() == (
            [("b.ini", Outcome.WELL), ("a.ini", Outcome.FAILED)],
            False,
        )

    play(scenario, A, B)


def test_what_changes_twice_in_a_turn_counts_as_it_is_in_the_end() -> None:
    async def scenario(court: MemoryCourt) -> None:
        court.on_command = changing(court, **RELOADING)
        listener = Listener(court, Request(verb=RELOAD, names=("a.ini",), waits=True))
        await court.until_told(("a.ini", RELOAD))
        court.change("a.ini", **FAILED)  # dead ...
        court.change("a.ini", **RELOADING)  # ... and spawned again at once
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert listener.said == []
        court.change("a.ini", **READY)
        assert await listener.end() == ([("a.ini", Outcome.WELL)], True)

    play(scenario, A)


def test_a_command_that_changes_nothing_is_waited_for_no_longer_than_that() -> None:
    async def scenario(court: MemoryCourt) -> None:
        for verb in (START, RETRY):
            listener = Listener(court, Request(verb=verb, names=("a.ini",), waits=True))
            assert await listener.end() == ([("a.ini", Outcome.WELL)], True)

    play(scenario, A)


def test_stopped_is_what_rests_or_is_gone() -> None:
    async def scenario(court: MemoryCourt) -> None:
        court.on_command = changing(court, state="stopping", is_settled=False, is_well=False)
        listener = Listener(court, Request(verb=STOP, waits=True, names=("a.ini", "b.ini")))
        await court.until_told(("a.ini", STOP), ("b.ini", STOP))
        court.change("a.ini", **PARKED)
        court.remove("b.ini")
        assert await listener.end() == (
            [("a.ini", Outcome.STOPPED), ("b.ini", Outcome.STOPPED)],
            True,
        )
        court.on_command = lambda key, verb: None
        again = Listener(court, Request(verb=STOP, waits=True, names=("c.ini",)))
        assert await again.end() == ([("c.ini", Outcome.FAILED)], False)  # it runs on

    play(scenario, A, B, C)


def test_who_vanishes_while_it_reloads_is_told_if_it_was_named() -> None:
    async def scenario(court: MemoryCourt) -> None:
        court.on_command = changing(court, **RELOADING)
        named = Listener(court, Request(verb=RELOAD, waits=True, names=("b.ini",)))
        crowd = Listener(court, Request(verb=RELOAD, waits=True))
        await court.until(lambda: len(court.told) == 3)
        court.remove("b.ini")
        assert await named.end() == ([("b.ini", Outcome.GONE)], False)
        court.change("a.ini", **READY)
        assert await crowd.end() == ([("a.ini", Outcome.WELL)], True)

    play(scenario, A, B)


def test_time_runs_out() -> None:
    async def scenario(court: MemoryCourt) -> None:
        court.on_command = changing(court, **RELOADING)
        request = Request(verb=RELOAD, waits=True, timeout_seconds=0.0)
        assert await Listener(court, request).end() == (
            [("a.ini", Outcome.PENDING), ("b.ini", Outcome.PENDING)],
            False,
        )

    play(scenario, A, B)


def test_a_look_can_wait_for_what_is_under_way() -> None:
    async def scenario(court: MemoryCourt) -> None:
        listener = Listener(court, Request(verb=None, waits=True))
        assert await listener.until(1) == [("a.ini", Outcome.WELL)]
        court.change("b.ini", **READY)
        assert (await listener.end())[1]
        assert court.told == []

    play(scenario, A, view("b.ini", **RELOADING))


def test_rolling_goes_on_when_the_one_before_is_well() -> None:
    async def scenario(court: MemoryCourt) -> None:
        court.on_command = changing(court, **RELOADING)
        listener = Listener(court, Request(verb=RELOAD, waits=True, is_rolling=True))
        await court.until_told(("a.ini", RELOAD))
        court.change("c.ini", **FAILED)  # not its turn yet
        court.change("a.ini", **READY)
        await court.until_told(("a.ini", RELOAD), ("b.ini", RELOAD))
        court.remove("b.ini")  # out of the crowd
        await court.until(lambda: ("c.ini", RELOAD) in court.told)
        court.change("c.ini", **READY)
        assert await listener.end() == (
            [("a.ini", Outcome.WELL), ("c.ini", Outcome.WELL)],
            True,
        )

    play(scenario, A, B, C)


def test_rolling_stops_at_the_first_failure() -> None:
    async def scenario(court: MemoryCourt) -> None:
        court.on_command = changing(court, **FAILED)
        listener = Listener(court, Request(verb=RELOAD, waits=True, is_rolling=True))
        assert await listener.end() == (
            [
                ("a.ini", Outcome.FAILED),
                ("b.ini", Outcome.SKIPPED),
                ("c.ini", Outcome.SKIPPED),
            ],
            False,
        )
        assert court.told == [("a.ini", RELOAD)]

    play(scenario, A, B, C)


def test_rolling_stops_where_time_runs_out() -> None:
    async def scenario(court: MemoryCourt) -> None:
        court.on_command = changing(court, **RELOADING)
        request = Request(verb=RELOAD, waits=True, is_rolling=True, timeout_seconds=0.0)
        assert await Listener(court, request).end() == (
            [("a.ini", Outcome.PENDING), ("b.ini", Outcome.SKIPPED)],
            False,
        )
        assert court.told == [("a.ini", RELOAD)]

    play(scenario, A, B)


def test_rolling_touches_nobody_if_a_name_is_unknown() -> None:
    async def scenario(court: MemoryCourt) -> None:
        request = Request(verb=RELOAD, names=("a.ini", "nope"), waits=True, is_rolling=True)
        assert await Listener(court, request).end() == (
            [("nope", Outcome.UNKNOWN), ("a.ini", Outcome.SKIPPED)],
            False,
        )
        assert court.told == []

    play(scenario, A)


def test_an_abandoned_command_is_given_all_the_same() -> None:
    async def scenario(court: MemoryCourt) -> None:
        court.on_command = changing(court, **RELOADING)
        listener = Listener(court, Request(verb=RELOAD, waits=True))
        listener.errand.abandon()
        await court.until(lambda: len(court.told) == 100)
        assert court.listeners == 0
        assert listener.said == []

    play(scenario, *(view(f"{number}.ini") for number in range(100)))


def test_an_abandoned_rolling_reload_ends_where_it_is() -> None:
    async def scenario(court: MemoryCourt) -> None:
        court.on_command = changing(court, **RELOADING)
        listener = Listener(court, Request(verb=RELOAD, waits=True, is_rolling=True))
        await court.until_told(("a.ini", RELOAD))
        listener.errand.abandon()
        court.change("a.ini", **READY)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert court.told == [("a.ini", RELOAD)]

    play(scenario, A, B)


def test_many_are_told_in_slices() -> None:
    async def scenario(court: MemoryCourt) -> None:
        listener = Listener(court, Request(verb=RELOAD))
        await court.until(lambda: len(court.told) > 0)
        assert len(court.told) < 1_000  # the loop had its turn meanwhile
        ended, is_fine = await listener.end()
        assert is_fine
        assert [name for name, _ in ended] == [f"{number}.ini" for number in range(1_000)]

    play(scenario, *(view(f"{number}.ini") for number in range(1_000)))
