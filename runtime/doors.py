"""What the daemon shows to the world: its stats, its control socket, its service manager."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from typing import Any, Protocol

from emperor.runtime.control.listener import open_listener
from emperor.runtime.control.server import ControlServer
from emperor.runtime.court import ThroneRoom
from emperor.runtime.exits import ERRORS_FOUND
from emperor.runtime.government import Government
from emperor.runtime.monitors.sources import AnySource, Kind, PluginSource
from emperor.runtime.preparing import Refused, wanted_identity
from emperor.runtime.service import Notifier, take_listen_fds
from emperor.runtime.stats.document import EmperorFacts, pieces
from emperor.runtime.stats.listeners import open_listeners
from emperor.runtime.stats.server import StatsServer
from emperor.runtime.views import Key, VassalView


class _Closes(Protocol):
    def close(self) -> None: ...


class Doors:
    """The sockets are opened with the rights that the daemon was started with, and served when
    there is something to show. Made inside a running loop. Raises OSError, ``Refused``."""

    def __init__(self, config: Mapping[str, Any], environ: MutableMapping[str, str]) -> None:
        self._config = config
        self.notifier = Notifier(environ, loop=asyncio.get_running_loop())
        self._version = _own_version() if config["stats"] else ""
        self._to_close: list[_Closes] = []
        self._court: ThroneRoom | None = None
        inherited = take_listen_fds(environ, os.getpid())
        try:
            self._stats = open_listeners(config["stats"], inherited)
        except ValueError as error:
            raise Refused(ERRORS_FOUND, f"emperor run: emperor-stats: {error}") from None
        self._to_close += self._stats
        identity = wanted_identity(config)
        try:
            self._control = open_listener(
                config["control"], environ=environ, uid=identity.uid, gid=identity.gid
            )
        except OSError:
            self.close()
            raise
        self._to_close += [self._control] if self._control is not None else []

    def open(self, government: Government, sources: Iterable[AnySource]) -> None:
        """Serve what there is to see of these vassals."""
        self._court = government.court
        shown = {source.id: _as_uwsgi_has_it(source) for source in sources}
        self._to_close.clear()  # the listeners are their servers' from now on
        if self._stats:
            server = StatsServer(
                listeners=self._stats,
                pieces=lambda: self._document(government, shown),
                is_http=self._config["stats_http"],
            )
            self._to_close.append(server)
            server.start()
        if self._control is not None:
            self._to_close.append(ControlServer(listener=self._control, court=self._court))
        if self.notifier.is_heard:
            self._court.subscribe(self._count)
        self.notifier.start_watchdog()

    def close(self) -> None:
        """Close every door."""
        for door in self._to_close:
            door.close()
        self.notifier.close()

    def when_settled(self, then: Callable[[], None]) -> None:
        """Call once nothing is under way any more with any of today's vassals."""
        court = self._court
        assert court is not None
        waiting = set(court.unsettled())

        def changed(key: Key) -> None:
            if key in waiting and court.is_settled(key):
                waiting.discard(key)
                if not waiting:
                    unsubscribe()
                    then()

        if waiting:
            unsubscribe = court.subscribe(changed)
        else:
            then()

    def _count(self, key: Key) -> None:
        if self._court is not None:
            self.notifier.governing(len(self._court))

    def _document(self, government: Government, shown: Mapping[str, str]) -> Iterator[bytes]:
        """The stats document; monitors are called as uWSGI calls them."""
        facts = EmperorFacts(
            version=self._version,
            pid=os.getpid(),
            uid=os.getuid(),
            gid=os.getgid(),
            cwd=os.getcwd(),
            monitors=tuple(shown.values()),
            is_tyrant=self._config["tyrant"],
            throttle_milliseconds=round(1000 * government.gate.level_seconds),
        )
        return pieces(_renamed(government.court.views(), shown), facts)


def _own_version() -> str:
    """Asked for only where it is shown: the import costs as much as a third of a start."""
    from importlib.metadata import version

    return version("emperor-compiler")


def _renamed(views: Iterable[VassalView], shown: Mapping[str, str]) -> Iterator[VassalView]:
    return (replace(v, monitor=shown.get(v.monitor, v.monitor)) for v in views)


def _as_uwsgi_has_it(source: AnySource) -> str:
    """A directory without links, a pattern or an address as it stands behind its scheme."""
    if isinstance(source, PluginSource):
        return source.url
    if source.kind is Kind.DIRECTORY:
        return os.path.realpath(source.root)
    return source.id.removeprefix("glob://")
