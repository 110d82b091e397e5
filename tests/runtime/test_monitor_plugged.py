"""Plugins that fail, end, exit and dawdle, on a clock that runs as fast as nobody waits."""

import asyncio
import itertools
import selectors
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any

import pytest

from emperor.runtime.monitors import plugged, watchtower
from emperor.runtime.monitors.plugged import PluginMonitor
from emperor.runtime.monitors.plugins import (
    Change,
    Context,
    Factory,
    Found,
    Present,
    Snapshot,
)
from emperor.runtime.monitors.settings import Settings
from emperor.runtime.monitors.sightings import Appeared, Event, Problem, Vanished
from emperor.runtime.monitors.sources import PluginSource
from emperor.runtime.monitors.watchtower import Watchtower

A = Found(name="a.ini", text="[uwsgi]\n")
SOURCE = PluginSource(id="test://x", scheme="test", url="test://x")


class _Hurry(selectors.SelectSelector):
    """Where a loop would wait, its clock goes on instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(timeout if timeout is None else 0)
        if not ready and timeout:
            self.now += timeout
        return ready


class HurryingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._hurry = _Hurry()
        super().__init__(self._hurry)

    def time(self) -> float:
        return self._hurry.now


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def tell() -> None:
        await story()

    with asyncio.Runner(loop_factory=HurryingLoop) as runner:
        runner.run(tell())


Script = Callable[[Context], AsyncGenerator[Change, None]]


class Stage:
    """A plugin monitor that plays one script after the other, the last for ever."""

    def __init__(self, *scripts: Script) -> None:
        self.events: list[Event] = []
        self.starts: list[float] = []
        self.first_words = 0
        self._scripts = scripts
        self._loop = asyncio.get_running_loop()
        self.monitor = PluginMonitor(
            source=SOURCE,
            settings=Settings(extra_extensions=(".conf",), frequency_seconds=7),
            loop=self._loop,
            on_event=self.events.append,
            on_first_word=self._hear,
            load=self._load,
        )

    def _hear(self) -> None:
        self.first_words += 1

    def _load(self, scheme: str) -> Factory:
        assert scheme == SOURCE.scheme
        script = self._scripts[min(len(self.starts), len(self._scripts) - 1)]
        self.starts.append(self._loop.time())
        return lambda url, context: _Play(script(context))

    def names(self) -> list[str]:
        return [e.sighting.name for e in self.events if isinstance(e, Appeared)]

    def problems(self) -> list[str]:
        return [e.message for e in self.events if isinstance(e, Problem)]

    async def lives(self, seconds: float) -> None:
        self.monitor.start()
        await asyncio.sleep(seconds)
        self.monitor.close()


class _Play:
    def __init__(self, changes: AsyncGenerator[Change, None]) -> None:
        self._changes = changes

    def changes(self) -> AsyncGenerator[Change, None]:
        return self._changes


def says(*changes: Change, then: BaseException | None = None, after: float = 0) -> Script:
    async def script(context: Context) -> AsyncGenerator[Change, None]:
        for change in changes:
            yield change
        await asyncio.sleep(after)
        if then is not None:
            raise then

    return script


def test_a_plugin_that_fails_is_started_again_ever_more_rarely() -> None:
    async def story() -> None:
        stage = Stage(says(Snapshot(vassals=(A,)), then=OSError("refused")))
        await stage.lives(200)
        assert stage.starts == [0, 1, 3, 7, 15, 31, 63, 123, 183]
        assert stage.names() == ["a.ini"]  # told once, and never gone
        (problem,) = stage.problems()
        assert "test://x: its monitor failed: OSError: refused (test_monitor_plugged" in problem
        assert stage.first_words == 1

    run(story)


def test_one_that_has_worked_for_a_while_is_started_again_soon() -> None:
    async def story() -> None:
        script = says(then=OSError("refused"), after=60)
        stage = Stage(script)
        await stage.lives(150)
        assert stage.starts == [0, 61, 122]
        assert len(stage.problems()) == 2  # what comes back after a while is said again

    run(story)


def test_each_distinct_complaint_is_said_once() -> None:
    async def story() -> None:
        stage = Stage(
            says(),
            says(then=ValueError("one")),
            says(then=ValueError("two")),
            says(then=ValueError("one")),
            says(then=SystemExit(3)),
            says(then=asyncio.CancelledError()),
            says(),
        )
        await stage.lives(100)
        briefs = [
            text.partition("its monitor ")[2].partition(" (")[0] for text in stage.problems()
        ]
        assert [text.partition(";")[0] for text in briefs] == [
            "ended",
            "failed: ValueError: one",
            "failed: ValueError: two",
            "failed: RuntimeError: it wanted to exit with 3",
        ]

    run(story)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda url, context: None,
        lambda url, context: _Play(None),  # type: ignore[arg-type]
        lambda: None,
        None,
    ],
)
def test_what_is_no_plugin_at_all_is_a_problem_too(
    wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        stage = Stage(says())
        monkeypatch.setattr(stage.monitor, "_load", lambda scheme: wrong)
        await stage.lives(10)
        assert len(stage.problems()) == 1

    run(story)


def test_an_unknown_kind_of_change_is_a_failure() -> None:
    async def story() -> None:
        wrong: Any = ["a.ini"]
        stage = Stage(says(wrong))
        await stage.lives(0.5)
        assert "['a.ini'] is no change of vassals" in stage.problems()[0]

    run(story)


def test_a_context_says_what_a_plugin_needs() -> None:
    async def story() -> None:
        contexts: list[Context] = []

        async def script(context: Context) -> AsyncGenerator[Change, None]:
            contexts.append(context)
            context.report('the table has no column "uid"')
            context.report('the table has no column "uid"')
            await asyncio.sleep(1000)
            yield Snapshot(vassals=())

        stage = Stage(script)
        await stage.lives(1)
        (context,) = contexts
        assert (context.monitor, context.frequency_seconds) == ("test://x", 7)
        assert context.extensions[0] == ".ini"
        assert context.extensions[-1] == ".conf"
        assert stage.problems() == ['test://x: the table has no column "uid"']

    run(story)


def test_closing_cancels_it_where_it_waits_and_nothing_is_told_any_more() -> None:
    async def story() -> None:
        ends: list[str] = []

        async def script(context: Context) -> AsyncGenerator[Change, None]:
            try:
                yield Snapshot(vassals=(A,))
                await asyncio.sleep(1000)
            finally:
                ends.append("cancelled")
                context.report("nobody listens")

        stage = Stage(script)
        await stage.lives(1)
        await asyncio.sleep(5)
        assert ends == ["cancelled"]
        assert stage.names() == ["a.ini"]
        assert (len(stage.events), len(stage.starts)) == (1, 1)

    run(story)


def test_one_that_waits_to_be_started_again_can_be_closed_and_hurried() -> None:
    async def story() -> None:
        stage = Stage(says())
        stage.monitor.start()
        await asyncio.sleep(0.5)
        stage.monitor.rescan()
        await asyncio.sleep(0.1)
        assert stage.starts == [0, 0.5]
        stage.monitor.close()
        await asyncio.sleep(100)
        assert stage.starts == [0, 0.5]

    run(story)


def test_one_that_never_waits_leaves_the_loop_its_turn() -> None:
    async def story() -> None:
        async def script(context: Context) -> AsyncGenerator[Change, None]:
            for number in itertools.count():
                yield Present(vassal=Found(name=f"{number}.ini", text=""))

        stage = Stage(script)
        stage.monitor.start()
        for _ in range(100):
            await asyncio.sleep(0)
        stage.monitor.close()
        assert 40 <= len(stage.events) <= 100

    run(story)


def test_our_own_mistakes_are_not_blamed_on_the_plugin() -> None:
    async def story() -> None:
        mistakes: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, m: mistakes.append(m))

        def bug(event: Event) -> None:
            raise ZeroDivisionError

        stage = Stage(says(Snapshot(vassals=(A,)), after=1000))
        monkey: Any = stage.monitor
        monkey._on_event = bug
        await stage.lives(10)
        assert [type(m["exception"]) for m in mistakes] == [ZeroDivisionError]
        assert len(stage.starts) == 1

    run(story)


def tower(
    monkeypatch: pytest.MonkeyPatch, scripts: dict[str, Script], looks: list[float]
) -> tuple[Watchtower, list[Event]]:
    """A watchtower whose plugins play these scripts, by scheme."""
    loop = asyncio.get_running_loop()
    events: list[Event] = []

    class Scripted(PluginMonitor):
        def __init__(self, **words: Any) -> None:
            super().__init__(**words, load=lambda s: lambda _, c: _Play(scripts[s](c)))

    monkeypatch.setattr(watchtower, "PluginMonitor", Scripted)
    sources = [PluginSource(id=f"{s}://", scheme=s, url=f"{s}://") for s in scripts]
    return (
        Watchtower(
            loop=loop,
            sources=[*sources, *sources],
            settings=Settings(),
            on_event=events.append,
            on_touched=lambda key: None,
            on_first_look=lambda: looks.append(loop.time()),
        ),
        events,
    )


@pytest.mark.parametrize(
    ("delays", "when"),
    [((), 0), ((0.0, 0.0), 0), ((0.0, 2.0), 2), ((0.0, 9.0), 5), ((None,), 5)],
)
def test_the_first_look_waits_for_each_plugin_but_not_for_ever(
    delays: Iterable[float | None], when: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(seconds: float | None) -> Script:
        async def script(context: Context) -> AsyncGenerator[Change, None]:
            if seconds is None:
                raise OSError("never")
            await asyncio.sleep(seconds)
            yield Snapshot(vassals=())
            await asyncio.sleep(1000)

        return script

    async def story() -> None:
        looks: list[float] = []
        scripts = {f"s{number}": late(delay) for number, delay in enumerate(delays)}
        watching, _ = tower(monkeypatch, scripts, looks)
        watching.start()
        assert watching.first_look_is_over == (not scripts)
        await asyncio.sleep(20)
        watching.close()
        assert looks == [when]
        assert watching.first_look_is_over

    run(story)


def test_a_closed_tower_has_no_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        looks: list[float] = []
        watching, events = tower(monkeypatch, {"s": says(Snapshot(vassals=(A,)))}, looks)
        watching.start()
        watching.close()
        await asyncio.sleep(10)
        assert (looks, events) == ([], [])

    run(story)


def test_one_name_of_two_plugins_is_two_vassals(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        both = says(Snapshot(vassals=(A,)), Snapshot(vassals=()), after=1000)
        one = says(Snapshot(vassals=(A,)), after=1000)
        watching, events = tower(monkeypatch, {"one": one, "both": both}, [])
        watching.start()
        await asyncio.sleep(1)
        watching.close()
        appeared = [e.sighting.monitor for e in events if isinstance(e, Appeared)]
        gone = [e.monitor for e in events if isinstance(e, Vanished)]
        assert (sorted(appeared), gone) == (["both://", "one://"], ["both://"])

    run(story)


def test_the_pauses_are_those_of_the_page() -> None:
    assert (plugged.FIRST_PAUSE_SECONDS, plugged.LONGEST_PAUSE_SECONDS) == (1, 60)
