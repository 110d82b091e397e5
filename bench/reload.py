"""From the touch of a vassal's file to the reload byte in its hands."""

import os
import random
import time
from collections.abc import Sequence

from bench.figures import Finding, Request, gather
from bench.peers import EMPEROR, UWSGI, alternated, contenders, running
from bench.vassals import Place, TinyLog, place, wait_until

_RUNS = 3
_TOUCHES = 50
_SPREAD_SECONDS = 10.0  # more than three scan periods of the peer: every phase is met
_SETTLE_SECONDS = 4.0  # longer than a scan, and than a reload is held back after a start
_ARRIVE_SECONDS = 60.0


def measure(request: Request) -> tuple[Finding, ...]:
    """Milliseconds from touch to reload byte; every run's touches are in one series."""
    runs = request.runs_or(_RUNS)
    with place(request.vassals) as where:
        rivals = contenders(where)
        taken: dict[str, list[float]] = {rival.name: [] for rival in rivals}
        for run, rival in alternated(rivals, runs):
            with running(rival, where) as daemon:
                dice = random.Random(run)  # the same for each contender
                names = dice.sample(where.names, min(_TOUCHES, len(where.names)))
                taken[rival.name] += touch_each(
                    daemon.log, where, names, dice=dice, spread_seconds=_SPREAD_SECONDS
                )
            request.say(f"reload {run + 1}/{runs} {rival.name}")
    return (
        Finding(
            what=f"touch to reload byte, {request.vassals:,} vassals",
            unit="ms",
            series=gather(taken),
            ratio=(UWSGI, EMPEROR),
            bar="median under 20 ms",
        ),
    )


def touch_each(
    log: TinyLog,
    where: Place,
    names: Sequence[str],
    *,
    dice: random.Random,
    spread_seconds: float,
) -> list[float]:
    """Touch each once, in this order, at moments that the dice choose. Milliseconds until the
    reload byte of each."""
    moments = sorted(dice.uniform(0, spread_seconds) for _ in names)
    begin = time.monotonic() + _SETTLE_SECONDS
    touched: dict[str, int] = {}
    for name, moment in zip(names, moments, strict=True):
        time.sleep(max(0.0, begin + moment - time.monotonic()))
        touched[name] = time.monotonic_ns()
        os.utime(where.path(name))
    wait_until(
        lambda: touched.keys() <= log.first("reload").keys(),
        seconds=_ARRIVE_SECONDS,
        what=f"reload of {len(touched)} vassals",
    )
    told = log.first("reload")
    return [(told[name] - at) / 1e6 for name, at in touched.items()]
