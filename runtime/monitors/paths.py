"""Watches single paths on somebody's behalf, whether they exist or not."""

import asyncio
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from emperor.runtime.monitors.reach import Reach
from emperor.runtime.monitors.scan import is_fresh_file
from emperor.runtime.monitors.settings import Settings
from emperor.runtime.monitors.slices import Slices
from emperor.runtime.monitors.trail import EVERY_NAME, Step
from emperor.runtime.monitors.watch import Hint, Watches, What

_Look = tuple[int, ...]  # what a stat told; empty: nothing is there


@dataclass(slots=True, kw_only=True)
class _Watched:
    keys: dict[str, None] = field(default_factory=dict)
    last: _Look = ()


class PathWatch:
    """Calls ``on_touched(key)`` when a path is created, changed or removed."""

    def __init__(
        self,
        *,
        settings: Settings,
        watches: Watches,
        loop: asyncio.AbstractEventLoop,
        on_touched: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._on_touched = on_touched
        self._reach = Reach(watches=watches, listener=self)
        self._slices = Slices(
            loop=loop, size=settings.slice_size, step=self._step, after=self._set_timer
        )
        self._paths: dict[str, _Watched] = {}
        self._keys: dict[str, tuple[str, ...]] = {}
        self._queue: dict[str, None] = {}
        self._renewals: dict[str, None] = {}
        self._last_rescan = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def watch_paths(self, key: str, paths: Iterable[str]) -> None:
        """Watch these absolute paths for a key from now on, and no others.

        A change before this call is not told: who looked at the paths earlier compares again.
        Of a directory it is told when an entry comes or goes.
        """
        before = self._keys.get(key, ())
        after = tuple(dict.fromkeys(paths))
        for path in after:
            self._add(key, path)
        if after:
            self._keys[key] = after
        else:
            self._keys.pop(key, None)
        for path in set(before).difference(after):
            self._discard(key, path)
        self._set_timer()

    def unwatch_paths(self, key: str) -> None:
        """Watch nothing for a key any more."""
        self.watch_paths(key, ())

    def close(self) -> None:
        """Watch nothing any more."""
        self._paths.clear()
        self._slices.stop()
        self._reach.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def on_hints(self, hints: list[Hint]) -> None:
        """Look at the paths that the hints may concern."""
        for hint in hints:
            if hint.what is What.GONE:
                self._queue.update(dict.fromkeys(self._reach.lose(hint.directory)))
            elif hint.name is not None and not _is_begun(hint):
                keys = self._reach.keys(hint.directory, hint.name)
                self._queue.update(dict.fromkeys(keys))
        if self._queue:
            self._slices.run()

    def on_overflow(self) -> None:
        """Look at every path, as nobody knows what was lost."""
        self._rescan()

    def _add(self, key: str, path: str) -> None:
        watched = self._paths.get(path)
        if watched is None:
            watched = self._paths[path] = _Watched()
            watched.last = self._look(path)
        watched.keys[key] = None

    def _discard(self, key: str, path: str) -> None:
        watched = self._paths[path]
        del watched.keys[key]
        if not watched.keys:
            del self._paths[path]
            self._reach.forget(path)

    def _look(self, path: str) -> _Look:
        """Look at a path, with all on its way watched before."""
        seen = _look(path)
        if self._reach.follow(path, path, also=_inside(path, seen)):
            seen = _look(path)
        return seen

    def _step(self) -> bool:
        if self._renewals:
            directory = next(iter(self._renewals))
            del self._renewals[directory]
            if not self._reach.renew(directory):
                self._queue.update(dict.fromkeys(self._reach.lose(directory)))
            return True
        if not self._queue:
            return False
        path = next(iter(self._queue))
        del self._queue[path]
        watched = self._paths.get(path)
        if watched is not None:
            self._compare(path, watched)
        return True

    def _compare(self, path: str, watched: _Watched) -> None:
        seen = self._look(path)
        if seen == watched.last:
            return
        watched.last = seen
        for key in tuple(watched.keys):
            self._on_touched(key)

    def _rescan(self) -> None:
        self._last_rescan = self._loop.time()
        self._renewals.update(dict.fromkeys(self._reach.directories()))
        self._queue.update(dict.fromkeys(self._paths))
        self._slices.run()

    def _set_timer(self) -> None:
        if not self._paths:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            return
        if self._timer is None:
            self._last_rescan = max(self._last_rescan, self._loop.time())
        settings = self._settings
        trusted = self._reach.is_complete
        period = settings.rescan_seconds if trusted else settings.frequency_seconds
        when = self._last_rescan + period
        if self._timer is not None:
            if self._timer.when() == when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._rescan()


def _look(path: str) -> _Look:
    try:
        status = os.stat(path)
    except OSError as error:
        return (error.errno or 0,)
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return (status.st_mode, status.st_dev, status.st_ino, status.st_size, *times)


def _inside(path: str, seen: _Look) -> tuple[Step, ...]:
    is_directory = len(seen) > 1 and stat.S_ISDIR(seen[0])
    return ((os.path.realpath(path), EVERY_NAME),) if is_directory else ()


def _is_begun(hint: Hint) -> bool:
    """Say whether a file has only just been begun: when it is closed there will be a hint."""
    return hint.what is What.CREATED and is_fresh_file(f"{hint.directory}/{hint.name}")
