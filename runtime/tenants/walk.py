"""A path, walked by descriptors with every name looked up once, and what lies along it."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from typing import NamedTuple, Self

HOP_LIMIT = 40  # the kernel's own
STEP_LIMIT = 512  # names altogether: links of 4 KiB each could keep the daemon busy for long
# These say that the system is in trouble, nothing of the file.
_PASSING = {
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
}


class Entry(NamedTuple):
    """A file, directory or link as its descriptor shows it."""

    path: str  # where it lies, with the links in front of it resolved
    uid: int
    gid: int
    mode: int  # st_mode


class Link(NamedTuple):
    """A link that was gone through, and the directory or file that it leads to in the end."""

    entry: Entry
    goal: Entry


class Trail(NamedTuple):
    """What lies along a path that leads to a file; whoever has it closes the descriptor."""

    directories: tuple[Entry, ...]  # all that were walked through, from the root on
    holders: tuple[Entry, ...]  # those of them that hold the file, or a link to it
    detours: tuple[Link, ...]  # links in the place of directories
    links: tuple[Link, ...]  # links to the file, the path's own last name first
    file: Entry
    descriptor: int  # of the file, O_PATH


class Lost(Exception):
    """A path that leads to no file, or cannot be walked."""

    def __init__(self, reason: str, remedy: str, *, is_passing: bool = False) -> None:
        """Take a sentence part, a command, and whether another try may go well."""
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.is_passing = is_passing


def walk(path: str) -> Trail:
    """Walk an absolute path to the file at its end; raises Lost.

    Nothing is read but links, and nothing is opened but as O_PATH: a FIFO does not block, a
    device is not touched. Whoever exchanges something on the way gets the path as it was at
    the moment of each single look-up, and it is those very things that are told of.
    """
    if not _is_walkable(path):
        raise Lost(f"its file {path!a} is no absolute path", "emperor status")
    with _Walk(path) as way:
        return way.to_the_end()


def quoted(path: str) -> str:
    """A path as a word of the shell, and as one printable line."""
    if path.isprintable():
        return shlex.quote(path)
    raw = os.fsencode(path)
    plain = [chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in raw]
    return "$'" + "".join("\\" + c if c in "\\'" else c for c in plain) + "'"


class _Walk:
    """One walk: where it is, what is ahead, and every descriptor that it holds."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._ahead = _names(path)[::-1]
        self._stack: list[tuple[int, Entry]] = []
        self._file: tuple[int, Entry] | None = None
        self._unsettled: list[tuple[Entry, int]] = []  # links, and how much was ahead of them
        self._directories: list[Entry] = []
        self._holders: list[Entry] = []
        self._detours: list[Link] = []
        self._links: list[Link] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._back_to(0)
        if error is not None and self._file is not None:
            os.close(self._file[0])

    def to_the_end(self) -> Trail:
        self._step_into("/")
        steps = hops = 0
        while self._ahead:
            steps += 1
            name = self._ahead.pop()
            if name == "..":
                self._back_to(max(1, len(self._stack) - 1))
            elif name != ".":
                hops += self._step_into(name)
            if steps > STEP_LIMIT or hops > HOP_LIMIT:
                what = "names" if steps > STEP_LIMIT else "links"
                raise self._lost(self._path, f"has too many {what} on its way")
            self._settle()
        if self._file is None:
            raise self._lost(self._stack[-1][1].path, "is a directory")
        descriptor, file = self._file
        return Trail(
            directories=tuple(self._directories),
            holders=tuple(self._holders),
            detours=tuple(self._detours),
            links=tuple(reversed(self._links)),
            file=file,
            descriptor=descriptor,
        )

    def _step_into(self, name: str) -> bool:
        """Look a name up, once; says whether it is a link."""
        here = self._stack[-1] if self._stack else None
        path = name if here is None else f"{here[1].path.rstrip('/')}/{name}"
        descriptor = self._open(name, path, None if here is None else here[0])
        is_kept = False
        try:
            found = os.fstat(descriptor)
            entry = Entry(path, found.st_uid, found.st_gid, found.st_mode)
            is_link = stat.S_ISLNK(entry.mode)
            if here is not None and not self._ahead and not stat.S_ISDIR(entry.mode):
                self._holders.append(here[1])
            if is_link:
                self._follow(entry, descriptor)
            else:
                self._keep(entry, descriptor)
                is_kept = True
        except OSError as error:
            raise self._refused(error, path) from None
        finally:
            if not is_kept:
                os.close(descriptor)
        return is_link

    def _open(self, name: str, path: str, directory: int | None) -> int:
        try:
            return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        except OSError as error:
            raise self._refused(error, path) from None

    def _follow(self, link: Entry, descriptor: int) -> None:
        # An empty name means the link that the descriptor holds: it is not looked up again.
        text = os.readlink("", dir_fd=descriptor)
        self._unsettled.append((link, len(self._ahead)))
        self._ahead += _names(text)[::-1]
        if text.startswith("/"):
            self._back_to(1)

    def _keep(self, entry: Entry, descriptor: int) -> None:
        if stat.S_ISDIR(entry.mode):
            self._stack.append((descriptor, entry))
            self._directories.append(entry)
        elif self._ahead:
            raise self._lost(entry.path, f"is {kind(entry.mode)}, no directory")
        elif not stat.S_ISREG(entry.mode):
            raise self._lost(entry.path, f"is {kind(entry.mode)}")
        else:
            self._file = (descriptor, entry)

    def _settle(self) -> None:
        """Note where links lead whose text has been walked."""
        goal = self._stack[-1][1] if self._file is None else self._file[1]
        while self._unsettled and self._unsettled[-1][1] >= len(self._ahead):
            link, left = self._unsettled.pop()
            (self._detours if left else self._links).append(Link(link, goal))

    def _back_to(self, depth: int) -> None:
        # ".." is the parent that was walked: the directory may have been moved since.
        while len(self._stack) > depth:
            os.close(self._stack.pop()[0])

    def _refused(self, error: OSError, path: str) -> Lost:
        if error.errno == errno.ENOENT:
            return self._lost(path, "does not exist")
        remedy = None
        if error.errno == errno.EACCES and self._stack:
            remedy = f"chmod o+x {quoted(self._stack[-1][1].path)}"
        if error.errno == errno.EMFILE:
            remedy = f"prlimit --nofile=65536 --pid {os.getpid()}"
        return self._lost(
            path,
            f"cannot be looked at: {error.strerror}",
            remedy=remedy,
            is_passing=error.errno in _PASSING,
        )

    def _lost(
        self, path: str, what: str, *, remedy: str | None = None, is_passing: bool = False
    ) -> Lost:
        subject = f"its file {quoted(self._path)}"
        if path != self._path:
            subject = f"{quoted(path)}, on the way to {subject},"
        return Lost(
            f"{subject} {what}",
            f"namei -l {quoted(self._path)}" if remedy is None else remedy,
            is_passing=is_passing,
        )


def kind(mode: int) -> str:
    """What sort of file a mode tells of."""
    for is_so, what in (
        (stat.S_ISREG, "a file"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISBLK, "a block device"),
    ):
        if is_so(mode):
            return what
    return "no regular file"


def _is_walkable(path: str) -> bool:
    try:
        raw = os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return raw.startswith(b"/") and b"\0" not in raw


def _names(text: str) -> list[str]:
    names = [name for name in text.split("/") if name]
    # A slash at the end asks for a directory.
    return [*names, "."] if text.endswith("/") else names
