"""The vassals as stats and the control socket see them, and what these may ask for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from emperor.runtime import events as ev
from emperor.runtime.controller import Controller
from emperor.runtime.law.state import Phase, Vassal
from emperor.runtime.roster import Record, Roster
from emperor.runtime.views import Key, VassalView, Verb

_EVENTS: dict[Verb, ev.Event] = {
    Verb.RELOAD: ev.Reload(),
    Verb.STOP: ev.Halt(),
    Verb.START: ev.Start(),
    Verb.RETRY: ev.Retry(),
}
_RESTING = (Phase.READY, Phase.LISTENING, Phase.PARKED, Phase.DELAYED, Phase.WAITING)
_WELL = (Phase.READY, Phase.LISTENING, Phase.PARKED)


class ThroneRoom:
    """The ``Court`` of a running daemon; ``announce`` is to be called with every change."""

    def __init__(self, roster: Roster) -> None:
        self._loop = asyncio.get_running_loop()
        self._roster = roster
        self._listeners: list[Callable[[Key], None]] = []
        self.controller: Controller | None = None

    def views(self) -> Iterator[VassalView]:
        """All vassals, in the order in which they came."""
        return map(self._view, self._roster)

    def find(self, name: str) -> tuple[Key, ...]:
        """The vassals of that name: NAME, MONITOR//NAME, or NAME:zerg."""
        return tuple(record.key for record in self._roster.find(name))

    def view(self, key: Key) -> VassalView | None:
        """One vassal; nothing if it is gone."""
        record = self._roster.get(key)
        return None if record is None else self._view(record)

    def command(self, key: Key, verb: Verb) -> None:
        """Have something done; nothing happens if the vassal is gone."""
        record = self._roster.get(key)
        if record is not None and self.controller is not None:
            self.controller.tell(record, _EVENTS[verb])

    def subscribe(self, on_change: Callable[[Key], None]) -> Callable[[], None]:
        """Be told of every vassal that has changed, until the returned function is called."""
        self._listeners.append(on_change)
        return lambda: self._listeners.remove(on_change)

    def __len__(self) -> int:
        return len(self._roster)

    def unsettled(self) -> Iterator[Key]:
        """The vassals with which something is under way."""
        return (record.key for record in self._roster if not _is_settled(record.state))

    def is_settled(self, key: Key) -> bool:
        """Whether nothing is under way with a vassal, or it is gone."""
        record = self._roster.get(key)
        return record is None or _is_settled(record.state)

    def announce(self, record: Record) -> None:
        """A vassal may have changed."""
        for listener in tuple(self._listeners):
            listener(record.key)

    def _epoch(self, moment: float | None) -> int:
        """A monotonic moment as time of day."""
        return 0 if moment is None else round(time.time() + moment - self._loop.time())

    def _view(self, record: Record) -> VassalView:
        state, chronicle, sighting = record.state, record.chronicle, record.sighting
        entry = state.blacklisted
        running = state.running if record.pid is not None else None
        return VassalView(
            id=record.uwsgi_id,
            shown=self._roster.shown(record),
            monitor=record.key[0],
            state=state.phase.value,
            pid=-1 if record.pid is None else record.pid,
            born=chronicle.born,
            last_mod=chronicle.last_mod,
            first_run=chronicle.first_run,
            last_run=chronicle.last_run,
            last_ready=chronicle.last_ready,
            last_accepting=chronicle.last_accepting,
            last_loyal=chronicle.last_loyal,
            last_heartbeat=chronicle.last_heartbeat,
            cursed=chronicle.cursed,
            ready=int(chronicle.is_ready),
            accepting=int(chronicle.is_accepting),
            loyal=int(state.is_loyal),
            zerg=int(state.is_zerg),
            on_demand="" if state.spec is None else state.spec.socket or "",
            uid=sighting.attributes.uid,
            gid=sighting.attributes.gid,
            respawns=chronicle.respawns,
            generation=chronicle.generation,
            digest="" if running is None else running.digest,
            last_exit=chronicle.last_exit,
            last_exit_at=chronicle.last_exit_at,
            next_try=self._epoch(state.until) if state.phase is Phase.DELAYED else 0,
            attempts=0 if entry is None else entry.attempts,
            throttle_milliseconds=0 if entry is None else round(1000 * entry.throttle_seconds),
            first_attempt=0 if entry is None else chronicle.first_attempt,
            last_attempt=0 if entry is None else chronicle.last_attempt,
            diagnostics=record.findings,
            is_broken=record.is_broken,
            output="" if record.capture is None else record.capture.text,
            outlook=outlook(state, self._loop.time(), is_broken=record.is_broken),
            is_settled=_is_settled(state),
            is_well=state.phase in _WELL and not record.is_broken and not state.is_behind,
        )


def _is_settled(state: Vassal) -> bool:
    is_at_rest = state.phase in _RESTING and state.reload_wanted is None
    return is_at_rest and state.pending is None


def outlook(state: Vassal, now: float, *, is_broken: bool) -> str:
    """What happens next to a vassal, as a sentence part; ``now`` is monotonic."""
    left = 0.0 if state.until is None else max(state.until - now, 0.0)
    match state.phase:
        case _ if state.pending is not None:
            return "is being compiled"
        case Phase.WAITING:
            return "is compiled again when something changes that its compile looked at"
        case Phase.LISTENING:
            return "is spawned when somebody connects to its socket"
        case Phase.QUEUED:
            return "is spawned when its turn comes"
        case Phase.SPAWNING | Phase.STARTING:
            return "is expected to accept requests"
        case Phase.READY if state.reload_wanted is not None and not state.has_heir:
            return "is told to reload in a moment"
        case Phase.READY if state.has_heir:
            return "serves until the next one is ready"
        case Phase.READY if state.is_behind:
            return "goes on as it was: what was to replace it did not become ready"
        case Phase.READY if is_broken:
            return "goes on with its last good config until its file is repaired"
        case Phase.READY:
            return "serves; reloads when its file changes"
        case Phase.RELOADING if state.until is not None:
            return f"is killed if it has not reloaded in {left:.0f} s"
        case Phase.RELOADING:
            return "is expected to accept requests again"
        case Phase.STOPPING:
            return f"is killed if it is not gone in {left:.0f} s"
        case Phase.DELAYED:
            return f"is spawned again in {left:.1f} s"
        case Phase.PARKED if state.is_stopped:
            return "rests until an operator starts it"
        case Phase.PARKED:
            return "rests until its file changes or an operator starts it"
        case _:
            return "is gone"
