"""Where a program's captured output goes when it has a log file: one thread writes them all."""

from __future__ import annotations

import functools
import threading
from queue import SimpleQueue

from emperor.runtime.programs.log_file import LogFile
from emperor.runtime.tenants.privileges import Owner

#: More than that does not wait for a slow disk, for one file and for all together.
MOST_QUEUED_BYTES = 1024 * 1024
MOST_QUEUED_BYTES_OF_ALL = 64 * 1024 * 1024


#: A file has at least room for so much, or renaming would be all that the thread does.
LEAST_BYTES = 65_536


class FileSink:
    """Output on its way to a log file, which is rotated by size (``LogFile``).

    Opened with the first output. All sinks of a writer are written to by one and the same
    thread of the daemon; ``writer`` is the one that they share if it is not given. What cannot
    be written, or does not fit into the queue, is dropped; a line in the file says how much.
    """

    def __init__(
        self,
        path: str,
        *,
        most_bytes: int,
        keep: int,
        owner: Owner | None,
        vassal: str | None = None,
        writer: Writer | None = None,
    ) -> None:
        self._file = LogFile(path, most_bytes=most_bytes, keep=keep, owner=owner, vassal=vassal)
        self._writer = shared_writer() if writer is None else writer
        self._is_closed = False
        # Each of these is changed by one of the two threads alone, so no lock is needed.
        self._given = self._done = 0
        self._refused = self._confessed = self._lost = 0

    def write(self, data: bytes) -> bool:
        """Have it written soon; says whether it is taken. Never waits, never raises."""
        if self._is_closed:
            return False
        fits = self._given - self._done + len(data) <= MOST_QUEUED_BYTES
        if not fits or not self._writer.take(self, data):
            self._refused += len(data)
            return False
        self._given += len(data)
        return True

    def close(self) -> None:
        """Take nothing any more, and close the file when all is written. Never waits."""
        if not self._is_closed:
            self._is_closed = True
            self._writer.take(self, None)

    def put(self, data: bytes | None) -> None:
        """Write it to the file, or close that; for the writer's thread."""
        self._confess()
        if data is None:
            self._file.close()
            return
        self._lost += len(data) - self._file.append(data)
        self._done += len(data)

    def _confess(self) -> None:
        """Say in the file how much is missing there."""
        missing = self._refused + self._lost
        if missing == self._confessed:
            return
        start = b"" if self._file.is_at_line_start else b"\n"
        count = missing - self._confessed
        line = b"%s[emperor] %d bytes of output were dropped\n" % (start, count)
        if self._file.append(line) == len(line):
            self._confessed = missing


class Writer:
    """The thread that writes for sinks; it starts with the first output. ``take`` belongs to
    one other thread, the loop's."""

    def __init__(self, *, most_bytes: int = MOST_QUEUED_BYTES_OF_ALL) -> None:
        self._most_bytes = most_bytes
        self._queue: SimpleQueue[tuple[FileSink, bytes | None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._given = self._done = 0  # as in the sink

    def take(self, sink: FileSink, data: bytes | None) -> bool:
        """Have a sink put it soon; says whether there is room for it."""
        size = len(data or b"")
        if self._given - self._done + size > self._most_bytes or not self._is_running():
            return False
        self._given += size
        self._queue.put((sink, data))
        return True

    def finish(self, seconds: float) -> bool:
        """Wait until all is written, so long at most, and end the thread; says whether it is
        done. Blocks: it is for the very end, after the sinks are closed."""
        if self._thread is None:
            return True
        self._queue.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _is_running(self) -> bool:
        if self._thread is not None and self._thread.is_alive():
            return True
        self._thread = threading.Thread(target=self._work, name="log writer", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread to be had: with the next output, perhaps
            self._thread = None
            return False
        return True

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            sink, data = item
            sink.put(data)
            self._done += len(data or b"")


@functools.cache
def shared_writer() -> Writer:
    """The writer of all sinks that are given no other."""
    return Writer()
