"""Start of vassals of many users in tyrant mode, beside the same without it. Needs root."""

import os

from bench.figures import BenchError, Finding, Request, gather
from bench.peers import EMPEROR, UWSGI, Contender, alternated, contenders, started
from bench.vassals import Place, place, write_vassals

_RUNS = 5
_VASSALS = 200
_USERS = 20
_FIRST_UID = 20_001

TYRANT = "emperor, tyrant"
UWSGI_TYRANT = "uwsgi, tyrant"


def measure(request: Request) -> tuple[Finding, ...]:
    """Seconds from the exec of the daemon to the last vassal's "accepting" byte, for 200
    vassals of 20 users."""
    if os.geteuid() != 0:
        raise BenchError("tyrant mode is for root: this bench, too")
    runs = request.runs_or(_RUNS)
    with place(_VASSALS) as where:
        os.chmod(where.root, 0o755)
        rivals = _rivals(where)
        seconds: dict[str, list[float]] = {rival.name: [] for rival in rivals}
        for run, rival in alternated(rivals, runs):
            spent = _start_seconds(rival, where)
            seconds[rival.name].append(spent)
            request.say(f"tyrants {run + 1}/{runs} {rival.name}: {spent:.3f} s")
    return (
        Finding(
            what=f"start until {_VASSALS} vassals of {_USERS} users are up",
            unit="s",
            series=gather(seconds),
            ratio=(TYRANT, EMPEROR),
            bar="at most 3",
        ),
    )


def _rivals(where: Place) -> tuple[Contender, ...]:
    """Everybody without tyrant mode and with it."""
    plain = contenders(where)
    names = {EMPEROR: TYRANT, UWSGI: UWSGI_TYRANT}
    tyrants = tuple(
        Contender(name=names[rival.name], argv=(*rival.argv, "--emperor-tyrant"))
        for rival in plain
    )
    return (*plain, *tyrants)


def _start_seconds(rival: Contender, where: Place) -> float:
    write_vassals(where)
    for number, name in enumerate(where.names):
        owner = _FIRST_UID + number % _USERS
        os.chown(where.path(name), owner, owner)
    log = os.path.join(where.root, "events")
    os.close(os.open(log, os.O_CREAT | os.O_WRONLY))
    os.chmod(log, 0o666)
    with started(rival, where) as daemon:
        daemon.wait_until(
            lambda: len(daemon.log.first("ready")) >= len(where.names),
            what=f"start of {len(where.names)} vassals",
        )
        return (max(daemon.log.first("ready").values()) - daemon.since_ns) / 1e9
