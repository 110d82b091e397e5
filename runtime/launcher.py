"""Vassals' processes and sockets for the controller: effects in, events out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from emperor.runtime import events as ev
from emperor.runtime.capture import Capture
from emperor.runtime.channel import COMMAND_TARGET, CONFIG_TARGET, Channel
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.log import Outlet
from emperor.runtime.processes import Processes
from emperor.runtime.roster import Record
from emperor.runtime.sockets import Listener

#: The descriptor that an on-demand socket becomes in the vassal, as in uWSGI.
SOCKET_TARGET = 0


class Launcher:
    """Starts vassals and talks to them; ``feed`` gets what becomes of them.

    ``environment`` is what all vassals get; ``listen`` opens an on-demand socket. With
    ``captures_output`` the end of what they write is kept.
    """

    def __init__(
        self,
        *,
        processes: Processes,
        environment: Mapping[str, str],
        listen: Callable[[str], Listener],
        captures_output: bool,
        feed: Callable[[Record, ev.Event], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._processes = processes
        self._environment = dict(environment)
        self._listen = listen
        self._outlet = Outlet() if captures_output else None
        self._feed = feed
        self._zergs = 0

    # -- the process -------------------------------------------------------------------------

    def spawn(self, record: Record, spec: LaunchSpec) -> None:
        """Start the process with its sockets, and send it its config."""
        record.early = b""
        try:
            channel = Channel(lambda data: self._said(record, data))
        except OSError as error:
            self._feed(record, ev.NotSpawned(message=error.strerror or str(error)))
            return
        record.channel = channel
        descriptors = channel.theirs()
        if spec.socket is not None and record.listener is not None:
            descriptors[SOCKET_TARGET] = record.listener.fileno()
        try:
            if self._outlet is not None:
                self._stop_capture(record)
                record.capture = Capture(self._outlet)
                descriptors |= record.capture.theirs()
            self._processes.spawn(
                argv=spec.argv,
                environment=self._vassal_environment(record, spec),
                cwd=spec.cwd,
                descriptors=descriptors,
                on_spawned=lambda pid: self._spawned(record, pid),
                on_failed=lambda message: self._not_spawned(record, message),
                on_exited=lambda status: self._exited(record, status),
            )
        except OSError as error:
            self._not_spawned(record, error.strerror or str(error))
            return
        channel.handed_over()
        if record.capture is not None:
            record.capture.handed_over()
        channel.deliver(spec.delivered)

    def signal(self, record: Record, signum: int, *, is_for_group: bool) -> None:
        """Send a signal to the main process, or to its whole group."""
        if record.pid is not None:
            self._processes.signal(record.pid, signum, is_for_group=is_for_group)

    def _vassal_environment(self, record: Record, spec: LaunchSpec) -> dict[str, str]:
        environment = {**self._environment, **dict(spec.set)}
        for name in spec.unset:
            environment.pop(name, None)
        environment["UWSGI_EMPEROR_FD"] = str(COMMAND_TARGET)
        environment["UWSGI_EMPEROR_FD_CONFIG"] = str(CONFIG_TARGET)
        if record.state.is_zerg:
            self._zergs += 1
            environment["UWSGI_BROODLORD_NUM"] = str(self._zergs)
        return environment

    def _spawned(self, record: Record, pid: int) -> None:
        record.pid = record.last_pid = pid
        self._feed(record, ev.Spawned(pid=pid))
        early, record.early = record.early, b""
        self._said(record, early)

    def _not_spawned(self, record: Record, message: str) -> None:
        self._hang_up(record)
        self._feed(record, ev.NotSpawned(message=message))

    def _exited(self, record: Record, status: int) -> None:
        record.pid = None
        self._hang_up(record)
        self._feed(record, ev.Exited(status=status))

    def _said(self, record: Record, data: bytes) -> None:
        """The vassal's words; they may come before the guardian has told its pid."""
        if record.pid is None:
            record.early += data
            return
        for byte in data:
            self._feed(record, ev.Said(byte=byte))

    def _hang_up(self, record: Record) -> None:
        if record.channel is not None:
            record.channel.close()
            record.channel = None
        self._stop_capture(record)

    def _stop_capture(self, record: Record) -> None:
        if record.capture is not None:
            record.capture.close()

    # -- its on-demand socket ----------------------------------------------------------------

    def listen(self, record: Record, address: str) -> None:
        """Hold the socket at that address, and wait for a connection to it."""
        if record.listener is not None and record.listens_at != address:
            self.unlisten(record)
        if record.listener is None:
            try:
                record.listener = self._listen(address)
            except OSError as error:
                self._feed(record, ev.NotListening(message=error.strerror or str(error)))
                return
            record.listens_at = address
        self._loop.add_reader(record.listener.fileno(), self._connected, record)
        self._feed(record, ev.Listening())

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
