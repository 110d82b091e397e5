"""Who may start when: the one part of the law that is about all vassals together.

No clock and no I/O: moments are monotonic seconds and come from outside. Two lanes lead
through the gate. The vassals that were there when the Emperor came start a few at a time, each
making place for the next when it has said its first word. Whoever starts later passes the start
throttle of uWSGI (documentation "The uWSGI Emperor", throttling): a start within a second of
the one before adds a step to the level and is delayed by it, one that is not halves the level.
A delayed start delays nobody else.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

#: A start that says nothing stands in nobody's way for longer, in seconds.
SILENCE_SECONDS = 5.0

#: Starts that are closer than this trigger the throttle, in seconds.
_SAME_SECOND = 1.0

Name = TypeVar("Name", bound=Hashable)


class StartGate(Generic[Name]):
    """Lets starts through; each name asks once and is then told by ``due``, or withdrawn.

    ``limit`` is how many starts of the first lane may be under way, 0 is any number.
    ``step_seconds`` and ``cap_seconds`` are the start throttle's.
    """

    def __init__(self, *, limit: int, step_seconds: float, cap_seconds: float) -> None:
        self._limit = limit
        self._step_seconds = step_seconds
        self._cap_seconds = cap_seconds
        self.level_seconds = 0.0
        self._last_ask_at = float("-inf")
        self._first: deque[tuple[int, Name]] = deque()
        self._under_way: dict[Name, float] = {}  # since when, the oldest first
        self._delayed: list[tuple[float, int, Name]] = []
        self._places: dict[Name, int] = {}  # who waits still, by number of the question
        self._questions = 0

    def ask(self, name: Name, now: float, *, is_first: bool, is_urgent: bool) -> None:
        """Somebody wants to start: one of the first, one in a hurry, or anybody."""
        self._questions += 1
        self._places[name] = self._questions
        if is_first and not is_urgent and self._limit:
            self._first.append((self._questions, name))
            return
        delay = 0.0 if is_urgent or is_first else self._throttle(now)
        heapq.heappush(self._delayed, (now + delay, self._questions, name))

    def _throttle(self, now: float) -> float:
        """The delay of a start that is asked for now."""
        is_close = now < self._last_ask_at + _SAME_SECOND
        self._last_ask_at = now
        if is_close:
            self.level_seconds = min(self.level_seconds + self._step_seconds, self._cap_seconds)
            return self.level_seconds
        halved = self.level_seconds / 2
        self.level_seconds = halved if halved >= self._step_seconds else 0.0
        return 0.0

    def withdraw(self, name: Name) -> bool:
        """Somebody does not want to start any more, or what was started is over; says whether
        that makes place."""
        self._places.pop(name, None)
        return self.has_reported(name)

    def has_reported(self, name: Name) -> bool:
        """What was started has said something, or is dead; says whether that makes place."""
        return self._under_way.pop(name, None) is not None

    def due(self, now: float) -> list[Name]:
        """Who may start now."""
        admitted = []
        while self._delayed and self._delayed[0][0] <= now:
            _, question, name = heapq.heappop(self._delayed)
            if self._places.get(name) == question:
                del self._places[name]
                admitted.append(name)
        while self._under_way and now >= self._oldest_at() + SILENCE_SECONDS:
            del self._under_way[next(iter(self._under_way))]
        while self._first and len(self._under_way) < self._limit:
            question, name = self._first.popleft()
            if self._places.get(name) == question:
                del self._places[name]
                self._under_way[name] = now
                admitted.append(name)
        return admitted

    def deadline(self) -> float | None:
        """When ``due`` has an answer to give without anything else happening, if ever."""
        times = [self._delayed[0][0]] if self._delayed else []
        if self._first and self._under_way:
            times.append(self._oldest_at() + SILENCE_SECONDS)
        return min(times) if times else None

    def _oldest_at(self) -> float:
        return next(iter(self._under_way.values()))
