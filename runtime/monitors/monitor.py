"""One source of vassals, followed: events are the hint, looking again is the truth."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from emperor.runtime.monitors.census import Census
from emperor.runtime.monitors.folders import Folders
from emperor.runtime.monitors.reach import Reach
from emperor.runtime.monitors.scan import is_fresh_file, is_held, look
from emperor.runtime.monitors.settings import Settings
from emperor.runtime.monitors.settle import Mark, Settling
from emperor.runtime.monitors.sightings import Event, Finding, Problem, Seen
from emperor.runtime.monitors.slices import Slices
from emperor.runtime.monitors.sources import Source
from emperor.runtime.monitors.watch import Hint, Watches, What


class Monitor:
    """Tells ``on_event`` of every vassal of a source, and of what becomes of it."""

    def __init__(
        self,
        *,
        source: Source,
        settings: Settings,
        watches: Watches,
        loop: asyncio.AbstractEventLoop,
        on_event: Callable[[Event], None],
    ) -> None:
        self.source = source
        self._settings = settings
        self._loop = loop
        self._on_event = on_event
        self._folders = Folders(source)
        self._reach = Reach(watches=watches, listener=self)
        self._census = Census(
            source=source,
            folders=self._folders,
            reach=self._reach,
            extra_extensions=settings.extra_extensions,
            report=self._report,
        )
        self._settling = Settling(monitor=source.id, settings=settings)
        self._slices = Slices(
            loop=loop, size=settings.slice_size, step=self._step, after=self._after_slice
        )
        # Names that an event or the clock brought up go before all that a listing brings up.
        self._urgent: dict[str, None] = {}
        self._renewals: dict[str, None] = {}
        self._last_rescan = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def start(self) -> None:
        """Tell of everything that is there, in the order of its bytes, before returning."""
        self.rescan(at_once=False)
        while self._census.list_next():
            pass
        self._census.sort()
        self._slices.run_all()

    def rescan(self, *, at_once: bool = True) -> None:
        """Look at everything again, in slices that leave the event loop its turn."""
        self._last_rescan = self._loop.time()
        self._renewals.update(dict.fromkeys(self._reach.directories()))
        self._census.expect(self._folders.root)
        if at_once:
            self._slices.run()

    def close(self) -> None:
        """Tell of nothing any more."""
        self._is_closed = True
        self._slices.stop()
        self._reach.close()
        if self._timer is not None:
            self._timer.cancel()

    def on_hints(self, hints: list[Hint]) -> None:
        """Look at what the hints name, and at nothing else."""
        now = self._loop.time()
        for hint in hints:
            self._take_hint(hint, now)
        self._slices.run()

    def on_overflow(self) -> None:
        """Look at everything, as nobody knows what was lost."""
        self.rescan()

    def _take_hint(self, hint: Hint, now: float) -> None:
        folder = self._folders.get(hint.directory)
        if hint.name is None:
            if folder is not None:
                self._census.expect(folder)
            if hint.what is What.GONE:
                self._queue(self._reach.lose(hint.directory))
            return
        names = self._queue(self._reach.keys(hint.directory, hint.name))
        if folder is not None:
            name = self._census.take_entry(folder, hint.name)
            names += self._queue(() if name is None else (name,))
        mark = _mark_of(hint) if names else None
        if mark is not None:
            for name in names:
                self._settling.note(name, mark, now)

    def _queue(self, keys: tuple[str, ...]) -> list[str]:
        """Have vassals and folders looked at again; give the vassals."""
        names = []
        for key in keys:
            folder = self._folders.get(key)
            if folder is None:
                names.append(key)
            else:
                self._census.expect(folder)
        self._urgent.update(dict.fromkeys(names))
        return names

    def _step(self) -> bool:
        if self._is_closed:
            return False
        if self._urgent:
            self._look(_take(self._urgent), routine=False)
        elif self._renewals:
            directory = _take(self._renewals)
            if not self._reach.renew(directory):
                self._queue(self._reach.lose(directory))
        elif not self._census.list_next():
            name = self._census.next_name()
            if name is None:
                return False
            self._look(name, routine=True)
        return True

    def _look(self, name: str, *, routine: bool) -> None:
        folder = self._folders.home(name)
        if folder is None:
            return
        now = self._loop.time()
        path, directory = self._folders.place(name)
        finding = self._find(name, path, directory)
        followed = finding.linked and not self._settings.nofollow
        if not followed:
            self._reach.forget(name)
        elif self._reach.follow(
            name,
            self._folders.entry(name),
            start=folder.real,
            skip_first=True,
            writes=True,
        ):
            finding = self._find(name, path, directory)
        if isinstance(finding, Seen):
            finding = self._probed(finding, now, routine=routine)
        for event in self._settling.observe(name, path, finding, now):
            self._on_event(event)
        # A dangling link stays followed: its target may come.
        if not followed and not self._settling.cares_for(name):
            self._folders.forget(name)

    def _find(self, name: str, path: str, directory: str | None) -> Finding:
        return look(
            monitor=self.source.id,
            name=name,
            path=path,
            directory=directory,
            nofollow=self._settings.nofollow,
        )

    def _probed(self, seen: Seen, now: float, *, routine: bool) -> Seen:
        """Add whether somebody writes the file, where no event would have said so."""
        if seen.linked and self._settings.nofollow:
            return replace(seen, held=False)
        unheard = routine and self._settling.is_news(seen.sighting)
        if unheard or self._settling.wants_probe(seen.sighting.name, now):
            return replace(seen, held=is_held(seen.sighting.path))
        return seen

    def _report(self, path: str, complaint: str) -> None:
        message = f"{path}: {complaint}"
        self._on_event(Problem(monitor=self.source.id, path=path, message=message))

    def _after_slice(self) -> None:
        if self._is_closed:
            return
        for directory, reason in self._reach.new_doubts():
            every = f"{self._settings.frequency_seconds:g}"
            self._report(directory, f"{reason}; looked at every {every} seconds instead")
        self._set_timer()

    def _next_rescan(self) -> float:
        if self._reach.is_complete and self._census.is_complete:
            return self._last_rescan + self._settings.rescan_seconds
        return self._last_rescan + self._settings.frequency_seconds

    def _set_timer(self) -> None:
        deadline = self._settling.deadline()
        when = self._next_rescan() if deadline is None else min(deadline, self._next_rescan())
        if self._timer is not None:
            if self._timer.when() == when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time()
        self._urgent.update(dict.fromkeys(self._settling.due(now)))
        if now >= self._next_rescan():
            self.rescan(at_once=False)
        self._slices.run()


def _mark_of(hint: Hint) -> Mark | None:
    match hint.what:
        case What.CREATED if is_fresh_file(f"{hint.directory}/{hint.name}"):
            return Mark.BEGAN
        case What.WRITTEN:
            return Mark.BEGAN
        case What.CREATED | What.CLOSED | What.REPLACED:
            return Mark.ENDED
        case What.TOUCHED | What.GONE:
            return None


def _take(queue: dict[str, None]) -> str:
    first = next(iter(queue))
    del queue[first]
    return first
