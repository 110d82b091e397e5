"""Decides, from what was seen and when, whether a change to a vassal's file is real."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from emperor.runtime.monitors.settings import Settings
from emperor.runtime.monitors.sightings import (
    Appeared,
    AttributesChanged,
    Changed,
    Event,
    Finding,
    Missing,
    Problem,
    Seen,
    Sighting,
    Unclear,
    Vanished,
)


class Mark(enum.Enum):
    """What an event said about a writer."""

    BEGAN = "began"
    ENDED = "ended"


@dataclass(slots=True, kw_only=True)
class _Writer:
    until: float  # we wait no longer
    look_at: float  # the end of a writer may have no event of ours (a hard link elsewhere)
    pause: float


class Settling:
    """What the controller has been told, and what it will be told when time has passed.

    Time is a monotonic clock in seconds and only ever passed in. Nothing here touches a file:
    whoever holds this object looks at the files that ``due`` names and hands in what it found.
    """

    def __init__(self, *, monitor: str, settings: Settings) -> None:
        self._monitor = monitor
        self._settings = settings
        self._known: dict[str, Sighting] = {}
        # In the order of their deadlines: each is the same time after an ever later moment.
        self._missing: dict[str, float] = {}
        self._writers: dict[str, _Writer] = {}
        self._problems: dict[str, str] = {}  # by the path to blame
        self._blamed: dict[str, str] = {}  # by name

    def note(self, name: str, mark: Mark, now: float) -> None:
        """Take in that somebody began or ended writing a file."""
        match mark:
            case Mark.BEGAN:
                self._begin(name, now)
            case Mark.ENDED:
                self._writers.pop(name, None)

    def is_news(self, sighting: Sighting) -> bool:
        """Say whether the controller does not know this already."""
        return self._known.get(sighting.name) != sighting

    def wants_probe(self, name: str, now: float) -> bool:
        """Say whether it is time to ask the system if a file's writer is still there."""
        writer = self._writers.get(name)
        return writer is not None and writer.look_at <= now

    def cares_for(self, name: str) -> bool:
        """Say whether a name is known to the controller or may soon be."""
        return name in self._known or name in self._writers

    def due(self, now: float) -> tuple[str, ...]:
        """Name what is to be looked at now because its time has come."""
        return (*self._overdue(now), *(n for n, w in self._writers.items() if w.look_at <= now))

    def deadline(self) -> float | None:
        """Give the next moment at which something will be due, if there is one."""
        missing = next(iter(self._missing.values()), None)
        times = [writer.look_at for writer in self._writers.values()]
        if missing is not None:
            times.append(missing)
        return min(times, default=None)

    def observe(self, name: str, path: str, finding: Finding, now: float) -> tuple[Event, ...]:
        """Take in what a look found; give what the controller is to be told, in order."""
        match finding:
            case Seen():
                self._clear(name)
                return self._present(finding, now)
            case Missing(problem=problem):
                told = self._absent(name, now)
                if problem is not None:
                    return (*self._report(name, path, problem), *told)
                self._clear(name)
                return told
            case Unclear():
                self._missing.pop(name, None)
                return self._report(name, finding.path, finding.problem)

    def _overdue(self, now: float) -> Iterator[str]:
        for name, deadline in self._missing.items():
            if deadline > now:
                return
            yield name

    def _present(self, seen: Seen, now: float) -> tuple[Event, ...]:
        sighting = seen.sighting
        self._missing.pop(sighting.name, None)
        waits = self._waits_for_writer(seen, now)
        before = self._known.get(sighting.name)
        if waits or before == sighting:
            return ()
        self._known[sighting.name] = sighting
        if before is None:
            return (Appeared(sighting=sighting),)
        if before.stamp == sighting.stamp and before.path == sighting.path:
            return (AttributesChanged(sighting=sighting),)
        return (Changed(sighting=sighting),)

    def _waits_for_writer(self, seen: Seen, now: float) -> bool:
        name = seen.sighting.name
        if seen.held and self.is_news(seen.sighting):
            self._begin(name, now)
        writer = self._writers.get(name)
        if writer is None:
            return False
        if seen.held is False or now >= writer.until:
            del self._writers[name]
            return False
        if now >= writer.look_at:
            writer.pause *= 2
            # Where a look cannot tell, looking more often tells no more.
            later = writer.until if seen.held is None else now + writer.pause
            writer.look_at = min(writer.until, later)
        return True

    def _absent(self, name: str, now: float) -> tuple[Event, ...]:
        self._writers.pop(name, None)
        if name not in self._known:
            return ()
        if now < self._missing.setdefault(name, now + self._settings.settle_seconds):
            return ()
        del self._missing[name], self._known[name]
        return (Vanished(monitor=self._monitor, name=name),)

    def _begin(self, name: str, now: float) -> None:
        pause = self._settings.settle_seconds
        until = now + self._settings.writing_seconds
        if name not in self._writers:
            self._writers[name] = _Writer(until=until, look_at=now + pause, pause=pause)

    def _report(self, name: str, path: str, message: str) -> tuple[Problem, ...]:
        """Tell of a problem once, and again only after it had gone."""
        self._blamed[name] = path
        if self._problems.get(path) == message:
            return ()
        self._problems[path] = message
        return (Problem(monitor=self._monitor, path=path, message=message),)

    def _clear(self, name: str) -> None:
        path = self._blamed.pop(name, None)
        if path is not None:
            self._problems.pop(path, None)
