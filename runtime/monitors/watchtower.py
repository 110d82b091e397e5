"""All monitors under one roof, which is what the controller talks to."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from emperor.runtime.monitors.monitor import Monitor
from emperor.runtime.monitors.paths import PathWatch
from emperor.runtime.monitors.plugged import PluginMonitor
from emperor.runtime.monitors.settings import Settings
from emperor.runtime.monitors.sightings import Event
from emperor.runtime.monitors.sources import AnySource, PluginSource
from emperor.runtime.monitors.watch import Watches

#: How long the first word of a plugin is waited for.
FIRST_LOOK_SECONDS = 5.0


class _Follower(Protocol):
    def start(self) -> None: ...
    def rescan(self) -> None: ...
    def close(self) -> None: ...


class Watchtower:
    """Follows every source, and the paths that the controller asks for.

    ``on_event`` and ``on_touched`` are called from the event loop, one event after the other,
    and by ``start`` for what is there already. A source that is given twice counts once.
    ``on_first_look`` is called once, when every monitor has told of what is there: by ``start``
    if there are no plugins, else when each has told of something, or after five seconds.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        sources: Iterable[AnySource],
        settings: Settings,
        on_event: Callable[[Event], None],
        on_touched: Callable[[str], None],
        on_first_look: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._on_event = on_event
        self._on_first_look = on_first_look
        self._watches = Watches(loop)
        self._paths = PathWatch(
            settings=settings, watches=self._watches, loop=loop, on_touched=on_touched
        )
        different = {source.id: source for source in sources}.values()
        self._unheard = {item.id for item in different if isinstance(item, PluginSource)}
        self._monitors = tuple(self._follower(source) for source in different)
        self._patience: asyncio.TimerHandle | None = None
        self.first_look_is_over = False

    def _follower(self, source: AnySource) -> _Follower:
        if isinstance(source, PluginSource):
            return PluginMonitor(
                source=source,
                settings=self._settings,
                loop=self._loop,
                on_event=self._on_event,
                on_first_word=lambda: self._heard(source.id),
            )
        return Monitor(
            source=source,
            settings=self._settings,
            watches=self._watches,
            loop=self._loop,
            on_event=self._on_event,
        )

    def start(self) -> None:
        """Tell of every vassal that is there, then follow what becomes of them."""
        for monitor in self._monitors:
            monitor.start()
        if self._unheard:
            self._patience = self._loop.call_later(FIRST_LOOK_SECONDS, self._end_first_look)
        else:
            self._end_first_look()

    def rescan(self) -> None:
        """Look at everything again, now."""
        for monitor in self._monitors:
            monitor.rescan()

    def watch_paths(self, key: str, paths: Iterable[str]) -> None:
        """Have ``on_touched(key)`` called when one of these absolute paths changes.

        They need not exist, and replace the paths that the key had before. A change before
        this call is not told: who looked at the paths earlier compares again.
        """
        self._paths.watch_paths(key, paths)

    def unwatch_paths(self, key: str) -> None:
        """Watch nothing for a key any more."""
        self._paths.unwatch_paths(key)

    def close(self) -> None:
        """Tell of nothing any more, and give every descriptor back."""
        if self._patience is not None:
            self._patience.cancel()
        self._paths.close()
        for monitor in self._monitors:
            monitor.close()
        self._watches.close()

    def _heard(self, source: str) -> None:
        self._unheard.discard(source)
        if not self._unheard:
            self._end_first_look()

    def _end_first_look(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        if not self.first_look_is_over:
            self.first_look_is_over = True
            self._on_first_look()
