"""Vassals that outlived their guardian: they are the daemon's own children from then on.

They are only if the daemon is a subreaper (``become_subreaper``). They get the same law as
under a guardian: at the main process's death SIGKILL to its group, then the reaping, and the
report when the group is empty.
"""

import asyncio
import os
import time
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from emperor.runtime.guardian.children import children
from emperor.runtime.guardian.groups import kill_group, signal_group, signal_main
from emperor.runtime.guardian.lingering import Lingering, Remains

UNKNOWN_STATUS = 255
"""The status of a vassal that died, and was reaped, while nobody could tell."""


class _Orphan(NamedTuple):
    pidfd: int
    owner: int | None
    forks: bool


class Orphans:
    """Watches orphaned vassals on the running loop.

    ``on_exited`` gets the pid and the exit code or -signal of each. ``own`` returns the pids of
    the children that the daemon started, and waits for, itself: they are never touched here.
    Wire ``sweep`` to SIGCHLD from the first death of a guardian on.
    """

    def __init__(
        self,
        *,
        on_exited: Callable[[int, int], object],
        own: Callable[[], Collection[int]],
    ) -> None:
        self._on_exited = on_exited
        self._own = own
        self._loop = asyncio.get_running_loop()
        self._watched: dict[int, _Orphan] = {}
        self._lingering = Lingering()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, pid: int, *, owner: int | None = None, forks: bool = False) -> None:
        """Take over a vassal whose guardian is dead; OSError (EMFILE) if it cannot be watched.

        ``owner`` and ``forks`` are what it was spawned with. One that was reaped before its
        end could be reported is reported, as UNKNOWN_STATUS.
        """
        if pid in self._watched:
            return  # its second guardian is dead, too
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            self._see_out(pid, UNKNOWN_STATUS, owner)
            return
        pidfd = os.pidfd_open(pid)
        self._watched[pid] = _Orphan(pidfd, owner, forks)
        self._loop.add_reader(pidfd, self._bury, pid)

    def signal(self, pid: int, signum: int, *, group: bool = False) -> None:
        """Signal a watched vassal's main process or group; nothing happens if it is gone."""
        orphan = self._watched.get(pid)  # never reaped while it is there
        if orphan is None:
            return
        if group:
            signal_group(pid, signum, orphan.owner)
        else:
            signal_main(pid, signum, owner=orphan.owner, forks=orphan.forks)

    def strays(self) -> tuple[int, ...]:
        """Return the children that nobody answers for.

        They are what left its vassal's session, what is left of a group, and a vassal that the
        guardian started without living to report it.
        """
        known = {*self._watched, *self._own()}
        return tuple(pid for pid in children() if pid not in known)

    def sweep(self) -> None:
        """Reap dead strays, and report the vassals whose group has become empty by that."""
        self._reap_strays()
        self._report(self._lingering.settle(tuple(self._lingering)))

    def close(self) -> None:
        """Watch no longer; the vassals are left as they are."""
        for pid in tuple(self._watched):
            self._unwatch(pid)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _bury(self, pid: int) -> None:
        owner = self._unwatch(pid).owner
        kill_group(pid, owner)
        self._see_out(pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), owner)

    def _see_out(self, pid: int, status: int, owner: int | None) -> None:
        self._lingering.add(pid, status, time.monotonic(), owner)
        self._report(self._lingering.settle((pid,)))
        self._arm()

    def _reap_strays(self) -> None:
        for pid in self.strays():
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue

    def _unwatch(self, pid: int) -> _Orphan:
        orphan = self._watched.pop(pid)
        self._loop.remove_reader(orphan.pidfd)
        os.close(orphan.pidfd)
        return orphan

    def _arm(self) -> None:
        left = self._lingering.seconds_left(time.monotonic())
        if self._timer is None and left is not None:
            self._timer = self._loop.call_later(left, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._reap_strays()
        self._report(self._lingering.tick(time.monotonic()))
        self._arm()

    def _report(self, remains: Sequence[Remains]) -> None:
        for pid, status in remains:
            self._loop.call_soon(self._on_exited, pid, status)
