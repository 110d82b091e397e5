"""What the Emperor's configuration says about the treatment of vassals. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Times in seconds. The defaults are uWSGI's, where it has the option.

    ``throttle`` grows by ``throttle_step`` with each death of an unloyal vassal, up to
    ``throttle_cap``; with ``is_exponential`` by ``backoff_factor``, spread by
    ``backoff_jitter`` (a part of the delay).
    """

    is_graceful: bool = False
    curse_seconds: float = 30.0
    has_blacklist: bool = True
    throttle_step_seconds: float = 0.003
    throttle_cap_seconds: float = 180.0
    is_exponential: bool = False
    backoff_factor: float = 2.0
    backoff_jitter: float = 0.1
    heal_seconds: float | None = None
    heartbeat_seconds: float = 30.0
    heartbeat_grace_seconds: float = 10.0


def rules(config: Mapping[str, Any]) -> Rules:
    """The rules in the Emperor's configuration, as the compile server answers it."""
    cap = config["max_throttle_milliseconds"] / 1000
    if config["backoff"] == "exponential" and config["backoff_cap_seconds"] is not None:
        cap = config["backoff_cap_seconds"]
    return Rules(
        is_graceful=config["graceful_shutdown"],
        curse_seconds=config["curse_tolerance_seconds"],
        has_blacklist=config["has_blacklist"],
        throttle_step_seconds=config["throttle_milliseconds"] / 1000,
        throttle_cap_seconds=cap,
        is_exponential=config["backoff"] == "exponential",
        backoff_factor=config["backoff_factor"],
        backoff_jitter=config["backoff_jitter"],
        heal_seconds=config["heal_after_seconds"],
        heartbeat_seconds=config["required_heartbeat_seconds"],
        heartbeat_grace_seconds=config["heartbeat_grace_seconds"],
    )
