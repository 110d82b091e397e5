"""The socket itself: nobody else's is taken, and nobody else gets in."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Mapping

from emperor.runtime.addresses import parse
from emperor.runtime.control.places import default_path
from emperor.runtime.sockets import Listener, listen

log = logging.getLogger("emperor.control")

#: Said for the path: no control socket is wanted.
NONE = "none"

#: How many clients may wait to be let in.
_BACKLOG = 128


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
        log.warning("no control socket: %s (emperor-control)", error.strerror or error)
        return None


def listen_at(path: str, *, uid: int | None = None, gid: int | None = None) -> Listener:
    """Listen at this path, as a file that only its owner can use from the first moment.

    The owner becomes ``uid`` and ``gid``, whom the daemon is going to be. The directory is
    made if it is missing, for the owner alone. What a dead daemon has left is replaced.
    Raises OSError with a message that names the path.
    """
    try:
        address = parse(os.path.abspath(path))
    except ValueError as error:
        raise OSError(errno.ENAMETOOLONG, str(error)) from None
    _make_directory(os.path.dirname(address.name), uid, gid)
    listener = listen(address, backlog=_BACKLOG, mode=0o600, owner=(uid, gid))
    listener.socket.setblocking(False)
    return listener


def _make_directory(directory: str, uid: int | None, gid: int | None) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)
        if uid is not None:
            os.chown(directory, uid, -1 if gid is None else gid)
