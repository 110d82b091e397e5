"""Process groups, and what is left of one when its leader is dead.

The law: SIGKILL goes to a dead vassal's group before its main process is reaped (until then
the number cannot be used again), and the vassal counts as gone when its group is empty.
"""

import os
import signal
from collections.abc import Iterable, Iterator

_FIRST_CHECK_SECONDS = 0.02
_LONGEST_CHECK_SECONDS = 1.0

Remains = tuple[int, int]
"""The number of a group that is gone, and the exit code or -signal of its leader."""


def signal_group(pgid: int, signum: int) -> bool:
    """Send a signal to every process of a group; False if the group is empty.

    Zombies count as processes, and a group that may not be signalled is not empty. This is
    the one place from which groups are signalled.
    """
    try:
        os.killpg(pgid, signum)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def kill_group(pgid: int) -> bool:
    """Send SIGKILL to every process of a group; False if the group is empty.

    One call is enough: a process with a signal pending cannot fork.
    """
    return signal_group(pgid, signal.SIGKILL)


class Lingering:
    """Groups whose leader is reaped and whose last processes are still dying."""

    def __init__(self) -> None:
        self._statuses: dict[int, int] = {}
        self._delay = _FIRST_CHECK_SECONDS
        self._due = 0.0

    def __iter__(self) -> Iterator[int]:
        return iter(self._statuses)

    def __contains__(self, pgid: int) -> bool:
        return pgid in self._statuses

    def add(self, pgid: int, status: int, now: float) -> None:
        """Take a group, just killed, whose leader left with ``status``, just reaped."""
        self._statuses[pgid] = status
        self._delay = _FIRST_CHECK_SECONDS
        self._due = now + self._delay

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds until ``tick`` is wanted, or None if nothing lingers."""
        return max(0.0, self._due - now) if self._statuses else None

    def settle(self, candidates: Iterable[int]) -> list[Remains]:
        """Return, and drop, those of the candidates whose group is empty by now."""
        return self._drop([pgid for pgid in candidates if not _remains(pgid)])

    def tick(self, now: float) -> list[Remains]:
        """Look at all groups if it is time to; later each time, and in the end thoroughly."""
        if not self._statuses or now < self._due:
            return []
        thoroughly = self._delay == _LONGEST_CHECK_SECONDS
        self._delay = min(2 * self._delay, _LONGEST_CHECK_SECONDS)
        self._due = now + self._delay
        left = {pgid for pgid in self._statuses if _remains(pgid)}
        if thoroughly and left:
            left &= _living_groups()
        return self._drop([pgid for pgid in self._statuses if pgid not in left])

    def _drop(self, gone: Iterable[int]) -> list[Remains]:
        return [(pgid, self._statuses.pop(pgid)) for pgid in gone if pgid in self._statuses]


def _remains(pgid: int) -> bool:
    # The leader is reaped: a process of that number is a new one, and the kernel gives a
    # number away only when no group has it any more.
    return not _exists(pgid) and kill_group(pgid)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _living_groups() -> set[int]:
    """Return the groups with a process that is not a zombie.

    A zombie owns nothing. It can keep a group from being empty for ever if its parent has
    left the group and never waits for it.
    """
    living = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:
                state, _, pgid = stat.read().rpartition(b")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state not in (b"Z", b"X"):
            living.add(int(pgid))
    return living
