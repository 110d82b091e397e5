"""All monitors of a daemon under one roof, which is what the controller talks to."""

import asyncio
from collections.abc import Callable, Iterable

from emperor.runtime.monitors.monitor import Monitor
from emperor.runtime.monitors.paths import PathWatch
from emperor.runtime.monitors.settings import Settings
from emperor.runtime.monitors.sightings import Event
from emperor.runtime.monitors.sources import Source
from emperor.runtime.monitors.watch import Watches


class Watchtower:
    """Follows every source, and the paths that the controller asks for.

    ``on_event`` and ``on_touched`` are called from the event loop, one event after the other,
    and by ``start`` for what is there already. A source that is given twice counts once.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        sources: Iterable[Source],
        settings: Settings,
        on_event: Callable[[Event], None],
        on_touched: Callable[[str], None],
    ) -> None:
        self._watches = Watches(loop)
        self._paths = PathWatch(
            settings=settings, watches=self._watches, loop=loop, on_touched=on_touched
        )
        self._monitors = tuple(
            Monitor(
                source=source,
                settings=settings,
                watches=self._watches,
                loop=loop,
                on_event=on_event,
            )
            for source in {source.id: source for source in sources}.values()
        )

    def start(self) -> None:
        """Tell of every vassal that is there, then follow what becomes of them."""
        for monitor in self._monitors:
            monitor.start()

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
        self._paths.close()
        for monitor in self._monitors:
            monitor.close()
        self._watches.close()
