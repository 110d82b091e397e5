"""Compiles for the controller: what is asked, what an answer means, who hears of it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

from emperor.runtime import events as ev
from emperor.runtime.compiling.client import CompileServer
from emperor.runtime.keepsakes import Keepsakes
from emperor.runtime.launch import CompileAnswer
from emperor.runtime.monitors.watchtower import Watchtower
from emperor.runtime.roster import Record, Roster
from emperor.runtime.stamps import is_fresh


class Compilations:
    """Has vassals compiled; ``feed`` gets what came of it.

    ``watchtower`` is set when there is one; without it no paths are watched.
    """

    def __init__(
        self,
        *,
        compiler: CompileServer,
        roster: Roster,
        keepsakes: Keepsakes | None,
        watches_includes: bool,
        feed: Callable[[Record, ev.Event], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._compiler = compiler
        self._roster = roster
        self._keepsakes = keepsakes
        self._watches_includes = watches_includes
        self._feed = feed
        self._cwd = os.getcwd()
        self.watchtower: Watchtower | None = None

    def compile(self, record: Record, wanted: ev.Compile) -> None:
        """Carry the effect out; an event follows, if nothing newer is asked meanwhile."""
        serial = wanted.serial
        if wanted.if_stale and record.state.spec is not None and is_fresh(record.dependencies):
            self._feed(record, ev.Fresh(serial=serial))
            return
        sighting = record.sighting
        self._compiler.compile(
            {
                "name": sighting.compiled_as,
                "directory": sighting.directory or self._cwd,
                "monitor": sighting.monitor,
                "section": record.section,
                "text": sighting.text,
                "socket": sighting.socket,
            },
            lambda answer: self._compiled(record, serial, answer),
        )

    def touched(self, path_key: str) -> None:
        """Something changed that a broken vassal (or one with watched includes) reads."""
        record = self._roster.by_path_key(path_key)
        if record is not None:
            self._feed(record, ev.Noticed(cause=ev.Cause.INCLUDE))

    def forget(self, record: Record, *, for_good: bool) -> None:
        """The vassal is gone: nothing is watched for it, and ``for_good`` nothing is kept."""
        if self._keepsakes is not None and for_good:
            self._keepsakes.forget(record.key)
        if self.watchtower is not None and (record.is_broken or self._watches_includes):
            self.watchtower.unwatch_paths(record.path_key)

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
            text = f"its last good config cannot be kept: {error}"
            self._roster.log(record, logging.WARNING, text)

    def _report(self, record: Record, answer: CompileAnswer) -> None:
        """Say loudly, and once, what is wrong with a file."""
        is_broken = answer.spec is None
        if answer.diagnostics != record.findings or is_broken != record.is_broken:
            text = "\n".join(answer.diagnostics)
            if is_broken:
                runs = "the running instance is left alone"
                fate = runs if record.pid is not None else "it cannot be started"
                self._roster.log(record, logging.ERROR, f"does not compile; {fate}\n{text}")
            elif answer.diagnostics:
                self._roster.log(record, logging.WARNING, f"compiles with warnings\n{text}")
        record.findings = answer.diagnostics

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
                    self._loop.call_soon(self.touched, key)
            elif record.is_broken:
                self.watchtower.unwatch_paths(key)
        record.is_broken = is_broken
