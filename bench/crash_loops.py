"""From the touch of a vassal's file to the reload byte, while others die again and again."""

import random

from bench.figures import Finding, Request, gather
from bench.peers import EMPEROR, UWSGI, Contender, alternated, contenders, started
from bench.reload import touch_each
from bench.vassals import Place, place, write_vassals

_RUNS = 2
_CRASHING = 100
_TOUCHES = 200
_SPREAD_SECONDS = 20.0
_PREFIX = "shop00"  # of the names of the first hundred


def measure(request: Request) -> tuple[Finding, ...]:
    """Milliseconds from touch to reload byte; every run's touches are in one series. Also how
    often a vassal died meanwhile, for the reader to see that there was trouble."""
    runs = request.runs_or(_RUNS)
    taken: dict[str, list[float]] = {}
    with place(_CRASHING + _TOUCHES) as where:
        for run, rival in alternated(contenders(where), runs):
            milliseconds, deaths = _one_run(rival, where, seed=run)
            taken.setdefault(rival.name, []).extend(milliseconds)
            request.say(f"crash_loops {run + 1}/{runs} {rival.name}: {deaths} deaths")
    return (
        Finding(
            what=f"touch to reload byte while {_CRASHING} vassals crash-loop",
            unit="ms",
            series=gather(taken),
            ratio=(UWSGI, EMPEROR),
            bar="p99 at most 50 ms",
        ),
    )


def _one_run(rival: Contender, where: Place, *, seed: int) -> tuple[list[float], int]:
    """What the touches took, and how often a vassal died from the first to the last."""
    write_vassals(where)
    calm = [name for name in where.names if not name.startswith(_PREFIX)]
    with started(rival, where, environment={"TINY_CRASHING": _PREFIX}) as daemon:
        daemon.wait_until(
            lambda: (
                set(calm) <= daemon.log.first("ready").keys()
                and len(daemon.log.first("crash")) >= _CRASHING
            ),
            what=f"start of {len(calm)} vassals, and a crash of each other",
        )
        since = daemon.log.count("crash")
        dice = random.Random(seed)  # the same for each contender
        names = dice.sample(calm, len(calm))
        milliseconds = touch_each(
            daemon.log, where, names, dice=dice, spread_seconds=_SPREAD_SECONDS
        )
        return milliseconds, daemon.log.count("crash") - since
