"""Makes the document for those who wait for it: in slices, and not too often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

#: No document is begun sooner after the last one, in seconds.
INTERVAL_SECONDS = 0.1

#: After one that took long, the loop is left alone for so many times as long.
REST = 4

#: How long the loop may be held up by one slice, in seconds.
SLICE_SECONDS = 0.004


class Renderer:
    """Gives out documents; none of them is older than the question for it.

    ``pieces`` begins a new one. Between its pieces the loop has its turn, so what it shows is
    true of each vassal at some moment after the question, not of all at the same one.
    """

    def __init__(
        self, *, loop: asyncio.AbstractEventLoop, pieces: Callable[[], Iterator[bytes]]
    ) -> None:
        self._loop = loop
        self._pieces = pieces
        self._waiting: list[Callable[[bytes], None]] = []
        self._served: list[Callable[[bytes], None]] = []
        self._under_way: Iterator[bytes] | None = None
        self._done: list[bytes] = []
        self._next: asyncio.Handle | None = None
        self._not_before = loop.time()
        self._spent = 0.0

    def ask(self, on_document: Callable[[bytes], None]) -> None:
        """Have a document made; ``on_document`` is called with it, never at once."""
        self._waiting.append(on_document)
        if self._next is None:
            self._next = self._loop.call_at(self._not_before, self._begin)

    def close(self) -> None:
        """Make no more; who still waits gets nothing."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._waiting.clear()
        self._served.clear()
        self._under_way = None

    def _begin(self) -> None:
        self._next = None
        self._served, self._waiting = self._waiting, []
        self._not_before = self._loop.time() + INTERVAL_SECONDS
        self._under_way = self._pieces()
        self._done = []
        self._spent = 0.0
        self._slice()

    def _slice(self) -> None:
        assert self._under_way is not None
        self._next = None  # should a piece fail, the next question begins anew
        begun = self._loop.time()
        for piece in self._under_way:
            self._done.append(piece)
            if self._loop.time() > begun + SLICE_SECONDS:
                self._spent += self._loop.time() - begun
                self._next = self._loop.call_soon(self._slice)
                return
        self._spent += self._loop.time() - begun
        self._not_before = max(self._not_before, self._loop.time() + REST * self._spent)
        self._finish()

    def _finish(self) -> None:
        document, served = b"".join(self._done), self._served
        self._under_way, self._done, self._served = None, [], []
        if self._waiting:
            self._next = self._loop.call_at(self._not_before, self._begin)
        for on_document in served:
            on_document(document)
