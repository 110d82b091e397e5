"""Vassals that die before they are loyal: how often they did, and how long they wait. Pure.

As in uWSGI (documentation "The uWSGI Emperor", blacklist and throttling), but that the
throttle stays at its maximum, where uWSGI halves it, and that nothing is tried sooner than a
second after its death, whatever the throttle says.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from emperor.runtime.law.rules import Rules

#: A process that died unloyal is not tried again sooner, in seconds.
LEAST_DELAY_SECONDS = 1.0

# Enough to reach any cap.
_MOST_DOUBLINGS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One vassal's place on the blacklist; moments are monotonic seconds."""

    attempts: int
    throttle_seconds: float
    first_at: float
    last_at: float


def blame(entry: Entry | None, rules: Rules, now: float, *, seed: int) -> Entry:
    """The entry after one more death at ``now``; ``seed`` makes a vassal's jitter its own."""
    attempts = 1 if entry is None else entry.attempts + 1
    throttle = 0.0 if entry is None else entry.throttle_seconds
    if rules.is_exponential:
        throttle = _exponential(attempts, rules, seed)
    else:
        throttle = min(throttle + rules.throttle_step_seconds, rules.throttle_cap_seconds)
    return Entry(
        attempts=attempts,
        throttle_seconds=throttle,
        first_at=now if entry is None else entry.first_at,
        last_at=now,
    )


def _exponential(attempts: int, rules: Rules, seed: int) -> float:
    """One second, then ``factor`` times more with each death; the cap is spread as well."""
    delay = LEAST_DELAY_SECONDS
    for _ in range(min(attempts - 1, _MOST_DOUBLINGS)):
        delay *= rules.backoff_factor  # a product becomes infinite where a power raises
    delay = min(delay, rules.throttle_cap_seconds)
    spread = random.Random(seed * 1_000_003 + attempts).uniform(-1.0, 1.0)
    return delay * (1.0 + rules.backoff_jitter * spread)


def delay_seconds(entry: Entry | None) -> float:
    """How long a vassal with that entry waits after its death."""
    return max(LEAST_DELAY_SECONDS, entry.throttle_seconds if entry is not None else 0.0)
