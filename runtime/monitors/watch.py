"""The kernel's change events: one inotify instance for everybody who watches a directory."""

import asyncio
import enum
import errno
import os
from dataclasses import dataclass, field
from typing import Protocol

from asyncinotify import Inotify, Mask, Watch

from emperor.runtime.monitors.trust import remote_file_system

_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x2, 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _UNMOUNT, _OVERFLOW, _IGNORED = 0x400, 0x800, 0x2000, 0x4000, 0x8000
_ONLYDIR, _EXCL_UNLINK, _MASK_ADD = 0x01000000, 0x04000000, 0x20000000

_ENTRIES = _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_BASIC = _ENTRIES | _DELETE_SELF | _MOVE_SELF | _ONLYDIR | _EXCL_UNLINK | _MASK_ADD
_GONE = _DELETE_SELF | _MOVE_SELF | _UNMOUNT | _IGNORED
_REPLACED = _MOVED_FROM | _MOVED_TO | _DELETE
_EVENTS_AT_ONCE = 256


class What(enum.Enum):
    """What happened to a directory entry, as far as it matters."""

    CREATED = "created"
    WRITTEN = "written"  # and still open
    CLOSED = "closed"  # after writing
    REPLACED = "replaced"  # moved here, moved away, deleted
    TOUCHED = "touched"  # times, owner or mode
    GONE = "gone"  # the directory itself: it is watched no longer


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """One event: the directory as it was given to ``watch``, and the name in it."""

    directory: str
    name: str | None  # None: the directory itself
    what: What


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Whether a directory is watched, and if its events cannot be relied on, why."""

    armed: bool
    why_polled: str | None = None


class Listener(Protocol):
    """Somebody who watches directories."""

    def on_hints(self, hints: list[Hint]) -> None:
        """Take in what happened, in order."""

    def on_overflow(self) -> None:
        """Take in that events were lost."""


@dataclass(slots=True, kw_only=True)
class _Directory:
    watch: Watch
    writes: dict[Listener, bool] = field(default_factory=dict)  # whether it wants WRITTEN


class Watches:
    """Directories that are watched, each once however many listeners it has."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._directories: dict[str, _Directory] = {}
        self._paths: dict[int, dict[str, None]] = {}  # two paths may lead to one directory
        self._inotify: Inotify | None = None
        self._refused: str | None = None
        try:
            self._open()
        except OSError as error:
            self._refused = _no_inotify(error)

    def watch(self, path: str, listener: Listener, *, writes: bool) -> Outcome:
        """Have a directory's events handed to a listener; ``writes``: each write, too.

        Doing so again makes sure that the watch is on what the path leads to now.
        """
        if self._inotify is None:
            return Outcome(armed=False, why_polled=self._refused)
        try:
            watch = self._inotify.add_watch(path, _mask(_BASIC | (_MODIFY if writes else 0)))
        except OSError as error:
            self._lose(path)
            return Outcome(armed=False, why_polled=_refusal(error))
        self._attach(path, watch)
        listeners = self._directories[path].writes
        listeners[listener] = writes or listeners.get(listener, False)
        remote = remote_file_system(path)
        return Outcome(armed=True, why_polled=remote and _unseen_changes(remote))

    def unwatch(self, path: str, listener: Listener) -> None:
        """Hand no more events of a directory to a listener."""
        entry = self._directories.get(path)
        if entry is not None:
            entry.writes.pop(listener, None)
            if not entry.writes:
                self._detach(path)

    def close(self) -> None:
        """Watch nothing any more."""
        if self._inotify is not None:
            self._loop.remove_reader(self._inotify.fd)
            self._inotify.close()
            self._inotify = None
        self._directories.clear()
        self._paths.clear()

    def _open(self) -> None:
        self._inotify = Inotify(cache_size=64)
        os.set_blocking(self._inotify.fd, False)
        self._loop.add_reader(self._inotify.fd, self._drain)

    def _attach(self, path: str, watch: Watch) -> None:
        entry = self._directories.get(path)
        if entry is not None and entry.watch.wd == watch.wd:
            return
        self._lose(path)
        self._directories[path] = _Directory(watch=watch)
        self._paths.setdefault(watch.wd, {})[path] = None

    def _lose(self, path: str) -> None:
        """Take in that a path leads elsewhere, and have those told who relied on it."""
        listeners = self._detach(path)
        if listeners:
            self._loop.call_soon(self._tell_gone, path, listeners)

    def _tell_gone(self, path: str, listeners: tuple[Listener, ...]) -> None:
        hint = Hint(directory=path, name=None, what=What.GONE)
        self._hand_out({listener: [hint] for listener in listeners}, overflow=False)

    def _detach(self, path: str) -> tuple[Listener, ...]:
        """Watch a path no longer; give those who did."""
        entry = self._directories.pop(path, None)
        if entry is None:
            return ()
        paths = self._paths[entry.watch.wd]
        del paths[path]
        if not paths:
            del self._paths[entry.watch.wd]
            self._remove(entry.watch)
        return tuple(entry.writes)

    def _remove(self, watch: Watch) -> None:
        if self._inotify is None:
            return
        try:
            self._inotify.rm_watch(watch)
        except OSError as error:
            if error.errno != errno.EINVAL:  # it went with its directory
                raise

    def _drain(self) -> None:
        hints: dict[Listener, list[Hint]] = {}
        overflow = False
        for _ in range(_EVENTS_AT_ONCE):
            try:
                event = self._inotify.sync_get() if self._inotify is not None else None
            except BlockingIOError:
                break
            if event is None:
                return
            mask = int(event.mask)
            if mask & _OVERFLOW:
                overflow = True
            elif event.watch is not None:
                name = None if event.name is None else str(event.name)
                self._sort(hints, event.watch.wd, name, mask)
        else:
            self._loop.call_soon(self._drain)  # some may be read already, and wake nobody
        self._hand_out(hints, overflow=overflow)

    def _sort(
        self, hints: dict[Listener, list[Hint]], wd: int, name: str | None, mask: int
    ) -> None:
        paths = tuple(self._paths.get(wd, ()))
        what = _what(mask)
        for path in paths:
            hint = Hint(directory=path, name=name, what=what)
            for listener, writes in self._directories[path].writes.items():
                if writes or what is not What.WRITTEN:
                    hints.setdefault(listener, []).append(hint)
        if what is What.GONE:
            for path in paths:
                self._detach(path)

    def _hand_out(self, hints: dict[Listener, list[Hint]], *, overflow: bool) -> None:
        for listener, mine in hints.items():
            if self._inotify is not None:  # closed by one who was told before
                listener.on_hints(mine)
        if overflow:
            everybody = {who: None for d in self._directories.values() for who in d.writes}
            for listener in everybody:
                listener.on_overflow()


def _mask(bits: int) -> Mask:
    return Mask(bits)


def _what(mask: int) -> What:
    if mask & _GONE:
        return What.GONE
    if mask & _CLOSE_WRITE:
        return What.CLOSED
    if mask & _MODIFY:
        return What.WRITTEN
    if mask & _CREATE:
        return What.CREATED
    return What.REPLACED if mask & _REPLACED else What.TOUCHED


def _no_inotify(error: OSError) -> str:
    reason = os.strerror(error.errno or 0)
    return f"change events are not to be had ({reason}); raise fs.inotify.max_user_instances"


def _refusal(error: OSError) -> str | None:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        return None  # there is nothing to watch, and somebody watches for it to come
    if error.errno == errno.ENOSPC:
        return "no more directories can be watched; raise fs.inotify.max_user_watches"
    return f"it cannot be watched ({os.strerror(error.errno or 0)}); make it readable"


def _unseen_changes(file_system: str) -> str:
    return f"changes that other hosts make on {file_system} send no events"
