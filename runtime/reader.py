"""The compiler's door to the real world: files, commands, addresses, facts of the machine.

Every path that a compile looks at is remembered with its stamp, missing ones too: that is how
the daemon knows later whether compiling again could give something else.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import time
from collections.abc import Callable, Mapping
from functools import cache, cached_property

from emperor.compiler.loading import only_inside_uwsgi
from emperor.compiler.reader import Host, Unreadable
from emperor.runtime.stamps import PathStamp, path_stamp

#: A configuration file larger than this is a mistake.
MOST_BYTES = 16 * 1024 * 1024

#: How long ``exec://`` and ``http://`` may take.
SOURCE_SECONDS = 20.0


class FileReader:
    """Reads for one compile. ``allowed`` names the sources that may be read besides files:
    "fd", "exec", "http". ``given`` are texts that nobody has to read any more, by their
    ``emperor://`` address without a section. ``opened`` are descriptors (O_PATH will do) of
    files, by their path: what is read is what they stand for, whatever has the name by now.
    The commands in ``vital`` must succeed; ``before_commands`` gives the words in front of one.
    With ``shown_as`` (uid and gid) the compile is told that it is done by that user."""

    def __init__(
        self,
        *,
        cwd: str | None = None,
        allowed: frozenset[str] = frozenset(),
        given: Mapping[str, bytes] | None = None,
        opened: Mapping[str, int] | None = None,
        vital: frozenset[str] = frozenset(),
        before_commands: Callable[[], tuple[str, ...]] = tuple,
        shown_as: tuple[int, int] | None = None,
    ) -> None:
        self._cwd = cwd if cwd is not None else os.getcwd()
        self._is_elsewhere = cwd is not None
        self.allowed = allowed
        self._given = {} if given is None else dict(given)
        self._opened = {} if opened is None else dict(opened)
        self._vital = vital
        self._before_commands = before_commands
        self._shown_as = shown_as
        self.looked: dict[str, PathStamp] = {}

    @property
    def cwd(self) -> str:
        """The working directory, absolute."""
        return self._cwd

    def _at(self, path: str, *, is_dependency: bool = True) -> str:
        """The path to open, remembered as a dependency."""
        if "\0" in path:
            path = path.partition("\0")[0]
        full = path
        if self._is_elsewhere and not path.startswith("/"):
            full = f"{self._cwd}/{path}" if path else ""
        if is_dependency and full and full not in self.looked:
            self.looked[full] = path_stamp(full)
        return full

    def host(self) -> Host:
        """Facts for ``%h``, ``%k``, ``%u`` and so on."""
        return self._host

    @cached_property
    def _host(self) -> Host:
        uid, gid = self._shown_as or (os.getuid(), os.getgid())
        now = time.time()
        return Host(
            hostname=os.uname().nodename,
            cpu_count=_processor_count(),
            uid=uid,
            gid=gid,
            user=_user_name(uid),
            group=_group_name(gid),
            start_seconds=int(now),
            start_microseconds=int(now * 1_000_000),
        )

    def read(self, path: str) -> bytes:
        """The content of a regular file. Never waits for a pipe or a device."""
        full = self._at(path)
        if full in self._opened:
            full = f"/proc/self/fd/{self._opened[full]}"
        try:
            descriptor = os.open(full, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            raise _unreadable(error) from None
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            raise _no_file(found.st_mode)
        with open(descriptor, "rb") as file:
            if found.st_size > MOST_BYTES:
                raise _too_large(f"it has {found.st_size:,} bytes")
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise _too_large("it has no end")
        return data

    def read_descriptor(self, number: int) -> bytes:
        """What is left to read of an open descriptor."""
        if "fd" not in self.allowed:
            raise _denied(f"fd://{number}", "fd")
        parts, size = [], 0
        try:
            while part := os.read(number, 65536):
                parts.append(part)
                size += len(part)
                if size > MOST_BYTES:
                    raise _too_large("it has no end")
        except OSError as error:
            raise _unreadable(error) from None
        return b"".join(parts)

    def run(self, command: str) -> bytes:
        """What a shell command prints, within a time and a size."""
        if "exec" not in self.allowed:
            raise _denied(f"exec://{command}", "exec")
        from emperor.runtime.commands import shell_output

        return shell_output(
            command,
            cwd=self._cwd,
            most_bytes=MOST_BYTES,
            must_succeed=command in self._vital,
            before=self._before_commands(),
        )

    def fetch(self, url: str) -> bytes:
        """The body behind an ``http://`` address, or the text given for an ``emperor://`` one.

        Other than on uWSGI's config pipe a text may be read more than once.
        """
        if url in self._given:
            return self._given[url]
        if url.startswith("emperor://"):
            raise only_inside_uwsgi("emperor")
        if "http" not in self.allowed:
            raise _denied(url, "http")
        from emperor.runtime.commands import http_body

        return http_body(url, most_bytes=MOST_BYTES, seconds=SOURCE_SECONDS)

    def resolve(self, name: str) -> str:
        """The IPv4 address of a host name."""
        import socket  # a thousand constants that almost nobody needs

        try:
            return socket.gethostbyname(name)
        except OSError as error:
            raise Unreadable("unresolved", error.strerror or str(error)) from None

    def real_path(self, path: str) -> str:
        """The path without links."""
        full = self._at(path)
        try:
            return os.path.realpath(full, strict=True)
        except OSError as error:
            raise _unreadable(error) from None

    def is_link(self, path: str) -> bool:
        """Whether the path itself is a symbolic link."""
        return os.path.islink(self._at(path, is_dependency=False))

    def inode(self, path: str) -> int | None:
        """The inode of the path itself."""
        try:
            return os.lstat(self._at(path, is_dependency=False)).st_ino
        except OSError:
            return None

    def is_readable(self, path: str) -> bool:
        """Whether the path exists and may be read."""
        return os.access(self._at(path), os.R_OK)

    def is_executable(self, path: str) -> bool:
        """Whether the path is a regular file that may be executed."""
        full = self._at(path)
        return os.path.isfile(full) and os.access(full, os.X_OK)

    def is_file(self, path: str) -> bool:
        """Whether the path is a regular file."""
        return os.path.isfile(self._at(path))

    def is_directory(self, path: str) -> bool:
        """Whether the path is a directory."""
        return os.path.isdir(self._at(path))

    def glob(self, pattern: str) -> list[str]:
        """What glob(3) finds, relative patterns giving relative names."""
        from emperor.runtime.globbing import glob3

        directory = self._cwd if self._is_elsewhere else None
        found, directories = glob3(pattern, directory)
        for path in directories:
            self._at(path)
        return found

    def names(self, directory: str) -> list[str]:
        """The names in a directory, sorted."""
        try:
            return sorted(os.listdir(self._at(directory)))
        except OSError as error:
            raise _unreadable(error) from None


@cache
def _processor_count() -> int:
    return os.sysconf("SC_NPROCESSORS_ONLN")


@cache
def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@cache
def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _unreadable(error: OSError) -> Unreadable:
    reason = error.strerror or str(error)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Unreadable("missing-file", reason, "create the file, or correct the name")
    if isinstance(error, PermissionError):
        return Unreadable("unreadable", reason, "let the user that compiles read it")
    return Unreadable("unreadable", reason)


def _no_file(mode: int) -> Unreadable:
    kinds = ((stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a named pipe"))
    kind = next((text for test, text in kinds if test(mode)), "no regular file")
    return Unreadable("not-a-file", f"it is {kind}", "put a regular file there")


def _too_large(what: str) -> Unreadable:
    remedy = f"a configuration has at most {MOST_BYTES:,} bytes"
    return Unreadable("too-large", what, remedy)


def _denied(source: str, scheme: str) -> Unreadable:
    remedy = f"allow it with --allow {scheme} if you trust the file"
    return Unreadable("source-denied", f"{scheme}:// is not allowed here", remedy)
