"""One request on its way: what it has done, whom it waits for, what it has to say."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from emperor.runtime.control.protocol import Outcome, Request, end_line, vassal_line
from emperor.runtime.control.waiting import Waiting
from emperor.runtime.law.state import Phase
from emperor.runtime.views import Court, Key, VassalView, Verb

#: How many vassals are told something in one turn of the loop.
SLICE = 32

_AT_REST = frozenset({Phase.PARKED.value, Phase.GONE.value})


def judge(verb: Verb | None, view: VassalView | None) -> Outcome:
    """What can be said of a vassal that was asked for ``verb`` (nothing: only looked at)."""
    if verb is Verb.STOP and (view is None or view.state in _AT_REST):
        return Outcome.STOPPED
    if view is None:
        return Outcome.GONE
    if verb is Verb.STOP:
        return Outcome.FAILED if view.is_settled else Outcome.PENDING
    if view.is_well:
        return Outcome.WELL
    return Outcome.FAILED if view.is_settled else Outcome.PENDING


def _key(view: VassalView) -> Key:
    """The key of a vassal that is shown as NAME or MONITOR//NAME."""
    return view.monitor, view.shown.removeprefix(f"{view.monitor}//")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """A vassal that is meant, and the name it goes by if it is gone later."""

    key: Key
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """Something to be said. ``outcome`` nothing: look when it is said."""

    name: str
    key: Key | None
    outcome: Outcome | None


class Errand:
    """Carries out a request; made inside a running loop.

    ``on_ready`` is called, never from ``begin`` or ``next_line``, when there is something new
    to say. Lines are made when they are asked for: who does not read costs no memory.
    """

    def __init__(
        self, request: Request, *, court: Court, waiting: Waiting, on_ready: Callable[[], None]
    ) -> None:
        self.request = request
        self.is_over = False
        self._loop = asyncio.get_running_loop()
        self._court = court
        self._waiting = waiting
        self._on_ready = on_ready
        self._todo: deque[_Target] = deque()
        self._awaited: dict[Key, _Target] = {}
        self._changed: dict[Key, None] = {}
        self._results: deque[_Result] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_fine = True
        self._is_abandoned = False

    @property
    def has_more(self) -> bool:
        """Whether ``next_line`` has something to say now."""
        return bool(self._results) or not (self._todo or self._awaited or self.is_over)

    def begin(self) -> None:
        """Find out who is meant, and begin with them in the next turn of the loop."""
        targets = self._targets()
        if self.request.is_rolling and self._results:  # somebody is unknown: touch nobody
            self._skip(targets)
        elif self.request.verb is None and not self.request.waits:
            self._results += [_Result(name=t.name, key=t.key, outcome=None) for t in targets]
        else:
            self._todo += targets
        self._loop.call_soon(self._advance)

    def next_line(self) -> bytes | None:
        """The next line of the answer; nothing if there is none yet, or any more."""
        while self._results:
            result = self._results.popleft()
            view = None if result.key is None else self._court.view(result.key)
            if result.outcome is None and view is None and not self.request.names:
                continue  # it has left the crowd meanwhile
            outcome = result.outcome or judge(None, view)
            self._is_fine &= outcome.is_fine
            return vassal_line(view.shown if view else result.name, outcome, view)
        if not self.has_more:
            return None
        self.is_over = True
        return end_line(is_fine=self._is_fine)

    def abandon(self) -> None:
        """Nobody listens any more. What was asked for is done, unless it is rolling; what is
        only waited for is not."""
        self._is_abandoned = True
        if self.request.is_rolling or self.request.verb is None:
            self._todo.clear()
        for key in self._awaited:
            self._waiting.remove(key, self._note)
        self._awaited.clear()
        self._results.clear()
        self._stop_timer()

    def catch_up(self) -> None:
        """Take in what has changed a moment ago."""
        self._check()

    # -- whom it is about --------------------------------------------------------------------

    def _targets(self) -> list[_Target]:
        """Every vassal that is meant, once; unknown names are results already."""
        if not self.request.names:
            return [_Target(key=_key(view), name=view.shown) for view in self._court.views()]
        found: dict[Key, str] = {}
        for name in dict.fromkeys(self.request.names):
            keys = self._court.find(name)
            if not keys:
                self._results.append(_Result(name=name, key=None, outcome=Outcome.UNKNOWN))
            for key in keys:
                found.setdefault(key, name)
        return [_Target(key=key, name=name) for key, name in found.items()]

    # -- doing -------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Turn to the next vassal, or slice of vassals."""
        is_rolling = self.request.is_rolling
        for _ in range(min(len(self._todo), 1 if is_rolling else SLICE)):
            self._turn_to(self._todo.popleft())
        if self._todo and not is_rolling:
            self._loop.call_soon(self._advance)
        elif self._awaited:
            self._stop_timer()
            self._timer = self._loop.call_later(
                self.request.timeout_seconds, self._run_out_of_time
            )
        self._tell()

    def _turn_to(self, target: _Target) -> None:
        waits = self.request.waits and not self._is_abandoned
        if waits:  # before the command: nothing that it causes may be missed
            self._awaited[target.key] = target
            self._waiting.add(target.key, self._note)
        if self.request.verb is not None:
            self._court.command(target.key, self.request.verb)
        if waits:
            self._note(target.key)
        elif not self._is_abandoned:
            self._say(target, Outcome.ASKED)

    # -- waiting -----------------------------------------------------------------------------

    def _note(self, key: Key) -> None:
        """A vassal has changed. Judged in the next turn: the court may be in the middle."""
        if not self._changed:
            self._loop.call_soon(self._check)
        self._changed[key] = None

    def _check(self) -> None:
        changed, self._changed = self._changed, {}
        for key in changed:
            if key in self._awaited:
                view = self._court.view(key)
                if view is None or view.is_settled:
                    self._settle(key, judge(self.request.verb, view))
        self._tell()

    def _settle(self, key: Key, outcome: Outcome) -> None:
        target = self._awaited.pop(key)
        self._waiting.remove(key, self._note)
        is_absent = outcome is Outcome.GONE and not self.request.names  # out of the crowd
        if not is_absent:
            self._say(target, outcome)
        if not self._awaited:
            self._stop_timer()
        if self.request.is_rolling and (outcome.is_fine or is_absent):
            self._loop.call_soon(self._advance)
        elif self.request.is_rolling:
            self._skip(self._todo)
            self._todo.clear()

    def _run_out_of_time(self) -> None:
        self._check()
        for key in tuple(self._awaited):
            self._settle(key, Outcome.PENDING)
        self._tell()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- saying ------------------------------------------------------------------------------

    def _say(self, target: _Target, outcome: Outcome) -> None:
        self._results.append(_Result(name=target.name, key=target.key, outcome=outcome))

    def _skip(self, targets: list[_Target] | deque[_Target]) -> None:
        for target in targets:
            self._say(target, Outcome.SKIPPED)

    def _tell(self) -> None:
        if not self._is_abandoned:
            self._on_ready()
