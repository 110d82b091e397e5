"""A log file that is renamed when it is full, and opened anew when somebody else renamed it.

The handlers of ``logging`` are not used: the one that rotates does not notice what others do
to the file, the one that notices does not rotate, and both follow links.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from emperor.runtime.tenants.privileges import Owner, as_files_of

log = logging.getLogger("emperor.log_file")

#: How often it is looked whether the file is still the one of that name, in seconds.
LOOK_SECONDS = 1.0

#: When old files cannot be renamed, it is tried again after so many seconds; until then the
#: file grows.
RETRY_SECONDS = 60.0

#: A full file may have so much more, to end a line; a longer one is cut.
LONGEST_LINE_BYTES = 65_536

#: No more old files than that are kept.
MOST_KEPT = 100

_MODE = 0o640

# No link, no waiting for somebody who reads a FIFO or holds a lease, no terminal of ours.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class LogFile:
    """Appends to a file of ``most_bytes`` and a line at most; for a thread that may wait.

    A full one becomes FILE.1, that FILE.2, and so on; ``keep`` of them are kept, and with none
    the file is emptied. Lines stay whole. With ``most_bytes`` 0 it has no end. With an
    ``owner`` files are found, made, renamed and removed with that user's rights. Only a regular
    file is written to. What goes wrong is logged, once until it goes well again, with the
    vassal's name. ``clock`` gives monotonic seconds.
    """

    def __init__(
        self,
        path: str,
        *,
        most_bytes: int,
        keep: int,
        owner: Owner | None,
        vassal: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.is_at_line_start = True
        self._most_bytes = max(most_bytes, 0)
        self._keep = min(keep, MOST_KEPT)
        self._owner = owner
        self._vassal = vassal
        self._clock = clock
        self._descriptor = -1
        self._looked_at = 0.0
        self._grows_until: float | None = None
        self._trouble: str | None = None

    def append(self, data: bytes) -> int:
        """Write it to the end of the file, or of several; says how many bytes were written.

        Never raises: less than all are written where the file cannot be.
        """
        written = 0
        try:
            self._follow()
            while written < len(data):
                count = self._fitting(data[written:] if written else data)
                if count == 0:
                    self._make_room()
                    continue
                count = os.write(self._descriptor, data[written : written + count])
                written += count
                self.is_at_line_start = data[written - 1] == ord("\n")
        except (OSError, ValueError) as error:  # ValueError: a name that cannot be
            reason = error.strerror if isinstance(error, OSError) else error
            self._complain(f"{reason}; output is lost until it can be written")
            return written
        if self._grows_until is None:
            self._trouble = None
        return written

    def close(self) -> None:
        """Close the file; the next ``append`` opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _follow(self) -> None:
        """Have the file of that name open, as of a moment ago."""
        now = self._clock()
        if self._descriptor >= 0 and now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        with self._rights():
            if self._descriptor < 0 or self._is_another():
                self._open()

    def _fitting(self, data: bytes) -> int:
        """How much of it is to be written before anything else is done."""
        size = os.fstat(self._descriptor).st_size
        room = self._most_bytes - size
        if len(data) <= room or not self._most_bytes or self._grows():
            return len(data)
        whole_lines = data.rfind(b"\n", 0, max(room, 0)) + 1
        if whole_lines or (size and self.is_at_line_start):
            return whole_lines
        room = max(room + LONGEST_LINE_BYTES, 0)  # to end a line that was begun
        return data.find(b"\n", 0, room) + 1 or min(room, len(data))

    def _grows(self) -> bool:
        if self._grows_until is not None and self._clock() >= self._grows_until:
            self._grows_until = None
        return self._grows_until is not None

    def _make_room(self) -> None:
        with self._rights():
            if self._is_another():  # somebody else has made room
                self._open()
            elif self._keep < 1:
                os.ftruncate(self._descriptor, 0)
            elif self._rename():
                self._open()

    def _rename(self) -> bool:
        """Rename the file and the older ones; says whether that could be done."""
        names = [self.path, *(f"{self.path}.{number + 1}" for number in range(self._keep))]
        try:
            for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(newer, older)
        except OSError as error:
            self._grows_until = self._clock() + RETRY_SECONDS
            self._complain(f"it is full and cannot be renamed: {error.strerror}; it grows on")
            return False
        return True

    def _is_another(self) -> bool:
        """Whether the file of that name is not the one that is open."""
        ours = os.fstat(self._descriptor)
        try:
            named = os.lstat(self.path)
        except FileNotFoundError:
            return True
        return (named.st_dev, named.st_ino) != (ours.st_dev, ours.st_ino)

    def _open(self) -> None:
        self.close()
        try:
            opened = os.open(self.path, _FLAGS)
        except FileNotFoundError:
            opened = os.open(self.path, _FLAGS | os.O_CREAT | os.O_EXCL, _MODE)
            os.fchmod(opened, _MODE)  # the umask is the whole process's, and changes at times
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            os.close(opened)
            raise OSError(errno.EINVAL, "it is no regular file")
        if self._owner is not None and status.st_uid != self._owner.uid:
            # whoever may write to it: below /proc/self is the daemon itself
            os.close(opened)
            raise OSError(errno.EPERM, "it is somebody else's")
        self._descriptor = opened

    def _rights(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext() if self._owner is None else as_files_of(self._owner)

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            extra = {"vassal": self._vassal}
            log.warning("log file %s: %s", self.path, trouble, extra=extra)
