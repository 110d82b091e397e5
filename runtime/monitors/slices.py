"""Long work in short pieces, so that the event loop has its turn in between."""

import asyncio
from collections.abc import Callable


class Slices:
    """Does one step after the other, at most ``size`` of them at once.

    ``step`` does one piece of work and says whether there was any; ``after`` is called
    after every slice.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        size: int,
        step: Callable[[], bool],
        after: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._size = size
        self._step = step
        self._after = after
        self._next: asyncio.Handle | None = None

    def run(self) -> None:
        """Do a slice now, and the others as the loop comes round."""
        self.stop()
        for _ in range(self._size):
            if not self._step():
                break
        else:
            self._next = self._loop.call_soon(self.run)
        self._after()

    def run_all(self) -> None:
        """Do everything now: for the start, when nothing else could have a turn."""
        while self._step():
            pass
        self._after()

    def stop(self) -> None:
        """Leave the rest undone until the next ``run``."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
