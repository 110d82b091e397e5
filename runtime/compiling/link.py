"""One worker as the daemon sees it, and one question to it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from emperor.runtime.compiling.wire import Inbox, encode
from emperor.runtime.tenants.privileges import Owner


@dataclass(slots=True)
class Request:
    """One question and who wants the answer.

    It is worked on as ``owner``, the Emperor's own user if there is none. ``descriptor`` goes
    along with it and is closed when there is an answer.
    """

    id: int
    message: Mapping[str, object]
    on_answer: Callable[[object], None]
    owner: Owner | None = None
    descriptor: int | None = None

    def is_answered(self) -> None:
        """Nobody will be asked it again."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


@dataclass(slots=True, eq=False)
class WorkerLink:
    """A worker's socket, what is on the way on it, and what the worker is busy with.

    ``pid`` is not known before the server has told it. ``deadline`` is when the first of what
    it is busy with is overdue (the loop's clock).
    """

    pid: int | None
    channel: socket.socket
    owner: Owner | None = None
    inbox: Inbox = field(default_factory=Inbox)
    outbox: deque[tuple[bytearray, Request | None]] = field(default_factory=deque)
    busy: deque[Request] = field(default_factory=deque)
    deadline: float = 0.0
    timer: asyncio.TimerHandle | None = None
    is_writing: bool = False

    def send(self, request: Request) -> None:
        """Have a question sent by the next ``flush``."""
        self.outbox.append((bytearray(encode(request.message)), request))


def flush(worker: WorkerLink) -> bool:
    """Send what can be sent; gives whether all of it went (or there is nobody to take it)."""
    while worker.outbox:
        packet, request = worker.outbox[0]
        descriptor = None if request is None else request.descriptor
        descriptors = [] if descriptor is None else [descriptor]
        try:
            sent = socket.send_fds(worker.channel, [packet], descriptors)
        except BlockingIOError:
            return False
        except OSError:
            worker.outbox.clear()
            return True
        if sent < len(packet):
            worker.outbox[0] = (packet[sent:], None)  # its descriptor has gone along
        else:
            worker.outbox.popleft()
    return True
