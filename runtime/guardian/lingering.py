"""What is left of a process group when its leader is dead.

The law: SIGKILL goes to a dead vassal's group before its main process is reaped (until then
the number cannot be used again), and the vassal counts as gone when its group is empty.
"""

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from emperor.runtime.guardian.groups import kill_group

_FIRST_CHECK_SECONDS = 0.02
_LONGEST_CHECK_SECONDS = 1.0

Remains = tuple[int, int]
"""The number of a group that is gone, and the exit code or -signal of its leader."""


class _Group(NamedTuple):
    status: int
    owner: int | None


class Lingering:
    """Groups whose leader is reaped and whose last processes are still dying."""

    def __init__(self) -> None:
        self._groups: dict[int, _Group] = {}
        self._delay = _FIRST_CHECK_SECONDS
        self._due = 0.0

    def __iter__(self) -> Iterator[int]:
        return iter(self._groups)

    def __contains__(self, pgid: int) -> bool:
        return pgid in self._groups

    def add(self, pgid: int, status: int, now: float, owner: int | None = None) -> None:
        """Take a group, just killed, whose leader left with ``status``, just reaped.

        ``owner`` is the uid that its processes have where that is not ours.
        """
        self._groups[pgid] = _Group(status, owner)
        self._delay = _FIRST_CHECK_SECONDS
        self._due = now + self._delay

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds until ``tick`` is wanted, or None if nothing lingers."""
        return max(0.0, self._due - now) if self._groups else None

    def kill_all(self) -> None:
        """Send SIGKILL to all groups once more."""
        for pgid in self._groups:
            self._remains(pgid)

    def settle(self, candidates: Iterable[int]) -> list[Remains]:
        """Return, and drop, those of the candidates whose group is empty by now."""
        return self._drop([pgid for pgid in candidates if not self._remains(pgid)])

    def tick(self, now: float) -> list[Remains]:
        """Look at all groups if it is time to; later each time, and in the end thoroughly."""
        if not self._groups or now < self._due:
            return []
        thoroughly = self._delay == _LONGEST_CHECK_SECONDS
        self._delay = min(2 * self._delay, _LONGEST_CHECK_SECONDS)
        self._due = now + self._delay
        left = {pgid for pgid in self._groups if self._remains(pgid)}
        if thoroughly and left:
            left &= _living_groups()
        return self._drop([pgid for pgid in self._groups if pgid not in left])

    def _drop(self, gone: Iterable[int]) -> list[Remains]:
        return [(pgid, self._groups.pop(pgid).status) for pgid in gone if pgid in self._groups]

    def _remains(self, pgid: int) -> bool:
        # The leader is reaped: a process of that number is a new one, and the kernel gives a
        # number away only when no group has it any more.
        return not _exists(pgid) and kill_group(pgid, self._groups[pgid].owner)


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
