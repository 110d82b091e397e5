"""Vassals' processes for the controller: effects in, events out."""

from __future__ import annotations

from collections.abc import Callable

from emperor.compiler.programs.values import Program
from emperor.runtime import events as ev
from emperor.runtime.capture import Capture
from emperor.runtime.channel import COMMAND_TARGET, CONFIG_TARGET, Channel
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.log import Outlet
from emperor.runtime.outfit import Outfit
from emperor.runtime.processes import Processes
from emperor.runtime.programs.equipment import (
    FIRST_SOCKET,
    Equipment,
    NotifyRoom,
    Sink,
    variables,
)
from emperor.runtime.programs.notify import Notice
from emperor.runtime.protocol import Word
from emperor.runtime.roster import Record

#: The descriptor that an on-demand socket becomes in the vassal, as in uWSGI.
SOCKET_TARGET = 0


class Launcher:
    """Starts vassals and talks to them; ``feed`` gets what becomes of them.

    ``outfit`` is what the Emperor gives to all of them. With ``captures_output`` the end of
    what they write is kept, and that of tenants always.
    """

    def __init__(
        self,
        *,
        processes: Processes,
        outfit: Outfit,
        captures_output: bool,
        feed: Callable[[Record, ev.Event], None],
    ) -> None:
        self._processes = processes
        self._outfit = outfit
        self._notify_room = NotifyRoom()
        self._outlet = Outlet()
        self._captures_output = captures_output
        self._feed = feed

    # -- the process -------------------------------------------------------------------------

    def spawn(self, record: Record, spec: LaunchSpec) -> None:
        """Start the process with its sockets, and send it its config."""
        record.early = b""
        try:
            channel = record.channel = Channel(lambda data: self._said(record, data))
            environment, descriptors = self._given(record, spec, channel)
            self._processes.spawn(
                argv=(*self._outfit.chain(spec.owner, spec.cwd), *spec.argv),
                environment=environment,
                cwd=spec.cwd if spec.owner is None else "/",
                descriptors=descriptors,
                on_spawned=lambda pid: self._spawned(record, pid),
                on_failed=lambda message: self._not_spawned(record, message),
                on_exited=lambda status: self._exited(record, status),
                owner=None if spec.owner is None else spec.owner.uid,
                forks=spec.forks or self._outfit.forks,
            )
        except OSError as error:
            self._not_spawned(record, error.strerror or str(error))
            return
        channel.handed_over()
        if record.capture is not None:
            record.capture.handed_over()
        if spec.delivered:
            channel.deliver(spec.delivered)

    def signal(self, record: Record, signum: int, *, is_for_group: bool) -> None:
        """Send a signal to the main process, or to its whole group."""
        if record.pid is not None:
            self._processes.signal(record.pid, signum, is_for_group=is_for_group)

    def close(self) -> None:
        """Remove what was made for notifications; every vassal is gone."""
        self._notify_room.close()

    # -- what it is given ----------------------------------------------------------------------

    def _given(
        self, record: Record, spec: LaunchSpec, channel: Channel
    ) -> tuple[dict[str, str], dict[int, int]]:
        """Its environment, and its descriptors by the numbers they get; raises OSError."""
        environment = self._outfit.environment(record, spec)
        # a tenant is not given the daemon's own output: it could read it, or cut it off
        is_captured = self._captures_output or spec.owner is not None
        outlet: Outlet | Sink | None = self._outlet if is_captured else None
        if spec.program is None:
            descriptors = channel.theirs()
            environment["UWSGI_EMPEROR_FD"] = str(COMMAND_TARGET)
            environment["UWSGI_EMPEROR_FD_CONFIG"] = str(CONFIG_TARGET)
        else:
            descriptors = self._equip(record, spec, spec.program, environment)
            command = FIRST_SOCKET + len(spec.sockets)
            descriptors |= channel.their_command(command)
            environment["UWSGI_EMPEROR_FD"] = str(command)
            assert record.equipment is not None
            outlet = record.equipment.sink(spec.program, record.sighting.name) or outlet
        if spec.socket is not None and record.listener is not None:
            descriptors[SOCKET_TARGET] = record.listener.fileno()
        if outlet is not None:
            self._stop_capture(record)
            record.capture = Capture(outlet)
            descriptors |= record.capture.theirs()
        return environment, descriptors

    def _equip(
        self, record: Record, spec: LaunchSpec, program: Program, environment: dict[str, str]
    ) -> dict[int, int]:
        """What a program that is not uWSGI gets: raises OSError."""
        equipment = record.equipment
        if equipment is None or equipment.owner != spec.owner:
            if equipment is not None:
                equipment.close()
            equipment = record.equipment = Equipment(spec.owner)
        descriptors = equipment.sockets(spec)
        notify = record.notify = self._notify_room.socket(
            record.sighting.name,
            spec.owner,
            lambda notice: self._noticed(record, program, notice),
        )
        environment.update(variables(spec, program, notify))
        return descriptors

    # -- what it says --------------------------------------------------------------------------

    def _noticed(self, record: Record, program: Program, notice: Notice) -> None:
        """Its words by systemd's protocol, as the Emperor's own."""
        if notice.is_ready and program.ready == "notify":
            self._feed(record, ev.Said(byte=Word.ACCEPTING))
        if notice.is_watchdog and program.watchdog_seconds is not None:
            self._feed(record, ev.Said(byte=Word.HEARTBEAT))
        if notice.is_stopping:
            self._feed(record, ev.Stopping())

    def _spawned(self, record: Record, pid: int) -> None:
        record.pid = record.last_pid = pid
        self._feed(record, ev.Spawned(pid=pid))
        if record.notify is not None:
            record.notify.set_leader(pid)
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
        if record.notify is not None:
            record.notify.close()
            record.notify = None
        self._stop_capture(record)

    def _stop_capture(self, record: Record) -> None:
        if record.capture is not None:
            record.capture.close()
