"""Holds the vassals: feeds events to their state machines and carries the effects out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import zlib
from collections.abc import Callable

from emperor.runtime import events as ev
from emperor.runtime.chronicle import Chronicle
from emperor.runtime.compilations import Compilations
from emperor.runtime.events import Cause
from emperor.runtime.hooks import Hooks
from emperor.runtime.launcher import Launcher
from emperor.runtime.law.gate import StartGate
from emperor.runtime.law.rules import Rules
from emperor.runtime.law.state import Phase, Vassal
from emperor.runtime.law.table import step
from emperor.runtime.monitors.sightings import (
    Appeared,
    AttributesChanged,
    Changed,
    Problem,
    Sighting,
)
from emperor.runtime.monitors.sightings import Event as Sight
from emperor.runtime.on_demand import OnDemand
from emperor.runtime.outfit import Outfit
from emperor.runtime.programs.succession import Succession
from emperor.runtime.roster import Record, Roster
from emperor.runtime.views import Key

log = logging.getLogger("emperor")

#: The section that a vassal's zergs are made of.
ZERG_SECTION = "zerg"

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_ON_THE_WAY_UP = (Phase.SPAWNING, Phase.STARTING)


class Controller:
    """All vassals of a daemon.

    The parts that work for it are set before the first event. ``on_empty`` is
    called when nothing is left after ``shut_down``; ``on_change`` after every step of a vassal.
    """

    compilations: Compilations
    launcher: Launcher
    outfit: Outfit
    on_demand: OnDemand
    hooks: Hooks

    def __init__(
        self,
        *,
        roster: Roster,
        rules: Rules,
        gate: StartGate[Key],
        most_zergs: int,
        on_change: Callable[[Record], None],
        on_empty: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._roster = roster
        self._rules = rules
        self._gate = gate
        self._most_zergs = most_zergs
        self._zergs = 0
        self._on_change = on_change
        self._on_empty = on_empty
        self._gate_timer: asyncio.TimerHandle | None = None
        self._is_admitting = False
        self._is_first_look = True
        self._is_shutting_down = False
        self._succession = Succession(
            roster=roster, gate=gate, welcome=self._welcome, feed=self._feed
        )

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
                    self._with_zergs(record, ev.Vanished())

    def first_look_is_over(self) -> None:
        """Every monitor has told what was there: who comes now comes later."""
        self._is_first_look = False

    def tell(self, record: Record, event: ev.Event) -> None:
        """Something is asked of one vassal."""
        if isinstance(event, ev.Halt | ev.Disowned):
            self._succession.end(record)
        self._feed(record, event)

    def tell_all(self, event: ev.Event) -> None:
        """Something is asked of every vassal."""
        for record in self._roster:
            self._feed(record, event)

    def shut_down(self, event: ev.Leave | ev.Die) -> None:
        """Bring every vassal down."""
        self._is_shutting_down = True
        self.tell_all(event)
        self.check_empty()

    def check_empty(self) -> None:
        """Tell when nothing is left: no vassal and no hook."""
        if self._is_shutting_down and not len(self._roster) and self.hooks.is_idle:
            self._on_empty()

    # -- vassals come and go -----------------------------------------------------------------

    def _noticed(self, sighting: Sighting, cause: Cause) -> None:
        if self._is_shutting_down:
            return
        key = (sighting.monitor, sighting.name)
        record = self._roster.get(key) or self._welcome(key, sighting)
        record.sighting = sighting
        if cause is Cause.FILE:
            record.chronicle.last_mod = sighting.stamp.mtime_ns // 1_000_000_000
        self._with_zergs(record, ev.Noticed(cause=cause))

    def _welcome(self, key: Key, sighting: Sighting, section: str | None = None) -> Record:
        mtime = sighting.stamp.mtime_ns // 1_000_000_000
        state = Vassal(
            rules=self._rules,
            seed=zlib.crc32("\0".join(key).encode("utf-8", "surrogateescape")),
            is_zerg=section is not None,
        )
        record = Record(
            key,
            sighting,
            state,
            Chronicle(born=mtime, last_mod=mtime),
            section=section,
            is_first=self._is_first_look,
        )
        self._roster.add(record)
        with contextlib.suppress(OSError):  # a full network is a matter of its start
            self.outfit.told(record)  # addresses are given in the order in which vassals come
        return record

    def _with_zergs(self, record: Record, event: ev.Event) -> None:
        """What happens to a file happens to all that was made of it."""
        for key in tuple(record.zergs):
            zerg = self._roster.get(key)
            if zerg is not None:
                zerg.sighting = record.sighting
                if isinstance(event, ev.Vanished):
                    self._succession.end(zerg)
                self._feed(zerg, event)
        if isinstance(event, ev.Vanished):
            self._succession.end(record)
        self._feed(record, event)

    def _spawn_zerg(self, record: Record) -> None:
        """Another instance of a vassal that asks for help, up to ``emperor-broodlord``."""
        if self._zergs >= self._most_zergs or self._is_shutting_down:
            return
        number = 1 + max((int(k[1].rpartition(":")[2]) for k in record.zergs), default=0)
        monitor, name = record.key
        while self._roster.get((monitor, f"{name}:{ZERG_SECTION}:{number}")) is not None:
            number += 1  # one of an earlier file of that name is still going
        key = (monitor, f"{name}:{ZERG_SECTION}:{number}")
        self._roster.log(record, logging.INFO, f"asks for help: spawning {key[1]}")
        record.zergs.append(key)
        self._zergs += 1
        zerg = self._welcome(key, record.sighting, ZERG_SECTION)
        zerg.lord = record
        self._feed(zerg, ev.Noticed())

    def _forget(self, record: Record) -> None:
        self._roster.remove(record)
        if self._gate.withdraw(record.key):
            self._admit()
        self._succession.end(record)
        self.on_demand.unlisten(record)
        self.outfit.forget(record)
        if record.equipment is not None:
            record.equipment.close()
        if record.timer is not None:
            record.timer.cancel()
        self.compilations.forget(record, for_good=not self._is_shutting_down)
        if record.lord is not None:
            record.lord.zergs.remove(record.key)
            self._zergs -= 1
        self._on_change(record)
        self.check_empty()

    # -- the state machines ------------------------------------------------------------------

    def _feed(self, record: Record, event: ev.Event) -> None:
        """Run the state machine; events that effects cause have their turn afterwards."""
        if not self._succession.hears(record, event):
            return
        record.inbox.append(event)
        if len(record.inbox) > 1:
            return
        try:
            while record.inbox:
                event, before = record.inbox[0], record.state
                state, effects = step(before, event, self._loop.time())
                record.state = state
                record.chronicle.observe(event, before, state, int(time.time()))
                if state.phase is not before.phase:
                    self._moved(record, before.phase, state.phase)
                for effect in effects:
                    self._carry_out(record, effect)
                del record.inbox[0]
        finally:
            record.inbox.clear()  # a bug in one event must not silence the vassal for good
        if record in self._roster:
            self._set_timer(record)
            self._on_change(record)
        if record.state.has_reported or record.state.phase not in _ON_THE_WAY_UP:
            self._start_is_over(record)

    def _moved(self, record: Record, before: Phase, after: Phase) -> None:
        if before is Phase.QUEUED and after is not Phase.SPAWNING:
            self._gate.withdraw(record.key)
        if before is Phase.LISTENING:
            self.on_demand.deaf(record)
        if after is Phase.SPAWNING:
            record.is_first = False

    def _carry_out(self, record: Record, effect: ev.Effect) -> None:
        match effect:
            case ev.Compile():
                self.compilations.compile(record, effect)
            case ev.AskStart(is_urgent=is_urgent):
                self._ask_start(record, is_urgent=is_urgent)
            case ev.Spawn(spec=spec):
                self.launcher.spawn(record, spec)
            case ev.Send(byte=byte):
                if record.channel is not None:
                    record.channel.send(byte)
            case ev.Deliver(spec=spec):
                if record.channel is not None:
                    record.channel.deliver(spec.delivered)
            case ev.Signal(signum=signum, is_for_group=is_for_group):
                self.launcher.signal(record, signum, is_for_group=is_for_group)
            case ev.Listen(address=address):
                self.on_demand.listen(record, address)
            case ev.Unlisten():
                self.on_demand.unlisten(record)
            case ev.Hook(moment=moment):
                self._run_hooks(record, moment)
            case ev.Succeed(spec=wanted):
                self._succession.start(record, wanted)
            case ev.Inherit():
                self._succession.inherit(record)
            case ev.Renounce(message=message):
                self._succession.renounce(record, message)
            case ev.WantZerg():
                self._spawn_zerg(record)
            case ev.Log(level=level, message=message):
                self._roster.log(record, _LEVELS[level], message)
            case ev.Forget():
                self._forget(record)

    def _run_hooks(self, record: Record, moment: str) -> None:
        sighting = record.sighting
        self.hooks.run(
            moment,
            vassal=self._roster.shown(record),
            config=record.uwsgi_id,
            directory=sighting.directory,
            pid=record.last_pid,
            uid=sighting.attributes.uid,
            gid=sighting.attributes.gid,
            told=self.outfit.told(record) if record.last_pid else None,
        )

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

    # -- whose turn it is to start -------------------------------------------------------------

    def _ask_start(self, record: Record, *, is_urgent: bool) -> None:
        now = self._loop.time()
        self._gate.ask(record.key, now, is_first=record.is_first, is_urgent=is_urgent)
        self._admit()

    def _start_is_over(self, record: Record) -> None:
        if self._gate.has_reported(record.key):
            self._admit()

    def _admit(self) -> None:
        """Let through who may start; starts that fail at once make place for others."""
        if self._is_admitting or self._is_shutting_down:
            return
        self._is_admitting = True
        try:
            while keys := self._gate.due(self._loop.time()):
                for key in keys:
                    record = self._roster.get(key)
                    if record is not None:
                        self._feed(record, ev.MayStart())
        finally:
            self._is_admitting = False
        if self._gate_timer is not None:
            self._gate_timer.cancel()
        when = self._gate.deadline()
        self._gate_timer = None if when is None else self._loop.call_at(when, self._admit)
