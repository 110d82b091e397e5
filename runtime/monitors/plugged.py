"""One source that a plugin follows: started, started again when it fails, and listened to."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import aclosing

from emperor.compiler.directives import EXTENSIONS
from emperor.runtime.monitors.ledger import Ledger
from emperor.runtime.monitors.plugins import (
    Absent,
    Change,
    Context,
    Factory,
    Present,
    Snapshot,
    load,
)
from emperor.runtime.monitors.settings import Settings
from emperor.runtime.monitors.sightings import Event, Problem
from emperor.runtime.monitors.sources import PluginSource

#: How long a plugin that failed is left alone, at first and at most.
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0

#: So many different complaints of one plugin are told from each other.
_MOST_COMPLAINTS = 100


class PluginMonitor:
    """Tells ``on_event`` of every vassal that a plugin tells of, and of what becomes of it.

    ``on_first_word`` is called once, when it has told of something. What the plugin raises
    never gets further than a Problem, and what our side raises never gets into the plugin.
    """

    def __init__(
        self,
        *,
        source: PluginSource,
        settings: Settings,
        loop: asyncio.AbstractEventLoop,
        on_event: Callable[[Event], None],
        on_first_word: Callable[[], None],
        load: Callable[[str], Factory] = load,
    ) -> None:
        self.source = source
        self._loop = loop
        self._on_event = on_event
        self._on_first_word = on_first_word
        self._load = load
        self._context = Context(
            monitor=source.id,
            cwd=os.getcwd(),
            extensions=(*EXTENSIONS, *settings.extra_extensions),
            frequency_seconds=settings.frequency_seconds,
            report=self._report,
        )
        self._ledger = Ledger(
            monitor=source.id,
            cwd=self._context.cwd,
            extra_extensions=settings.extra_extensions,
            now_ns=time.time_ns,
            stat=_stat,
        )
        self._said: dict[str, None] = {}
        self._pause = FIRST_PAUSE_SECONDS
        self._started_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._has_spoken = False
        self._is_closed = False

    def start(self) -> None:
        """Have the plugin started; what is there comes later."""
        self._timer = None
        self._started_at = self._loop.time()
        self._task = self._loop.create_task(self._follow(), name=f"monitor {self.source.id}")
        self._task.add_done_callback(self._ended)

    def rescan(self) -> None:
        """Nothing: a plugin tells by itself. One that waits to be started again is started."""
        if self._timer is not None:
            self._timer.cancel()
            self.start()

    def close(self) -> None:
        """Tell of nothing any more, and cancel the plugin where it waits."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    async def _follow(self) -> None:
        """All that runs of the plugin's code. Its words are taken outside of it."""
        try:
            monitor = self._load(self.source.scheme)(self.source.url, self._context)
            async with aclosing(monitor.changes()) as changes:
                async for change in changes:
                    if not isinstance(change, Snapshot | Present | Absent):
                        raise TypeError(f"{change!r} is no change of vassals")
                    self._loop.call_soon(self._take, change)
                    await asyncio.sleep(0)  # a plugin that never waits must not hold us up
        except SystemExit as error:  # would end the daemon
            raise RuntimeError(f"it wanted to exit with {error.code}") from error

    def _take(self, change: Change) -> None:
        if self._is_closed:
            return
        for event in self._ledger.take(change):
            self._on_event(event)
        if not self._has_spoken:
            self._has_spoken = True
            self._on_first_word()

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if self._is_closed:
            return
        if self._loop.time() - self._started_at >= LONGEST_PAUSE_SECONDS:
            self._pause = FIRST_PAUSE_SECONDS
            self._said.clear()
        self._report(f"its monitor {_cause(error)}; its vassals stay, it is started again")
        self._timer = self._loop.call_later(self._pause, self.start)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def _report(self, complaint: str) -> None:
        """Say something once."""
        if complaint in self._said or self._is_closed:
            return
        if len(self._said) >= _MOST_COMPLAINTS:
            self._said.clear()
        self._said[complaint] = None
        source = self.source.id
        message = f"{source}: {complaint}"
        self._on_event(Problem(monitor=source, path=source, message=message))


def _cause(error: BaseException | None) -> str:
    if error is None:
        return "ended"
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = ""
    if trace is not None:
        file = os.path.basename(trace.tb_frame.f_code.co_filename)
        where = f" ({file}, line {trace.tb_lineno})"
    return f"failed: {type(error).__name__}: {error}{where}"


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None
