"""The vassals that the controller holds, by key, by pid and by the name people use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from emperor.runtime.channel import Channel
from emperor.runtime.events import Event
from emperor.runtime.law.state import Vassal
from emperor.runtime.monitors.sightings import Sighting
from emperor.runtime.stamps import PathStamp
from emperor.runtime.views import Key


@dataclass(slots=True, eq=False)
class Record:
    """The daemon's book-keeping of one vassal; what it decides by is in ``state``.

    ``early`` is what the process said before the guardian told its pid; ``said`` are the last
    findings that were logged; ``dependencies`` belong to the last good compile.
    """

    key: Key
    sighting: Sighting
    state: Vassal
    channel: Channel | None = None
    pid: int | None = None
    timer: asyncio.TimerHandle | None = None
    timer_at: float | None = None
    early: bytes = b""
    said: tuple[str, ...] = ()
    dependencies: tuple[tuple[str, PathStamp], ...] = ()
    is_broken: bool = False
    inbox: list[Event] = field(default_factory=list)

    @property
    def path_key(self) -> str:
        """The key under which the monitors watch paths for this vassal."""
        return "\0".join(self.key)


class Roster:
    """All records."""

    def __init__(self) -> None:
        self._records: dict[Key, Record] = {}
        self._by_pid: dict[int, Record] = {}
        self._names: dict[str, int] = {}

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._records.values()))

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, record: Record) -> bool:
        return self._records.get(record.key) is record

    def get(self, key: Key) -> Record | None:
        """The vassal of that monitor and name."""
        return self._records.get(key)

    def by_path_key(self, path_key: str) -> Record | None:
        """The vassal for which the monitors watch paths under that key."""
        monitor, _, name = path_key.partition("\0")
        return self._records.get((monitor, name))

    def add(self, record: Record) -> None:
        """Take a new vassal in."""
        self._records[record.key] = record
        name = record.key[1]
        self._names[name] = self._names.get(name, 0) + 1

    def remove(self, record: Record) -> None:
        """Let a vassal go."""
        del self._records[record.key]
        name = record.key[1]
        self._names[name] -= 1
        if not self._names[name]:
            del self._names[name]

    def has_process(self, record: Record, pid: int) -> None:
        """The vassal's process has this pid."""
        record.pid = pid
        self._by_pid[pid] = record

    def lost_process(self, pid: int) -> Record | None:
        """The process is gone; gives its vassal."""
        record = self._by_pid.pop(pid, None)
        if record is not None:
            record.pid = None
        return record

    def shown(self, record: Record) -> str:
        """NAME, or MONITOR//NAME where several vassals have that name."""
        monitor, name = record.key
        return name if self._names.get(name, 1) < 2 else f"{monitor}//{name}"
