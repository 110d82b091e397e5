"""The socket itself: nobody else's is taken, and nobody else gets in."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from emperor.runtime.control.places import default_path

log = logging.getLogger("emperor.control")

#: Said for the path: no control socket is wanted.
NONE = "none"

#: How many clients may wait to be let in.
_BACKLOG = 128

#: The kernel's limit for a unix socket's path.
_MOST_PATH_BYTES = 107


class AddressTaken(OSError):
    """Another daemon listens there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A listening socket, and the file that is its address (device and inode)."""

    channel: socket.socket
    path: str
    identity: tuple[int, int]

    def close(self) -> None:
        """Stop listening; the file goes too if it is still this socket's."""
        self.channel.close()
        with contextlib.suppress(OSError):  # the directory may be root's
            if _identity(os.lstat(self.path)) == self.identity:
                os.unlink(self.path)


def open_listener(
    said: str | None,
    *,
    environ: Mapping[str, str],
    uid: int | None = None,
    gid: int | None = None,
) -> Listener | None:
    """The daemon's socket, for its option ``emperor-control``; nothing if it has none.

    Raises OSError if the place that was ``said`` cannot be used. Where nothing was said, the
    daemon does without, and the log tells why. ``uid`` and ``gid`` are as in ``listen_at``.
    """
    if said == NONE:
        return None
    if said is not None:
        return listen_at(said, uid=uid, gid=gid)
    path = default_path(environ, os.geteuid())
    if path is None:
        log.info("no control socket: emperor-control names a path for one")
        return None
    try:
        return listen_at(path, uid=uid, gid=gid)
    except OSError as error:
        reason = error.strerror or str(error)
        log.warning("no control socket at %s: %s (emperor-control)", path, reason)
        return None


def listen_at(path: str, *, uid: int | None = None, gid: int | None = None) -> Listener:
    """Listen at this path, as a file that only its owner can use from the first moment.

    The owner becomes ``uid`` and ``gid``, whom the daemon is going to be. The directory is
    made if it is missing, for the owner alone. What a dead daemon has left is replaced.
    Raises ``AddressTaken``, or another OSError (something there is no socket).
    """
    path = os.path.abspath(path)
    if len(os.fsencode(path)) > _MOST_PATH_BYTES:
        reason = f"a socket's path has at most {_MOST_PATH_BYTES} bytes"
        raise OSError(errno.ENAMETOOLONG, reason, path)
    _make_directory(os.path.dirname(path), uid, gid)
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        _bind(channel, path)
        listener = Listener(channel=channel, path=path, identity=_hand_over(path, uid, gid))
    except BaseException:
        channel.close()
        raise
    channel.listen(_BACKLOG)
    return listener


def _make_directory(directory: str, uid: int | None, gid: int | None) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)
        if uid is not None:
            os.chown(directory, uid, -1 if gid is None else gid)


def _bind(channel: socket.socket, path: str) -> None:
    with _umask(0o177):
        try:
            channel.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise OSError(error.errno, error.strerror, path) from None
            _remove_stale(path)
            channel.bind(path)


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _remove_stale(path: str) -> None:
    """Remove the socket of a daemon that is dead."""
    there = os.lstat(path)
    if not stat.S_ISSOCK(there.st_mode):
        raise OSError(errno.EEXIST, "there is something that is no socket", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        code = probe.connect_ex(path)
    if code in (0, errno.EAGAIN):
        raise AddressTaken(errno.EADDRINUSE, "another daemon listens there", path)
    if code != errno.ECONNREFUSED:
        raise OSError(code, os.strerror(code), path)
    if _identity(os.lstat(path)) == _identity(there):  # nobody else was quicker
        os.unlink(path)


def _hand_over(path: str, uid: int | None, gid: int | None) -> tuple[int, int]:
    """Give the socket to its owner; gives which file it is."""
    # by descriptor: in a directory of somebody else's the name may lead elsewhere by now
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        there = os.fstat(descriptor)
        if uid is not None and stat.S_ISSOCK(there.st_mode):
            os.chown(f"/proc/self/fd/{descriptor}", uid, -1 if gid is None else gid)
        return _identity(there)
    finally:
        os.close(descriptor)


def _identity(there: os.stat_result) -> tuple[int, int]:
    return there.st_dev, there.st_ino
