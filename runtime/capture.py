"""The last of what a vassal writes, kept for whoever asks why it died."""

from __future__ import annotations

import asyncio
import os
from typing import Protocol

#: How much of it is kept, in bytes.
KEPT_BYTES = 4096

_CHUNK_BYTES = 65_536


class Taker(Protocol):
    """Whoever takes what is written, and never makes anybody wait."""

    def write(self, data: bytes) -> bool:
        """Take it; says whether it was taken."""


class Capture:
    """A pipe for a vassal's output: what comes is passed on, to the daemon's own standard error
    or to a log, and the end of it kept. Made inside a running loop. Raises OSError (EMFILE)."""

    def __init__(self, outlet: Taker) -> None:
        self._loop = asyncio.get_running_loop()
        self._outlet = outlet
        self._tail = b""
        self._read_end, self._write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read_end, False)  # the other end blocks, as a terminal does
        self._loop.add_reader(self._read_end, self._read)

    def theirs(self) -> dict[int, int]:
        """The vassal's end: its standard output and error -> our descriptor."""
        return {1: self._write_end, 2: self._write_end}

    def handed_over(self) -> None:
        """Close the vassal's end here."""
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1

    @property
    def text(self) -> str:
        """The end of what was written, whole lines where that is possible."""
        tail = self._tail
        if len(tail) == KEPT_BYTES:
            tail = tail.partition(b"\n")[2] or tail
        return tail.decode("utf-8", "replace")

    def close(self) -> None:
        """Take what is left in the pipe, and close it; the text stays."""
        if self._read_end < 0:
            return
        self.handed_over()
        while self._read_end >= 0 and self._read():
            pass
        self._close_read_end()

    def _read(self) -> bool:
        """Take one chunk; says whether there may be more."""
        try:
            data = os.read(self._read_end, _CHUNK_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._close_read_end()
            return False
        self._outlet.write(data)
        self._tail = (self._tail + data)[-KEPT_BYTES:]
        return len(data) == _CHUNK_BYTES

    def _close_read_end(self) -> None:
        if self._read_end >= 0:
            self._loop.remove_reader(self._read_end)
            os.close(self._read_end)
            self._read_end = -1
