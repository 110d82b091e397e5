"""One worker as the daemon sees it."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from emperor.runtime.compiling.wire import Inbox


@dataclass(slots=True)
class Request:
    """One question, who wants the answer, and when it is overdue (the loop's clock)."""

    id: int
    message: Mapping[str, object]
    on_answer: Callable[[object], None]
    deadline: float = 0.0


@dataclass(slots=True, eq=False)
class WorkerLink:
    """A worker's socket, what is on the way on it, and what the worker is busy with.

    ``pid`` is not known before the server has told it.
    """

    pid: int | None
    channel: socket.socket
    inbox: Inbox = field(default_factory=Inbox)
    outbox: bytearray = field(default_factory=bytearray)
    busy: deque[Request] = field(default_factory=deque)
    timer: asyncio.TimerHandle | None = None
    is_writing: bool = False


def flush(channel: socket.socket, outbox: bytearray) -> bool:
    """Send what can be sent; gives whether all of it went (or there is nobody to take it)."""
    while outbox:
        try:
            sent = channel.send(outbox)
        except BlockingIOError:
            return False
        except OSError:
            outbox.clear()
            return True
        del outbox[:sent]
    return True
