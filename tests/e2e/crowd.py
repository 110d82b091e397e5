"""Many clients at once, who count the requests that go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

#: How long one request may take, in seconds.
REQUEST_SECONDS = 30.0

_REQUEST = b"GET / HTTP/1.1\r\nHost: crowd\r\n%s\r\n"
_LENGTH = b"content-length:"

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(slots=True, kw_only=True)
class Tally:
    """What the clients saw: ``answers`` by their bodies, and what went ``wrong``, by what."""

    answers: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)

    @property
    def requests(self) -> int:
        """How many requests were answered, or went wrong."""
        return self.answers.total() + self.wrong.total()


class NoAnswer(Exception):
    """The connection ended before the first byte of an answer."""


@contextlib.contextmanager
def crowd(address: str, *, clients: int = 100, keeps_alive: bool = False) -> Iterator[Tally]:
    """So many clients send requests to HOST:PORT, each as fast as it is answered, while the
    block runs; all requests have their answer, or not, at its end.

    Every request has its own connection. With ``keeps_alive`` a connection is used again for
    as long as the server lets it: one that it closes between two requests is no failure, as
    the protocol has it, and the request is sent again on another.
    """
    tally = Tally()
    is_over = threading.Event()
    thread = threading.Thread(
        target=lambda: asyncio.run(_all(address, clients, keeps_alive, tally, is_over))
    )
    thread.start()
    try:
        yield tally
    finally:
        is_over.set()
        thread.join()


async def _all(
    address: str, clients: int, keeps_alive: bool, tally: Tally, is_over: threading.Event
) -> None:
    host, _, port = address.rpartition(":")
    client = _lasting if keeps_alive else _one_by_one
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client(host, int(port), tally, is_over))


async def _one_by_one(host: str, port: int, tally: Tally, is_over: threading.Event) -> None:
    while not is_over.is_set():
        with _judged(tally):
            async with asyncio.timeout(REQUEST_SECONDS), _connection(host, port) as streams:
                tally.answers[await _ask(streams, b"Connection: close\r\n")] += 1


async def _lasting(host: str, port: int, tally: Tally, is_over: threading.Event) -> None:
    while not is_over.is_set():
        with _judged(tally):
            async with asyncio.timeout(None) as limit, _connection(host, port) as streams:
                answered = 0
                while not is_over.is_set():
                    limit.reschedule(asyncio.get_running_loop().time() + REQUEST_SECONDS)
                    try:
                        body = await _ask(streams, b"")
                    except (NoAnswer, ConnectionError):
                        if not answered:
                            raise
                        break  # closed while it was idle: the request goes on another one
                    tally.answers[body] += 1
                    answered += 1


@contextlib.contextmanager
def _judged(tally: Tally) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, NoAnswer, ValueError) as error:
        tally.wrong[f"{type(error).__name__}: {error}"] += 1


@contextlib.asynccontextmanager
async def _connection(host: str, port: int) -> AsyncIterator[_Streams]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _ask(streams: _Streams, more: bytes) -> str:
    """The body of the answer to one request."""
    reader, writer = streams
    writer.write(_REQUEST % more)
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            raise NoAnswer("closed without an answer") from None
        raise
    status, *rows = head.split(b"\r\n")
    if b" 200 " not in status:
        raise ValueError(status.decode())
    length = next(
        int(row.partition(b":")[2]) for row in rows if row.lower().startswith(_LENGTH)
    )
    return (await reader.readexactly(length)).decode()
