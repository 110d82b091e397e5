"""Rolling reloads: a second process of a vassal is started, and takes the first one's place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from emperor.runtime import events as ev
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.law.gate import StartGate
from emperor.runtime.monitors.sightings import Sighting
from emperor.runtime.roster import Record, Roster
from emperor.runtime.views import Key


class Succession:
    """Starts heirs and lets them inherit. ``welcome`` makes a record, ``feed`` runs its law."""

    def __init__(
        self,
        *,
        roster: Roster,
        gate: StartGate[Key],
        welcome: Callable[[Key, Sighting], Record],
        feed: Callable[[Record, ev.Event], None],
    ) -> None:
        self._roster = roster
        self._gate = gate
        self._welcome = welcome
        self._feed = feed

    def start(self, elder: Record, spec: LaunchSpec) -> None:
        """Start another process beside the one that runs; an earlier heir of it goes."""
        self.end(elder)
        heir = self._welcome(self._free_key(elder, "next"), elder.sighting)
        heir.section = elder.section
        heir.state = replace(heir.state, is_zerg=elder.state.is_zerg, seed=elder.state.seed)
        heir.equipment = elder.equipment
        heir.listener, heir.listens_at = elder.listener, elder.listens_at
        heir.elder, elder.heir = elder, heir
        self._feed(heir, ev.Begin(spec=spec))

    def end(self, elder: Record) -> None:
        """Have nobody take its place any more."""
        heir = elder.heir
        if heir is not None:
            self._part(heir, elder)
            self._feed(heir, ev.Vanished())

    def renounce(self, heir: Record, message: str) -> None:
        """It will not take the place of the other one, which stays."""
        elder = heir.elder
        if elder is not None:
            self._part(heir, elder)
            self._feed(elder, ev.HeirFailed(message=message))

    def inherit(self, heir: Record) -> None:
        """Let it take the place of the other one, with all that belongs to the vassal. If
        something else is wanted by now, it goes."""
        elder = heir.elder
        if elder is None:
            return  # nobody waits for it any more: it is on its way out
        if not elder.state.is_wanted or elder.state.spec != heir.state.running:
            self.end(elder)
            return
        self._gate.has_reported(heir.key)
        self._gate.withdraw(elder.key)
        self._roster.exchange(heir, elder, self._free_key(elder, "old"))
        heir.elder = elder.heir = None
        elder.chronicle.succeed(heir.chronicle)
        heir.chronicle, elder.chronicle = elder.chronicle, heir.chronicle
        heir.sighting, heir.is_broken = elder.sighting, elder.is_broken
        heir.findings, heir.dependencies = elder.findings, elder.dependencies
        heir.lord, elder.lord = elder.lord, None
        heir.zergs, elder.zergs = elder.zergs, []
        for key in heir.zergs:
            zerg = self._roster.get(key)
            if zerg is not None:
                zerg.lord = heir
        heir.listener, heir.listens_at = elder.listener, elder.listens_at
        if elder.listener is not None:  # it may wait for a connection: that is over
            asyncio.get_running_loop().remove_reader(elder.listener.fileno())
        elder.equipment = elder.listener = None
        news = elder.state.pending
        self._feed(elder, ev.Superseded())
        if news is not None:
            self._feed(heir, ev.Noticed(cause=news))

    def _part(self, heir: Record, elder: Record) -> None:
        """What they shared is the elder's alone."""
        elder.heir = heir.elder = None
        heir.equipment = heir.listener = None

    def _free_key(self, record: Record, what: str) -> Key:
        """A key that nobody has: NAME:next, NAME:old:2."""
        monitor, name = record.key
        key, number = (monitor, f"{name}:{what}"), 1
        while self._roster.get(key) is not None:
            number += 1
            key = (monitor, f"{name}:{what}:{number}")
        return key
