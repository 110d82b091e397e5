"""What a daemon costs while nothing happens: CPU, and memory process by process."""

import os
import time

from bench.figures import Finding, Request, gather
from bench.peers import EMPEROR, Running, alternated, contenders, running
from bench.processes import below, look, program, rss_megabytes
from bench.vassals import Place, place

_RUNS = 3
_IDLE_SECONDS = 10.0
_SETTLE_SECONDS = 4.0  # what the start left to do is no idling

DAEMON = "daemon"
GUARDIAN = "guardian"
COMPILER = "compile server"


def measure(request: Request) -> tuple[Finding, ...]:
    """CPU seconds in ten seconds of idling, and resident MB, of a daemon and its helpers."""
    runs = request.runs_or(_RUNS)
    cpu: dict[str, list[float]] = {}
    memory: dict[str, list[float]] = {}
    with place(request.vassals) as where:
        for run, rival in alternated(contenders(where), runs):
            with running(rival, where) as daemon:
                used, held = _idle(daemon, where)
            cpu.setdefault(rival.name, []).append(sum(used.values()))
            for role, megabytes in held.items():
                memory.setdefault(_title(rival.name, role), []).append(megabytes)
            request.say(f"idle {run + 1}/{runs} {rival.name}: {sum(used.values()):.2f} s CPU")
    many = f"{request.vassals:,} vassals"
    return (
        Finding(
            what=f"CPU in {_IDLE_SECONDS:g} s idle, {many}, helpers included",
            unit="s",
            series=gather(cpu),
            bar="under 0.05 s",
        ),
        Finding(
            what=f"resident memory, {many}",
            unit="MB",
            series=gather(memory),
            bar="daemon under 35 MB",
        ),
    )


def _title(name: str, role: str) -> str:
    return f"{name} {role}" if name == EMPEROR else name


def _idle(daemon: Running, where: Place) -> tuple[dict[str, float], dict[str, float]]:
    """CPU seconds used while idle and resident MB after it, by role."""
    time.sleep(_SETTLE_SECONDS)
    roles = _roles(daemon.pid, where)
    before = {pid: _cpu(pid) for pid in roles}
    time.sleep(_IDLE_SECONDS)
    used: dict[str, float] = {}
    held: dict[str, float] = {}
    for pid, role in roles.items():
        used[role] = used.get(role, 0.0) + _cpu(pid) - before[pid]
        held[role] = held.get(role, 0.0) + rss_megabytes(pid)
    return used, held


def _roles(daemon: int, where: Place) -> dict[int, str]:
    """Which process below the daemon is what: the guardian is the parent of the vassals."""
    family = below(daemon)
    tiny = os.path.realpath(where.tiny)
    vassals = {one.pid for one in family if program(one.pid) == tiny}
    parents = {one.parent for one in family if one.pid in vassals}
    roles = {daemon: DAEMON}
    for one in family:
        if one.pid not in vassals:
            roles[one.pid] = GUARDIAN if one.pid in parents else COMPILER
    return roles


def _cpu(pid: int) -> float:
    now = look(pid)
    return 0.0 if now is None else now.cpu_seconds
