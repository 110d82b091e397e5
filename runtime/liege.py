"""The Emperor above this one: a daemon that is itself a vassal announces itself and obeys.

As uWSGI's sub-Emperors do: one byte a message, see ``protocol``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from emperor.runtime.commission import Commission
from emperor.runtime.protocol import Order, Word


class Liege:
    """Speaks with the Emperor above; made inside a running loop.

    ``on_stop`` and ``on_reload`` are its orders, ``on_lost`` is that it is gone.
    """

    def __init__(
        self,
        commission: Commission,
        *,
        on_stop: Callable[[], None],
        on_reload: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._command = commission.command
        self._orders: dict[int, Callable[[], None]] = {
            Order.STOP: on_stop,
            Order.GRACEFUL_STOP: on_stop,
            Order.RELOAD: on_reload,
        }
        self._on_lost = on_lost
        os.set_blocking(self._command, False)
        self._loop.add_reader(self._command, self._read)

    def announce(self) -> None:
        """This Emperor is up, accepts what comes, and is loyal."""
        self._say(Word.SPAWNED, Word.ACCEPTING, Word.LOYAL)

    def ask_for_config(self) -> None:
        """This Emperor is about to start over."""
        self._say(Word.WANTS_CONFIG)

    def close(self) -> None:
        """Listen no more; the descriptor stays."""
        self._loop.remove_reader(self._command)

    def _say(self, *words: Word) -> None:
        try:
            os.write(self._command, bytes(words))
        except OSError:
            return  # it is gone, or deaf: reading will tell

    def _read(self) -> None:
        try:
            data = os.read(self._command, 64)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            self._on_lost()
        for byte in data:
            order = self._orders.get(byte)
            if order is not None:
                order()
