"""Rolling reloads: a second process of a vassal is started, and takes the first one's place.

The first one, the elder, is told to go when what it had accepted by then is on its way: where
new connections go to the other one alone, the elder drains until nobody has come for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from emperor.runtime import events as ev
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.law.gate import StartGate
from emperor.runtime.law.state import ALIVE
from emperor.runtime.monitors.sightings import Sighting
from emperor.runtime.protocol import Word
from emperor.runtime.roster import Record, Roster
from emperor.runtime.views import Key

#: An elder is told to go when nobody has waited at its sockets for so long...
QUIET_SECONDS = 0.5

#: ...which is looked at so often...
LOOK_SECONDS = 0.1

#: ...and after so long in any case.
MOST_DRAIN_SECONDS = 10.0


@dataclass(slots=True, kw_only=True, eq=False)
class _Drain:
    """An elder that is not told yet; ``heir`` has its place. Moments are the loop's."""

    heir: Record
    ends_at: float
    quiet_since: float | None = None
    timer: asyncio.TimerHandle | None = None


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
        self._drains: dict[Record, _Drain] = {}

    def start(self, elder: Record, spec: LaunchSpec) -> None:
        """Start another process beside the one that runs; an earlier heir of it goes."""
        self._end_heir(elder)
        heir = self._welcome(self._free_key(elder, "next"), elder.sighting)
        heir.section = elder.section
        heir.state = replace(heir.state, is_zerg=elder.state.is_zerg, seed=elder.state.seed)
        if elder.equipment is not None:
            heir.equipment = elder.equipment.heir()
        heir.listener, heir.listens_at = elder.listener, elder.listens_at
        heir.elder, elder.heir = elder, heir
        self._feed(heir, ev.Begin(spec=spec))

    def end(self, elder: Record) -> None:
        """Have nobody take its place any more, and whose place it took go now."""
        self._end_heir(elder)
        for record, drain in tuple(self._drains.items()):
            if drain.heir is elder:
                self._supersede(record)

    def _end_heir(self, elder: Record) -> None:
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
            self._end_heir(elder)
            return
        if not self._take_over(heir, elder):
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
        elder.listener = None
        news = elder.state.pending
        self._relieve(elder, heir)
        if news is not None:
            self._feed(heir, ev.Noticed(cause=news))

    def hears(self, record: Record, event: ev.Event) -> bool:
        """Whether an event is for the law of a vassal; to be asked before any is fed. An elder
        that drains lives on, and does nothing new; whatever ends that, tells it to go first."""
        if record not in self._drains:
            return True
        match event:
            case ev.Said(byte=byte):
                return byte != Word.WANTS_ZERG
            case ev.Tick() | ev.Stopping():
                return True
            case ev.Compiled() | ev.NotCompiled() | ev.Fresh():
                return False  # its heir has had the news, and has it compiled
            case _:
                self._supersede(record)
                return True

    def _take_over(self, heir: Record, elder: Record) -> bool:
        """Have new connections go to the heir; if that cannot be, the elder stays."""
        if heir.equipment is None:
            return True
        try:
            heir.equipment.take_over()
        except OSError as error:
            self._end_heir(elder)
            text = f"cannot take its sockets over ({error.strerror or error})"
            self._feed(elder, ev.HeirFailed(message=text))
            return False
        return True

    def _relieve(self, elder: Record, heir: Record) -> None:
        """Tell the elder to go: when it has drained, or now, if others share its sockets."""
        for drain in self._drains.values():
            if drain.heir is elder:
                drain.heir = heir
        is_relieved = elder.equipment is not None and elder.equipment.is_relieved
        if is_relieved and elder.state.phase in ALIVE:
            now = asyncio.get_running_loop().time()
            self._drains[elder] = _Drain(heir=heir, ends_at=now + MOST_DRAIN_SECONDS)
            self._look(elder)
        else:
            self._feed(elder, ev.Superseded())

    def _look(self, elder: Record) -> None:
        """Whether it has been quiet for long enough."""
        drain, loop = self._drains[elder], asyncio.get_running_loop()
        assert elder.equipment is not None
        now = loop.time()
        if not elder.equipment.is_quiet():
            drain.quiet_since = None
        elif drain.quiet_since is None:
            drain.quiet_since = now
        since = now if drain.quiet_since is None else drain.quiet_since
        if now >= min(since + QUIET_SECONDS, drain.ends_at):
            self._supersede(elder)
        else:
            drain.timer = loop.call_later(LOOK_SECONDS, self._look, elder)

    def _supersede(self, elder: Record) -> None:
        drain = self._drains.pop(elder)
        if drain.timer is not None:
            drain.timer.cancel()
        self._feed(elder, ev.Superseded())

    def _part(self, heir: Record, elder: Record) -> None:
        """What they shared is the elder's alone."""
        elder.heir = heir.elder = None
        heir.listener = None

    def _free_key(self, record: Record, what: str) -> Key:
        """A key that nobody has: NAME:next, NAME:old:2."""
        monitor, name = record.key
        key, number = (monitor, f"{name}:{what}"), 1
        while self._roster.get(key) is not None:
            number += 1
            key = (monitor, f"{name}:{what}:{number}")
        return key
