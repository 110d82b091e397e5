"""Looks at one file or one directory, once, without ever reading what is in a file."""

import errno
import fcntl
import os
import signal
import stat

from emperor.runtime.monitors.sightings import (
    Finding,
    Missing,
    Seen,
    Sighting,
    Unclear,
    attributes_of,
    stamp_of,
)

# What says that there is nothing; any other error says nothing about the file.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def is_absence(error: OSError) -> bool:
    """Say whether an error means that there is nothing under a path."""
    return error.errno in _ABSENT


def look(
    *, monitor: str, name: str, path: str, directory: str | None, nofollow: bool
) -> Finding:
    """Look at a vassal's file; with ``nofollow`` a link is the vassal, wherever it leads.

    The file itself is not opened: whether somebody holds it is ``is_held``'s to say.
    """
    linked = False
    try:
        status = os.lstat(path)
        linked = stat.S_ISLNK(status.st_mode)
        if linked and not nofollow:
            status = os.stat(path)
    except OSError as error:
        if is_absence(error):
            return Missing(linked=linked)
        # A directory that cannot be searched is one problem, however many files are in it.
        blamed = path if linked else os.path.dirname(path)
        return Unclear(problem=_cannot_look(blamed, error), path=blamed, linked=linked)
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISLNK(status.st_mode):
        return Missing(linked=linked, problem=_not_a_file(path, status.st_mode))
    sighting = Sighting(
        monitor=monitor,
        name=name,
        path=path,
        directory=directory,
        stamp=stamp_of(status),
        attributes=attributes_of(status),
    )
    return Seen(sighting=sighting, linked=linked)


def is_fresh_file(path: str) -> bool:
    """Say whether a new entry is a file that somebody has just begun to write.

    A link, symbolic or hard, and a directory come into being whole.
    """
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def is_held(path: str) -> bool | None:
    """Say whether somebody has a file open for writing; None if the system does not tell.

    It tells the file's owner and root (CAP_LEASE), on local file systems.
    """
    try:
        # Opening a device or a FIFO acts on it: O_PATH does not, and what it has found cannot
        # be exchanged for something else before it is opened for real.
        anchor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(anchor).st_mode):
            return None
        return _refuses_lease(f"/proc/self/fd/{anchor}")
    finally:
        os.close(anchor)


def _refuses_lease(path: str) -> bool | None:
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Somebody who opens the file in this very moment has a signal sent to us, by default
        # SIGIO, which kills; nobody minds this one.
        fcntl.fcntl(opened, fcntl.F_SETSIG, signal.SIGWINCH)
        fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(opened)  # gives the lease back
    return False


def _cannot_look(path: str, error: OSError) -> str:
    reason = os.strerror(error.errno or 0)
    return f"{path}: cannot be looked at ({reason}); what runs is kept, make it readable again"


def _not_a_file(path: str, mode: int) -> str:
    what = "a directory" if stat.S_ISDIR(mode) else "a FIFO" if stat.S_ISFIFO(mode) else None
    return f"{path}: is {what or 'not a regular file'}, not a vassal; remove or rename it"
