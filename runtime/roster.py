"""The vassals that the controller holds, by key and by the name people use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from emperor.runtime.capture import Capture
from emperor.runtime.channel import Channel
from emperor.runtime.chronicle import Chronicle
from emperor.runtime.events import Event
from emperor.runtime.law.state import Vassal
from emperor.runtime.monitors.sightings import Sighting
from emperor.runtime.programs.equipment import Equipment
from emperor.runtime.programs.notify import NotifySocket
from emperor.runtime.sockets import Listener
from emperor.runtime.stamps import PathStamp
from emperor.runtime.views import Key

log = logging.getLogger("emperor")


@dataclass(slots=True, eq=False)
class Record:
    """The daemon's book-keeping of one vassal; what it decides by is in ``state``.

    ``early`` is what the process said before the guardian told its pid; ``findings`` are the
    last ones that were logged; ``dependencies`` belong to the last good compile. ``is_first``:
    it was there when the Emperor came, and has not been started yet. ``zergs`` are the keys of
    the instances that it asked for, and it is their ``lord``. ``heir`` is the process that is
    to take its place, and it is that one's ``elder``; each has ``equipment`` of its own.
    """

    key: Key
    sighting: Sighting
    state: Vassal
    chronicle: Chronicle
    section: str | None = None
    is_first: bool = False
    channel: Channel | None = None
    capture: Capture | None = None
    notify: NotifySocket | None = None
    equipment: Equipment | None = None
    listener: Listener | None = None
    listens_at: str = ""
    pid: int | None = None
    last_pid: int = 0
    timer: asyncio.TimerHandle | None = None
    timer_at: float | None = None
    early: bytes = b""
    findings: tuple[str, ...] = ()
    dependencies: tuple[tuple[str, PathStamp], ...] = ()
    is_broken: bool = False
    is_retry_due: bool = False
    retried_at: float = -1e9
    heir: Record | None = None
    elder: Record | None = None
    lord: Record | None = None
    zergs: list[Key] = field(default_factory=list)
    inbox: list[Event] = field(default_factory=list)

    @property
    def path_key(self) -> str:
        """The key under which the monitors watch paths for this vassal."""
        return "\0".join(self.key)

    @property
    def uwsgi_id(self) -> str:
        """The name as uWSGI has it: every zerg of app.ini is "app.ini:zerg"."""
        return self.key[1] if self.section is None else f"{self.sighting.name}:{self.section}"


class Roster:
    """All records."""

    def __init__(self) -> None:
        self._records: dict[Key, Record] = {}
        self._names: dict[str, dict[Key, Record]] = {}

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
        self._names.setdefault(record.key[1], {})[record.key] = record

    def remove(self, record: Record) -> None:
        """Let a vassal go."""
        del self._records[record.key]
        name = record.key[1]
        del self._names[name][record.key]
        if not self._names[name]:
            del self._names[name]

    def exchange(self, heir: Record, elder: Record, free: Key) -> None:
        """Give the heir its elder's key, and the elder one that nobody has."""
        key = elder.key
        for record in (heir, elder):
            self.remove(record)
        heir.key, elder.key = key, free
        for record in (heir, elder):
            self.add(record)

    def find(self, name: str) -> tuple[Record, ...]:
        """The vassals of that name: NAME, MONITOR//NAME, or NAME:zerg for all its zergs."""
        if name in self._names:
            return tuple(self._names[name].values())
        for place in range(len(name)):  # both a monitor and a name may hold slashes
            if name.startswith("//", place):
                record = self._records.get((name[:place], name[place + 2 :]))
                if record is not None:
                    return (record,)
        file, _, section = name.rpartition(":")
        zergs = [key for record in self._names.get(file, {}).values() for key in record.zergs]
        found = [self._records[key] for key in zergs if key in self._records]
        return tuple(record for record in found if record.section == section)

    def shown(self, record: Record) -> str:
        """NAME, or MONITOR//NAME where several vassals have that name."""
        monitor, name = record.key
        return name if len(self._names.get(name, ())) < 2 else f"{monitor}//{name}"

    def log(self, record: Record, level: int, message: str) -> None:
        """Log something about a vassal, under the name people use."""
        if log.isEnabledFor(level):
            log.log(level, message, extra={"vassal": self.shown(record)})
