"""A program's captured output on its way to the journal: systemd's stream protocol.

No library is used: systemd-python and cysystemd send single datagrams, or block.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

#: Where journald listens.
SOCKET_PATH = "/run/systemd/journal/stdout"

#: After a failure it is tried again so many seconds later.
RETRY_SECONDS = 1.0

_INFORMATIONAL = 6

# As systemd does it: room for a burst while journald is busy; the kernel gives what it may.
_BUFFER_BYTES = 8 * 1024 * 1024


class JournalSink:
    """Lines for the journal, under ``identifier``; a line may begin with its priority, as in
    ``<3>``. What journald does not take at once is dropped; a line there says how much.
    ``clock`` gives monotonic seconds."""

    def __init__(
        self,
        identifier: str,
        *,
        socket_path: str = SOCKET_PATH,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._header = _header(identifier)
        self._socket_path = socket_path
        self._clock = clock
        self._socket: socket.socket | None = None
        self._try_at = clock()
        self._is_closed = False
        self._is_at_line_start = True
        self._dropped = 0

    def write(self, data: bytes) -> bool:
        """Write it; says whether all of it was. Never waits, never raises."""
        if self._is_closed or not data:
            return not self._is_closed
        confession = self._confession()
        sent = self._send(confession + data)
        if sent < len(confession):
            self._dropped += len(data)
            return False
        self._dropped = len(confession) + len(data) - sent
        return not self._dropped

    def close(self) -> None:
        """Write nothing any more."""
        self._is_closed = True
        self._hang_up()

    def _confession(self) -> bytes:
        if not self._dropped:
            return b""
        start = b"" if self._is_at_line_start else b"\n"
        return b"%s[emperor] %d bytes of output were dropped\n" % (start, self._dropped)

    def _send(self, data: bytes) -> int:
        """Send what can be sent at once; says how many bytes that were."""
        connected = self._connected()
        if connected is None:
            return 0
        try:
            sent = connected.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        except OSError:  # journald has been started anew: the new one may be there already
            self._hang_up()
            return self._send(data)
        self._is_at_line_start = data[sent - 1] == ord("\n")
        return sent

    def _connected(self) -> socket.socket | None:
        """The connection, made anew where there is none; not more often than once a second."""
        now = self._clock()
        if self._socket is None and now >= self._try_at:
            self._try_at = now + RETRY_SECONDS
            self._socket = _connect(self._socket_path, self._header)
            self._is_at_line_start = True
        return self._socket

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _connect(path: str, header: bytes) -> socket.socket | None:
    connected: socket.socket | None = None
    try:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        connected.connect(path)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        connected.send(header, socket.MSG_NOSIGNAL)  # it fits: nothing was sent before
    except OSError:
        if connected is not None:
            connected.close()
        return None
    return connected


def _header(identifier: str) -> bytes:
    """What a stream begins with: identifier, unit, priority, whether lines may begin with
    theirs, and whether syslog, kernel log and console get them too."""
    name = identifier.translate({ord("\n"): "_", 0: "_"})
    fields = (name, "", str(_INFORMATIONAL), "1", "0", "0", "0")
    return "".join(f"{field}\n" for field in fields).encode("utf-8", "replace")
