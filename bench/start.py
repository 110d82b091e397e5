"""Start of a daemon until all of its vassals are accepting requests."""

from bench.figures import Finding, Request, gather
from bench.peers import EMPEROR, UWSGI, alternated, contenders, running
from bench.vassals import place

_RUNS = 5


def measure(request: Request) -> tuple[Finding, ...]:
    """Seconds from the exec of the daemon to the last vassal's "accepting" byte."""
    runs = request.runs_or(_RUNS)
    with place(request.vassals) as where:
        rivals = contenders(where)
        seconds: dict[str, list[float]] = {rival.name: [] for rival in rivals}
        for run, rival in alternated(rivals, runs):
            with running(rival, where) as daemon:
                seconds[rival.name].append(daemon.start_seconds)
            request.say(f"start {run + 1}/{runs} {rival.name}: {daemon.start_seconds:.3f} s")
    return (
        Finding(
            what=f"start until {request.vassals:,} vassals are up",
            unit="s",
            series=gather(seconds),
            ratio=(UWSGI, EMPEROR),
            bar="at least 2",
        ),
    )
