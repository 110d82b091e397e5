"""One reader of the stats: it is asked, written to, and let go of, and never waited for."""

from __future__ import annotations

import asyncio
import enum
import socket
import struct
from collections.abc import Callable

#: How long a reader may take for everything, in seconds.
CLIENT_SECONDS = 10.0

#: How long an HTTP reader that says nothing is listened to before it is answered, in seconds.
REQUEST_SECONDS = 1.0

#: How long, and for how many bytes, a reader is listened to after it has its answer. Were the
#: socket closed on something unread, the kernel would throw away what is still on its way.
LINGER_SECONDS = 2.0
LINGER_BYTES = 64 * 1024

_WRITE_BYTES = 256 * 1024

#: For SO_LINGER: on, and for no time.
_AT_ONCE = struct.pack("ii", 1, 0)

_HTTP_HEAD = (
    "HTTP/1.1 200 OK\r\n"
    "Content-Type: application/json\r\n"
    "Content-Length: {length}\r\n"
    "Connection: close\r\n"
    "Cache-Control: no-store\r\n"
    # as uWSGI does: dashboards are pages of other origins
    "Access-Control-Allow-Origin: *\r\n"
    "\r\n"
)


class Phase(enum.Enum):
    """What is done with it next."""

    ASKING = enum.auto()  # an HTTP reader, which has said nothing yet
    WAITING = enum.auto()  # for the document
    WRITING = enum.auto()
    LINGERING = enum.auto()
    CLOSED = enum.auto()


class Client:
    """A connection. ``on_question`` is called once when it wants the document, ``on_closed``
    when it is over.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        connection: socket.socket,
        is_http: bool,
        on_question: Callable[[Client], None],
        on_closed: Callable[[Client], None],
    ) -> None:
        self._loop = loop
        self._connection = connection
        # asyncio looks descriptors up by number faster than by object
        self._number = connection.fileno()
        self._is_http = is_http
        self._on_question = on_question
        self._on_closed = on_closed
        self._unread = LINGER_BYTES
        self._parts: list[memoryview] = []
        self.document: bytes = b""
        self._end = loop.call_later(CLIENT_SECONDS, self.close)
        self._timer: asyncio.TimerHandle | None = None
        self.phase = Phase.WAITING
        connection.setblocking(False)

    def start(self) -> None:
        """Ask for the document; a reader that speaks HTTP may speak first."""
        if not self._is_http:
            self._on_question(self)
            return
        # an answer before its question is an error to some readers (Go's net/http)
        self.phase = Phase.ASKING
        self._loop.add_reader(self._number, self._read)
        self._timer = self._loop.call_later(REQUEST_SECONDS, self._asked)

    def send(self, document: bytes) -> None:
        """Write it; nothing happens if the reader has gone."""
        if self.phase is not Phase.WAITING:
            return
        self.phase = Phase.WRITING
        self.document = document
        if self._is_http:
            head = _HTTP_HEAD.format(length=len(document)).encode()
            self._parts.append(memoryview(head))
        self._parts.append(memoryview(document))
        self._loop.add_writer(self._number, self._write)
        self._write()

    def close(self) -> None:
        """Let go of it."""
        if self.phase is Phase.CLOSED:
            return
        if self.phase is Phase.WRITING:
            # a TCP reader is to see that this is not all, and the kernel to forget what it has
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.phase = Phase.CLOSED
        self._loop.remove_reader(self._number)
        self._loop.remove_writer(self._number)
        self._stop_timer()
        self._end.cancel()
        self._parts.clear()
        self.document = b""
        self._connection.close()
        self._on_closed(self)

    def _asked(self) -> None:
        self._stop_timer()
        self._loop.remove_reader(self._number)
        self.phase = Phase.WAITING
        self._on_question(self)

    def _write(self) -> None:
        room = _WRITE_BYTES  # so that the loop has its turn, however fast the reader is
        try:
            while self._parts and room > 0:
                sent = self._connection.send(self._parts[0][:room])
                room -= sent
                self._parts[0] = self._parts[0][sent:]
                if not self._parts[0]:
                    self._parts.pop(0)
        except BlockingIOError:
            return
        except OSError:  # it has gone
            self.close()
            return
        if not self._parts:
            self._linger()

    def _linger(self) -> None:
        self._loop.remove_writer(self._number)
        self.phase = Phase.LINGERING
        self.document = b""
        try:
            self._connection.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self._timer = self._loop.call_later(LINGER_SECONDS, self.close)
        self._loop.add_reader(self._number, self._read)

    def _read(self) -> None:
        """Something was said, which nobody reads, or it has closed its side."""
        try:
            data = self._connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._unread -= len(data)
        if self.phase is Phase.ASKING:
            self._asked()  # with nothing: it may still read the answer
        elif not data or self._unread <= 0:
            self.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
