"""Hands the document out on listening sockets; a slow or silent reader costs nothing."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator, Sequence

from emperor.runtime.sockets import Listener
from emperor.runtime.stats.client import Client
from emperor.runtime.stats.renderer import Renderer

log = logging.getLogger("emperor.stats")

#: So many readers at a time; one more, and the oldest is dropped.
MOST_CLIENTS = 64

#: So much of documents is kept for readers that are slow; beyond, the oldest are dropped.
MOST_UNSENT_BYTES = 32 * 1024 * 1024

#: How long no connection is accepted when the machine has no room for one, in seconds.
PAUSE_SECONDS = 1.0

#: So many connections are accepted before the loop has its turn.
_AT_ONCE = 16


class StatsServer:
    """Serves the same document on all ``listeners``, which it then owns.

    ``pieces`` begins a new document, see ``document.pieces``. With ``is_http`` it goes out as
    an HTTP answer. Made inside a running loop, or given one.
    """

    def __init__(
        self,
        *,
        listeners: Sequence[Listener],
        pieces: Callable[[], Iterator[bytes]],
        is_http: bool,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._listeners = tuple(listeners)
        self._renderer = Renderer(loop=self._loop, pieces=pieces)
        self._is_http = is_http
        self._clients: dict[Client, None] = {}  # in the order in which they came
        self._pauses: dict[int, asyncio.TimerHandle] = {}

    def start(self) -> None:
        """Serve from now on."""
        for listener in self._listeners:
            listener.socket.setblocking(False)
            self._listen(listener)

    def close(self) -> None:
        """Drop all readers and close the listeners, whose files go with them."""
        self._renderer.close()
        for pause in self._pauses.values():
            pause.cancel()
        for client in tuple(self._clients):
            client.close()
        for listener in self._listeners:
            self._loop.remove_reader(listener.fileno())
            listener.close()

    @property
    def clients(self) -> int:
        """How many readers there are."""
        return len(self._clients)

    def _listen(self, listener: Listener) -> None:
        self._pauses.pop(listener.fileno(), None)
        self._loop.add_reader(listener.fileno(), self._accept, listener)

    def _accept(self, listener: Listener) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _address = listener.socket.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # it has gone already
            except OSError as error:  # above all: there is no descriptor left
                self._pause(listener, error)
                return
            self._welcome(connection)

    def _pause(self, listener: Listener, error: OSError) -> None:
        # the connection stays in the backlog, so the loop would be called for it for ever
        log.warning("no stats on %s for a second: %s", listener.address, error.strerror)
        self._loop.remove_reader(listener.fileno())
        self._pauses[listener.fileno()] = self._loop.call_later(
            PAUSE_SECONDS, self._listen, listener
        )

    def _welcome(self, connection: socket.socket) -> None:
        client = Client(
            loop=self._loop,
            connection=connection,
            is_http=self._is_http,
            on_question=self._question,
            on_closed=self._forget,
        )
        self._clients[client] = None
        if len(self._clients) > MOST_CLIENTS:
            next(iter(self._clients)).close()
        client.start()

    def _question(self, client: Client) -> None:
        self._renderer.ask(lambda document: self._answer(client, document))

    def _answer(self, client: Client, document: bytes) -> None:
        self._make_room(document)
        client.send(document)

    def _make_room(self, document: bytes) -> None:
        """Drop the oldest readers if too much of other documents is kept for them."""
        seen = {id(document)}
        total = len(document)
        for client in reversed(tuple(self._clients)):
            if not client.document:
                continue
            if id(client.document) not in seen:
                seen.add(id(client.document))
                total += len(client.document)
            if total > MOST_UNSENT_BYTES:
                client.close()

    def _forget(self, client: Client) -> None:
        self._clients.pop(client, None)
