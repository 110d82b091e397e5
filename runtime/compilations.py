"""Compiles for the controller: what is asked, what an answer means, who hears of it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

from emperor.runtime import events as ev
from emperor.runtime.compiling.client import CompileServer
from emperor.runtime.keepsakes import Keepsakes
from emperor.runtime.launch import BadSpec, CompileAnswer
from emperor.runtime.law.state import ALIVE, Phase
from emperor.runtime.monitors.watchtower import Watchtower
from emperor.runtime.roster import Record, Roster
from emperor.runtime.stamps import is_fresh
from emperor.runtime.tenants.privileges import as_files_of
from emperor.runtime.tenants.tenancy import Tenant, Tyrant, denial, of_tenant
from emperor.runtime.tenants.tyranny import Denied

#: How long to wait between two tries that files have asked for, or when the system could not
#: say whose a file is, in seconds.
RETRY_SECONDS = 1.0

#: A process that nobody has told to go.
_GOING_ON = (Phase.SPAWNING, *ALIVE)


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
        tyrant: Tyrant | None,
        feed: Callable[[Record, ev.Event], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._compiler = compiler
        self._roster = roster
        self._keepsakes = keepsakes
        self._watches_includes = watches_includes
        self._tyrant = tyrant
        self._feed = feed
        self._cwd = os.getcwd()
        self.watchtower: Watchtower | None = None

    def compile(self, record: Record, wanted: ev.Compile) -> None:
        """Carry the effect out; an event follows, if nothing newer is asked meanwhile."""
        if self._tyrant is None:
            self._compile(record, wanted, None)
            return
        verdict = self._tyrant.admit(record.sighting)
        if isinstance(verdict, Denied):
            if verdict.is_passing:  # the system is short of something: no event will tell
                self._loop.call_later(RETRY_SECONDS, self.touched, record.path_key)
            self._refuse(record, wanted, verdict)
        elif not self._is_disowned(record, (verdict.owner.uid, verdict.owner.gid)):
            self._compile(record, wanted, verdict)
        elif verdict.descriptor is not None:
            os.close(verdict.descriptor)

    def _refuse(self, record: Record, wanted: ev.Compile, denied: Denied) -> None:
        """What runs goes on, if it is still its owner's; nothing new is started."""
        refusal = denial(record.sighting, denied)
        findings = refusal.diagnostics
        if denied.owner is not None and self._is_disowned(record, denied.owner, *findings):
            return
        if not denied.is_passing and record.state.phase not in _GOING_ON:
            self._feed(record, ev.Disowned(message="it is refused"))
        self._compiled(record, wanted.serial, refusal)

    def _compile(self, record: Record, wanted: ev.Compile, tenant: Tenant | None) -> None:
        serial = wanted.serial
        if wanted.if_stale and record.state.spec is not None and _is_fresh(record, tenant):
            if tenant is not None and tenant.descriptor is not None:
                os.close(tenant.descriptor)
            self._feed(record, ev.Fresh(serial=serial))
            return
        sighting = record.sighting
        directory = sighting.directory or self._cwd

        def answered(answer: CompileAnswer) -> None:
            self._compiled(record, serial, _held(answer, tenant, directory), tenant)

        self._compiler.compile(
            {
                "name": sighting.compiled_as,
                "directory": directory,
                "monitor": sighting.monitor,
                "section": record.section,
                "text": sighting.text,
                "socket": sighting.socket,
            },
            answered,
            owner=None if tenant is None else tenant.owner,
            descriptor=None if tenant is None else tenant.descriptor,
        )

    def _is_disowned(self, record: Record, owner: tuple[int, int], *findings: str) -> bool:
        """Whether the vassal has to go before it is compiled for its new owner (uid, gid), of
        whom there may be findings."""
        state = record.state
        spec = state.spec or state.running
        if spec is None or spec.owner is None:
            return False
        first = spec.owner.uid, spec.owner.gid
        if first == owner:
            return False
        was, now = (f"{uid}:{gid}" for uid, gid in (first, owner))
        text = (
            f"error[tyrant]: its file belonged to {was} and belongs to {now} now: stopping\n"
            f"  help: touch the file to run it as {now}"
        )
        if state.phase in _GOING_ON:
            record.is_broken = True
            record.findings = (text, *findings)
        self._feed(record, ev.Disowned(message="\n".join((text, *findings))))
        return state.phase in _GOING_ON

    def touched(self, path_key: str) -> None:
        """Something changed that a broken vassal (or one with watched includes) reads. What
        changes by being compiled (a command that writes) is not compiled all the time."""
        record = self._roster.by_path_key(path_key)
        if record is None or record.is_retry_due:
            return
        wait = record.retried_at + RETRY_SECONDS - self._loop.time()
        if wait > 0:
            record.is_retry_due = True
            self._loop.call_later(wait, self._retry, path_key)
        else:
            self._retry(path_key)

    def _retry(self, path_key: str) -> None:
        record = self._roster.by_path_key(path_key)
        if record is not None:
            record.is_retry_due = False
            record.retried_at = self._loop.time()
            self._feed(record, ev.Noticed(cause=ev.Cause.INCLUDE))

    def forget(self, record: Record, *, for_good: bool) -> None:
        """The vassal is gone: nothing is watched for it, and ``for_good`` nothing is kept."""
        if self._keepsakes is not None and for_good:
            self._keepsakes.forget(record.key)
        if self.watchtower is not None and (record.is_broken or self._watches_includes):
            self.watchtower.unwatch_paths(record.path_key)

    def _compiled(
        self,
        record: Record,
        serial: int,
        answer: CompileAnswer,
        tenant: Tenant | None = None,
    ) -> None:
        if record.state.serial != serial or record not in self._roster:
            return  # the file has changed since, or is gone
        self._report(record, answer)
        self._watch_paths(record, answer)
        if answer.spec is None:
            kept = None
            is_known = self._tyrant is None or tenant is not None
            if self._keepsakes is not None and record.state.spec is None and is_known:
                owner = None if tenant is None else tenant.owner
                kept = self._keepsakes.recall(record.key, owner)
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


def _is_fresh(record: Record, tenant: Tenant | None) -> bool:
    """Whether nothing has changed that the last good compile looked at; a tenant learns nothing
    about what he could not look at himself."""
    if tenant is None:
        return is_fresh(record.dependencies)
    try:
        with as_files_of(tenant.owner):
            return is_fresh(record.dependencies)
    except OSError:
        return False


def _held(answer: CompileAnswer, tenant: Tenant | None, directory: str) -> CompileAnswer:
    """The answer as far as it is believed."""
    if tenant is None:
        return answer
    try:
        with as_files_of(tenant.owner):
            return of_tenant(answer, tenant, directory)
    except (BadSpec, OSError) as error:
        text = f"error: the compile worker gives an answer that is none: {error}"
        return CompileAnswer(spec=None, diagnostics=(text,), dependencies=())
