"""Holds the vassals: feeds events to their state machines and carries the effects out."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping

from emperor.runtime import events as ev
from emperor.runtime.channel import COMMAND_TARGET, CONFIG_TARGET, Channel
from emperor.runtime.compiling.client import CompileServer
from emperor.runtime.events import Cause
from emperor.runtime.keepsakes import Keepsakes
from emperor.runtime.launch import CompileAnswer, LaunchSpec
from emperor.runtime.law.state import Vassal
from emperor.runtime.law.table import step
from emperor.runtime.monitors.sightings import (
    Appeared,
    AttributesChanged,
    Changed,
    Problem,
    Sighting,
)
from emperor.runtime.monitors.sightings import Event as Sight
from emperor.runtime.monitors.watchtower import Watchtower
from emperor.runtime.processes import Processes
from emperor.runtime.roster import Record, Roster
from emperor.runtime.stamps import is_fresh

log = logging.getLogger("emperor")


class Controller:
    """All vassals of a daemon.

    ``on_empty`` is called when the last one is gone after ``shut_down``.
    """

    def __init__(
        self,
        *,
        compiler: CompileServer,
        processes: Processes,
        environment: Mapping[str, str],
        curse_seconds: float,
        is_graceful: bool,
        watches_includes: bool,
        keepsakes: Keepsakes | None,
        on_empty: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._compiler = compiler
        self._processes = processes
        self._environment = dict(environment)
        self._curse_seconds = curse_seconds
        self._is_graceful = is_graceful
        self._watches_includes = watches_includes
        self._keepsakes = keepsakes
        self._on_empty = on_empty
        self._cwd = os.getcwd()
        self._roster = Roster()
        self._is_shutting_down = False
        self.watchtower: Watchtower | None = None

    # -- what comes from outside -----------------------------------------------------------

    def on_sight(self, sight: Sight) -> None:
        """A monitor saw something."""
        match sight:
            case Appeared(sighting=sighting) | Changed(sighting=sighting):
                self._noticed(sighting, Cause.FILE)
            case AttributesChanged(sighting=sighting):
                self._noticed(sighting, Cause.ATTRIBUTES)
            case Problem(message=message):
                log.warning(message)
            case _:
                record = self._roster.get((sight.monitor, sight.name))
                if record is not None:
                    self._feed(record, ev.Vanished())

    def on_touched(self, key: str) -> None:
        """Something changed that a broken vassal (or one with watched includes) reads."""
        record = self._roster.by_path_key(key)
        if record is not None:
            self._feed(record, ev.Noticed(cause=Cause.INCLUDE))

    def on_exited(self, pid: int, status: int) -> None:
        """A vassal's process and its group are gone."""
        record = self._roster.lost_process(pid)
        if record is None:
            return
        if record.channel is not None:
            record.channel.close()
            record.channel = None
        self._feed(record, ev.Exited(status=status))

    def reload_all(self) -> None:
        """Somebody asks every vassal to reload."""
        for record in self._roster:
            self._feed(record, ev.Reload())

    def shut_down(self, grace_seconds: float) -> None:
        """Bring every vassal down within so many seconds."""
        self._is_shutting_down = True
        for record in self._roster:
            self._feed(record, ev.Leave(grace_seconds=grace_seconds))
        self._check_empty()

    def kill_all(self) -> None:
        """Kill every vassal now."""
        self._is_shutting_down = True
        for record in self._roster:
            self._feed(record, ev.Die())
        self._check_empty()

    # -- the state machines ------------------------------------------------------------------

    def _noticed(self, sighting: Sighting, cause: Cause) -> None:
        key = (sighting.monitor, sighting.name)
        record = self._roster.get(key)
        if record is None:
            if self._is_shutting_down:
                return
            state = Vassal(graceful=self._is_graceful, curse_seconds=self._curse_seconds)
            record = Record(key, sighting, state)
            self._roster.add(record)
        record.sighting = sighting
        if not self._is_shutting_down:
            self._feed(record, ev.Noticed(cause=cause))

    def _feed(self, record: Record, event: ev.Event) -> None:
        """Run the state machine; events that effects cause have their turn afterwards."""
        record.inbox.append(event)
        if len(record.inbox) > 1:
            return
        try:
            while record.inbox:
                state, effects = step(record.state, record.inbox[0], self._loop.time())
                record.state = state
                for effect in effects:
                    self._carry_out(record, effect)
                del record.inbox[0]
        finally:
            record.inbox.clear()  # a bug in one event must not silence the vassal for good
        if record in self._roster:
            self._set_timer(record)

    def _carry_out(self, record: Record, effect: ev.Effect) -> None:
        match effect:
            case ev.Compile():
                self._compile(record, effect)
            case ev.Spawn(spec=spec):
                self._spawn(record, spec)
            case ev.Send(byte=byte):
                if record.channel is not None:
                    record.channel.send(byte)
            case ev.Deliver(spec=spec):
                if record.channel is not None:
                    record.channel.deliver(spec.delivered)
            case ev.Signal(signum=signum, is_for_group=is_for_group):
                if record.pid is not None:
                    self._processes.signal(record.pid, signum, is_for_group=is_for_group)
            case ev.Log(level=level, message=message):
                self._log(record, level, message)
            case ev.Forget():
                self._forget(record)

    def _set_timer(self, record: Record) -> None:
        when = record.state.deadline()
        if when == record.timer_at:
            return
        if record.timer is not None:
            record.timer.cancel()
        record.timer_at = when
        record.timer = None if when is None else self._loop.call_at(when, self._tick, record)

    def _tick(self, record: Record) -> None:
        record.timer = record.timer_at = None
        self._feed(record, ev.Tick())

    def _forget(self, record: Record) -> None:
        self._roster.remove(record)
        if self._keepsakes is not None and not self._is_shutting_down:
            self._keepsakes.forget(record.key)
        if record.timer is not None:
            record.timer.cancel()
        if self.watchtower is not None and (record.is_broken or self._watches_includes):
            self.watchtower.unwatch_paths(record.path_key)
        self._check_empty()

    def _check_empty(self) -> None:
        if self._is_shutting_down and not len(self._roster):
            self._on_empty()

    # -- compiling -----------------------------------------------------------------------------

    def _compile(self, record: Record, wanted: ev.Compile) -> None:
        serial = wanted.serial
        if wanted.if_stale and record.state.spec is not None and is_fresh(record.dependencies):
            self._feed(record, ev.Fresh(serial=serial))
            return
        sighting = record.sighting
        self._compiler.compile(
            {
                "name": sighting.name,
                "directory": sighting.directory or self._cwd,
                "monitor": sighting.monitor,
                "section": None,
                "text": None,
                "socket": None,
            },
            lambda answer: self._compiled(record, serial, answer),
        )

    def _compiled(self, record: Record, serial: int, answer: CompileAnswer) -> None:
        if record.state.serial != serial or record not in self._roster:
            return  # the file has changed since, or is gone
        self._report(record, answer)
        self._watch_paths(record, answer)
        if answer.spec is None:
            kept = None
            if self._keepsakes is not None and record.state.spec is None:
                kept = self._keepsakes.recall(record.key)
            self._feed(record, ev.NotCompiled(serial=serial, kept=kept))
        else:
            record.dependencies = answer.dependencies
            self._keep(record, answer)
            self._feed(record, ev.Compiled(serial=serial, spec=answer.spec))

    def _keep(self, record: Record, answer: CompileAnswer) -> None:
        if self._keepsakes is None:
            return
        try:
            self._keepsakes.keep(record.key, answer)
        except OSError as error:
            self._log(record, "warning", f"its last good config cannot be kept: {error}")

    def _report(self, record: Record, answer: CompileAnswer) -> None:
        """Say loudly, and once, what is wrong with a file."""
        is_broken = answer.spec is None
        if answer.diagnostics != record.said or is_broken != record.is_broken:
            text = "\n".join(answer.diagnostics)
            if is_broken:
                runs = "the running instance is left alone"
                fate = runs if record.pid is not None else "it cannot be started"
                self._log(record, "error", f"does not compile; {fate}\n{text}")
            elif answer.diagnostics:
                self._log(record, "warning", f"compiles with warnings\n{text}")
        record.said = answer.diagnostics

    def _watch_paths(self, record: Record, answer: CompileAnswer) -> None:
        """A broken vassal is tried again when something changes that its compile looked at."""
        is_broken = answer.spec is None
        key = record.path_key
        if self.watchtower is not None:
            if is_broken or self._watches_includes:
                own = record.sighting.path
                paths = [path for path, _ in answer.dependencies if path != own]
                self.watchtower.watch_paths(key, paths)
                if is_broken and not is_fresh(answer.dependencies):
                    self._loop.call_soon(self.on_touched, key)
            elif record.is_broken:
                self.watchtower.unwatch_paths(key)
        record.is_broken = is_broken

    # -- processes -----------------------------------------------------------------------------

    def _spawn(self, record: Record, spec: LaunchSpec) -> None:
        record.early = b""
        try:
            channel = Channel(lambda data: self._said(record, data))
        except OSError as error:
            self._feed(record, ev.NotSpawned(message=error.strerror or str(error)))
            return
        record.channel = channel
        try:
            self._processes.spawn(
                argv=spec.argv,
                environment=self._vassal_environment(spec),
                cwd=spec.cwd,
                descriptors=channel.theirs(),
                on_spawned=lambda pid: self._spawned(record, pid),
                on_failed=lambda message: self._not_spawned(record, message),
            )
        except OSError as error:
            self._not_spawned(record, error.strerror or str(error))
            return
        channel.handed_over()
        channel.deliver(spec.delivered)

    def _said(self, record: Record, data: bytes) -> None:
        """The vassal's words; they may come before the guardian has told its pid."""
        if record.pid is None:
            record.early += data
            return
        for byte in data:
            self._feed(record, ev.Said(byte=byte))

    def _vassal_environment(self, spec: LaunchSpec) -> dict[str, str]:
        environment = {**self._environment, **dict(spec.set)}
        for name in spec.unset:
            environment.pop(name, None)
        environment["UWSGI_EMPEROR_FD"] = str(COMMAND_TARGET)
        environment["UWSGI_EMPEROR_FD_CONFIG"] = str(CONFIG_TARGET)
        return environment

    def _spawned(self, record: Record, pid: int) -> None:
        self._roster.has_process(record, pid)
        self._feed(record, ev.Spawned(pid=pid))
        early, record.early = record.early, b""
        self._said(record, early)

    def _not_spawned(self, record: Record, message: str) -> None:
        if record.channel is not None:
            record.channel.close()
            record.channel = None
        self._feed(record, ev.NotSpawned(message=message))

    def _log(self, record: Record, level: str, message: str) -> None:
        log.log(
            logging.getLevelName(level.upper()),
            message,
            extra={"vassal": self._roster.shown(record)},
        )
