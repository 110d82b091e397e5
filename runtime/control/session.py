"""One client of the control socket: requests in, answers out, nothing kept for its sake."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from collections.abc import Callable

from emperor.runtime.control.errand import Errand
from emperor.runtime.control.protocol import (
    LOOK,
    MOST_REQUEST_BYTES,
    BadRequest,
    Request,
    error_line,
    read_request,
)
from emperor.runtime.control.waiting import Waiting
from emperor.runtime.views import Court

log = logging.getLogger("emperor.control")

#: How much is made ready for a client before it has read what there was, in bytes.
_ENOUGH_BYTES = 32 * 1024

_READ_BYTES = 64 * 1024


class Session:
    """A client's connection, until either side has enough.

    Requests are answered one after the other. ``on_closed`` is called once, at the end.
    """

    def __init__(
        self,
        channel: socket.socket,
        *,
        uid: int,
        court: Court,
        waiting: Waiting,
        on_closed: Callable[[Session], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._channel = channel
        self._uid = uid
        self._court = court
        self._waiting = waiting
        self._on_closed = on_closed
        self._errand: Errand | None = None
        self._inbox = bytearray()
        self._searched = 0  # so much of it holds no line end
        self._outbox = bytearray()
        self._has_ended = False  # it will not ask for more
        self._is_writing = False
        self._is_closed = False
        self.last_active = self._loop.time()
        self._loop.add_reader(channel.fileno(), self._read)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way for it: it does not ask, or does not read."""
        return self._errand is None or bool(self._outbox)

    def close(self) -> None:
        """Say what can be said at once, and part."""
        if self._is_closed:
            return
        if self._errand is not None:
            self._errand.catch_up()
        while not self._outbox and self._errand is not None and self._errand.has_more:
            self._write()
        self._leave()

    # -- in ----------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            data = self._channel.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._leave()
            return
        self.last_active = self._loop.time()
        if data:
            self._inbox += data
            self._work()
        elif self._has_left():
            self._leave()
        else:  # it has asked for all it wants, and listens still: socat and nc do that
            self._loop.remove_reader(self._channel.fileno())
            self._has_ended = True
            if self._inbox and not self._inbox.endswith(b"\n"):
                self._inbox += b"\n"
            self._work()

    def _has_left(self) -> bool:
        poll = select.poll()
        poll.register(self._channel.fileno(), 0)
        return any(events & select.POLLHUP for _, events in poll.poll(0))

    def _next_request(self) -> bytes | None:
        end = self._inbox.find(b"\n", self._searched)
        if max(end, len(self._inbox) if end < 0 else 0) > MOST_REQUEST_BYTES:
            raise BadRequest(f"a request has at most {MOST_REQUEST_BYTES:,} bytes")
        if end < 0:
            self._searched = len(self._inbox)
            return None
        line = bytes(self._inbox[:end])
        del self._inbox[: end + 1]
        self._searched = 0
        return line

    # -- work --------------------------------------------------------------------------------

    def _work(self) -> None:
        """Turn to the next request if the last one is answered, and write."""
        if self._is_closed:
            return
        try:
            self._take_requests()
        except BadRequest as error:  # where the next one begins is not known any more
            self._outbox += error_line(str(error))
            self._flush()
            self._leave()
            return
        self._write()

    def _take_requests(self) -> None:
        while self._errand is None and len(self._outbox) < _ENOUGH_BYTES:
            line = self._next_request()
            if line is None:
                return
            if line.strip():
                self._begin(line)
        if len(self._inbox) > 2 * MOST_REQUEST_BYTES:
            raise BadRequest("too many requests at once")

    def _begin(self, line: bytes) -> None:
        try:
            request = read_request(line)
        except BadRequest as error:
            self._outbox += error_line(str(error))
            return
        self._log(request)
        self._errand = Errand(
            request, court=self._court, waiting=self._waiting, on_ready=self._work
        )
        self._errand.begin()

    def _log(self, request: Request) -> None:
        verb = LOOK if request.verb is None else request.verb.value
        names = ", ".join(request.names[:5]) or "all"
        more = f" and {len(request.names) - 5} more" if len(request.names) > 5 else ""
        level = logging.DEBUG if request.verb is None else logging.INFO
        log.log(level, "user %d asks for %s of %s%s", self._uid, verb, names, more)

    # -- out ---------------------------------------------------------------------------------

    def _write(self) -> None:
        """Send a piece of the answer; the next one when the client has taken it."""
        if self._fill():
            self._loop.call_soon(self._work)  # answered: perhaps there is another request
        if not self._flush():
            self._leave()
            return
        is_more = bool(self._outbox) or (self._errand is not None and self._errand.has_more)
        self._call_when_writable(is_more)
        is_done = self._errand is None and not is_more and not self._inbox
        if self._has_ended and is_done:
            self._leave()

    def _call_when_writable(self, is_wanted: bool) -> None:
        if is_wanted and not self._is_writing:
            self._loop.add_writer(self._channel.fileno(), self._work)
        elif self._is_writing and not is_wanted:
            self._loop.remove_writer(self._channel.fileno())
        self._is_writing = is_wanted

    def _fill(self) -> bool:
        """Make the next piece ready; gives whether the request is answered by it."""
        while self._errand is not None and len(self._outbox) < _ENOUGH_BYTES:
            line = self._errand.next_line()
            if line is None:
                return False
            self._outbox += line
            if self._errand.is_over:
                self._errand = None
                return True
        return False

    def _flush(self) -> bool:
        """Send what can be sent; gives whether there is somebody to take it."""
        try:
            while self._outbox:
                sent = self._channel.send(self._outbox, socket.MSG_NOSIGNAL)
                del self._outbox[:sent]
                self.last_active = self._loop.time()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            return False
        return True

    def _leave(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if self._errand is not None:
            self._errand.abandon()
        if self._is_writing:
            self._loop.remove_writer(self._channel.fileno())
        if not self._has_ended:
            self._loop.remove_reader(self._channel.fileno())
        self._channel.close()
        self._on_closed(self)
