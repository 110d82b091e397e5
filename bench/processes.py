"""What the kernel says about processes: who is below whom, CPU used, memory held."""

import os
from dataclasses import dataclass

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process at one moment. ``started`` (ticks since boot) tells a reused pid apart."""

    pid: int
    parent: int
    started: int
    cpu_seconds: float  # user and system, in steps of one clock tick (mostly 10 ms)
    zombie: bool


def look(pid: int) -> Process | None:
    """The process, or None if there is none (any more)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the name may hold blanks and brackets
    return Process(
        pid=pid,
        parent=int(fields[1]),
        started=int(fields[19]),
        cpu_seconds=(int(fields[11]) + int(fields[12])) / _TICKS,
        zombie=fields[0] == b"Z",
    )


def alive(seen: Process) -> bool:
    """Is that very process still running?"""
    now = look(seen.pid)
    return now is not None and now.started == seen.started and not now.zombie


def below(pid: int) -> tuple[Process, ...]:
    """All descendants of a process, parents before their children."""
    everyone = (look(int(name)) for name in os.listdir("/proc") if name.isdigit())
    children: dict[int, list[Process]] = {}
    for process in everyone:
        if process is not None:
            children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    todo = [pid]
    while todo:
        born = children.get(todo.pop(), [])
        found += born
        todo += [process.pid for process in born]
    return tuple(found)


def program(pid: int) -> str:
    """The path of the file that a process runs; empty if it is gone or not ours to see."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def rss_megabytes(pid: int) -> float:
    """Resident memory of one process in MB (10^6 bytes); 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    kibibytes = next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)
    return kibibytes * 1024 / 1e6
