"""What a plugin has told of its vassals, and what the controller is told for it; pure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace

from emperor.compiler.directives import EXTENSIONS
from emperor.runtime.monitors.plugins import Absent, Change, Found, Present, Snapshot
from emperor.runtime.monitors.sightings import (
    Appeared,
    Attributes,
    AttributesChanged,
    Changed,
    Event,
    Problem,
    Sighting,
    Stamp,
    Vanished,
    attributes_of,
    stamp_of,
)
from emperor.runtime.monitors.sources import NAME_LIMIT, is_too_long, is_vassal_name

#: A longer text is a mistake; in bytes. A request to a compile worker has to hold it, escaped.
MOST_TEXT = 512 * 1024

_NOTHING = Stamp(mtime_ns=0, size=0, inode=0)
_NOBODY = Attributes(ctime_ns=0, uid=0, gid=0, mode=0)


class Ledger:
    """The vassals of one plugin.

    ``now_ns`` is the wall clock; ``stat`` looks at an absolute path and gives nothing if that
    cannot be done. A vassal that is told of in a way that cannot be is left as it was.
    """

    def __init__(
        self,
        *,
        monitor: str,
        cwd: str,
        extra_extensions: tuple[str, ...],
        now_ns: Callable[[], int],
        stat: Callable[[str], os.stat_result | None],
    ) -> None:
        self._monitor = monitor
        self._cwd = cwd
        self._extra_extensions = extra_extensions
        self._now_ns = now_ns
        self._stat = stat
        self._known: dict[str, Sighting] = {}
        self._complaints: dict[str, str] = {}  # by name

    def take(self, change: Change) -> tuple[Event, ...]:
        """Take in what a plugin tells; give what the controller is to be told, in order."""
        match change:
            case Snapshot(vassals=vassals):
                return tuple(self._take_all({vassal.name: vassal for vassal in vassals}))
            case Present(vassal=vassal):
                return tuple(self._take(vassal))
            case Absent(name=name):
                return tuple(self._lose(name))

    def _take_all(self, vassals: dict[str, Found]) -> Iterator[Event]:
        """Those that are gone come first: another may want what they held."""
        for name in {**self._known, **self._complaints}.keys() - vassals.keys():
            yield from self._lose(name)
        for found in vassals.values():
            yield from self._take(found)

    def _lose(self, name: str) -> Iterator[Event]:
        self._complaints.pop(name, None)
        if self._known.pop(name, None) is not None:
            yield Vanished(monitor=self._monitor, name=name)

    def _take(self, found: Found) -> Iterator[Event]:
        name = found.name
        complaint = _complaint(found, self._extra_extensions)
        if complaint is not None:
            yield from self._complain(found, complaint)
            return
        self._complaints.pop(name, None)
        before = self._known.get(name)
        sighting = self._known[name] = self._sighting(found, before)
        if before is None:
            yield Appeared(sighting=sighting)
        elif (before.stamp, before.path) != (sighting.stamp, sighting.path):
            yield Changed(sighting=sighting)
        elif before != sighting:
            yield AttributesChanged(sighting=sighting)

    def _complain(self, found: Found, complaint: str) -> Iterator[Problem]:
        """Say what is wrong with a vassal once, until it was right again."""
        name = found.name
        if self._complaints.get(name) == complaint:
            return
        self._complaints[name] = complaint
        fate = "what runs is kept" if name in self._known else "it is left out"
        message = f"{self._monitor}: {_printable(name)}: {complaint}; {fate}"
        yield Problem(monitor=self._monitor, path=found.path or name, message=message)

    def _sighting(self, found: Found, before: Sighting | None) -> Sighting:
        path = "" if found.path is None else os.path.join(self._cwd, found.path)
        status = self._stat(path) if path else None
        stamp = _NOTHING if status is None else stamp_of(status)
        attributes = _NOBODY if status is None else attributes_of(status)
        if found.text is not None:
            stamp = self._text_stamp(found.text, before)
        if found.mtime is not None:
            stamp = replace(stamp, mtime_ns=int(found.mtime * 1_000_000_000))
        return Sighting(
            monitor=self._monitor,
            name=found.name,
            path=path,
            directory=None,
            stamp=stamp,
            attributes=replace(
                attributes,
                uid=attributes.uid if found.uid is None else found.uid,
                gid=attributes.gid if found.gid is None else found.gid,
            ),
            file=path or None,
            text=found.text,
            socket=found.socket,
            extra=tuple(sorted(found.attributes.items())),
            has_given_owner=found.uid is not None or found.gid is not None,
        )

    def _text_stamp(self, text: str, before: Sighting | None) -> Stamp:
        """A text without a time is as old as our knowledge of it."""
        from hashlib import blake2b  # libcrypto comes with it, for those with plugins alone

        data = os.fsencode(text)
        known = before is not None and before.text == text
        return Stamp(
            mtime_ns=before.stamp.mtime_ns if before and known else self._now_ns(),
            size=len(data),
            inode=int.from_bytes(blake2b(data, digest_size=8).digest()),
        )


def _complaint(found: Found, extra_extensions: tuple[str, ...]) -> str | None:
    """Say why a vassal cannot be taken, if it cannot."""
    for text in (found.name, found.path, found.socket, found.text):
        if text is not None and not _is_encodable(text):
            return "holds characters that are none"
    if not found.name or any("\0" in t for t in (found.name, found.path, found.socket) if t):
        return "has an empty name, or a NUL in its name, path or socket"
    if is_too_long(found.name):
        return f"has a name of more than {NAME_LIMIT} bytes"
    if not is_vassal_name(found.path or found.name, extra_extensions):
        return f"ends in none of {' '.join((*EXTENSIONS, *extra_extensions))}"
    if found.text is not None and len(os.fsencode(found.text)) > MOST_TEXT:
        return f"has a text of more than {MOST_TEXT:,} bytes"
    return None


def _is_encodable(text: str) -> bool:
    """Whether a text stands for bytes: lone surrogates do only where they hide one byte."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)[1:-1]
