"""On-demand sockets: held while nobody serves, and somebody is told when there is a visitor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from emperor.runtime import events as ev
from emperor.runtime.monitors.sightings import Sighting
from emperor.runtime.roster import Record
from emperor.runtime.sockets import Listener
from emperor.runtime.tenants.privileges import Owner


class OnDemand:
    """Opens and closes vassals' sockets; ``feed`` gets what becomes of them.

    ``open_at`` opens a socket at an address, with a tenant's rights if there is one;
    ``address_of`` is the address that the Emperor's own options give to a vassal.
    """

    def __init__(
        self,
        *,
        open_at: Callable[[str, Owner | None], Listener],
        address_of: Callable[[Sighting], str | None],
        feed: Callable[[Record, ev.Event], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._open_at = open_at
        self._address = address_of
        self._feed = feed

    def listen(self, record: Record, address: str) -> None:
        """Hold the socket at that address, and wait for a connection to it."""
        if record.listener is not None and record.listens_at != address:
            self.unlisten(record)
        if record.listener is None:
            try:
                record.listener = self._open_at(address, self._listens_as(record, address))
            except OSError as error:
                self._feed(record, ev.NotListening(message=error.strerror or str(error)))
                return
            record.listens_at = address
        self._loop.add_reader(record.listener.fileno(), self._connected, record)
        self._feed(record, ev.Listening())

    def _listens_as(self, record: Record, address: str) -> Owner | None:
        """With whose rights a socket is opened: an address that a tenant may have written, with
        his; one that a monitor gives, or the Emperor's own options, with the Emperor's."""
        sighting = record.sighting
        if record.state.spec is None or address in (sighting.socket, self._address(sighting)):
            return None
        return record.state.spec.owner

    def unlisten(self, record: Record) -> None:
        """Close the socket, if there is one."""
        if record.listener is not None:
            self._loop.remove_reader(record.listener.fileno())
            record.listener.close()
            record.listener = None

    def deaf(self, record: Record) -> None:
        """Do not wait for a connection, and keep the socket."""
        if record.listener is not None:
            self._loop.remove_reader(record.listener.fileno())

    def _connected(self, record: Record) -> None:
        self.deaf(record)
        self._feed(record, ev.Connected())
