"""Vassal processes for the controller: the guardian, its successors, and what they leave."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from emperor.runtime.guardian.children import owner_of
from emperor.runtime.guardian.client import Guardian
from emperor.runtime.guardian.groups import kill_group, kill_process
from emperor.runtime.guardian.messages import Exited, Failed, Report, Spawned
from emperor.runtime.guardian.orphans import Orphans
from emperor.runtime.tenants.privileges import Identity

log = logging.getLogger("emperor")

#: How long to wait before another guardian is tried.
RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    """What there is to know of one that runs."""

    on_exited: Callable[[int], None]
    owner: int | None
    forks: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """A spawn that has not been answered."""

    on_spawned: Callable[[int], None]
    on_failed: Callable[[str], None]
    process: _Process


class Processes:
    """Spawns, signals and waits for vassals, and what hooks run; made inside a running loop.

    ``own`` gives the pids of the daemon's other children.

    A guardian that dies is replaced: its vassals live on, as the daemon's own children, and die
    with the daemon still.
    """

    def __init__(
        self,
        *,
        own: Callable[[], Sequence[int]],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._own = own
        self._soft_nofile: int | None = None
        self._umask: int | None = None
        self._output: dict[int, int] = {}
        self._wishes: dict[int, _Wish] = {}
        self._pids: dict[int, _Process] = {}
        self._orphaned: set[int] = set()
        self._orphans = Orphans(on_exited=self._exited, own=self._own_children)
        self._is_unguarded = self._has_complained = self._is_closing = False
        self._guardian = self._start()
        self._loop.add_signal_handler(signal.SIGCHLD, self._on_child)

    def settle(self, *, soft_nofile: int, umask: int | None, passes_output: bool) -> None:
        """What vassals get, known only after the guardian was started: the soft limit on
        descriptors, the umask, and, with ``passes_output``, the output that the daemon has now
        instead of the one that it was started with."""
        self._soft_nofile = soft_nofile
        self._umask = umask
        self._output = {1: 1, 2: 2} if passes_output else {}
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.prlimit(self._guardian.pid, resource.RLIMIT_NOFILE, (soft_nofile, hard))

    def become(self, identity: Identity) -> None:
        """Have the guardian become a lesser user; it is started with the daemon's own rights,
        for the lesser one may not be able to run python."""
        self._guardian.become(identity)

    def spawn(
        self,
        *,
        argv: Sequence[str],
        environment: Mapping[str, str],
        cwd: str,
        descriptors: Mapping[int, int],
        on_spawned: Callable[[int], None],
        on_failed: Callable[[str], None],
        on_exited: Callable[[int], None],
        owner: int | None = None,
        forks: bool = False,
    ) -> None:
        """Start a process as the leader of its own group; ``on_spawned`` or ``on_failed``
        follows. ``on_exited`` gets its exit code or -signal when it and its group are gone.
        ``owner`` is the uid that ``argv`` begins by becoming, where that is not the daemon's;
        with ``forks`` it begins with a wrapper, whose one child is meant by signals to the
        main process. Raises OSError (EMFILE)."""
        if self._is_unguarded:
            raise OSError(errno.ESRCH, "there is no guardian")
        number = self._guardian.spawn(
            argv=argv,
            env=environment,
            cwd=cwd,
            umask=self._umask,
            descriptors={**self._output, **descriptors},
            owner=owner,
            forks=forks,
        )
        self._wishes[number] = _Wish(
            on_spawned=on_spawned,
            on_failed=on_failed,
            process=_Process(on_exited=on_exited, owner=owner, forks=forks),
        )

    def signal(self, pid: int, signum: int, *, is_for_group: bool) -> None:
        """Signal a vassal's main process or its group; nothing happens if it is gone."""
        if pid in self._orphaned:
            self._orphans.signal(pid, signum, group=is_for_group)
        else:
            self._guardian.signal(pid, signum, group=is_for_group)

    async def close(self) -> None:
        """Have the guardian kill what is left, and leave."""
        self._is_closing = True
        await self._guardian.close()
        self._loop.remove_signal_handler(signal.SIGCHLD)
        self._orphans.close()

    def _start(self) -> Guardian:
        self._started_at = self._loop.time()
        return Guardian.start(
            on_report=self._take, on_death=self._mourn, soft_nofile=self._soft_nofile
        )

    def _take(self, report: Report) -> None:
        match report:
            case Spawned(request_id=number, pid=pid):
                wish = self._wishes.pop(number)
                self._pids[pid] = wish.process
                wish.on_spawned(pid)
            case Failed(request_id=number, message=message):
                self._wishes.pop(number).on_failed(message)
            case Exited(pid=pid, status=status):
                self._exited(pid, status)

    def _exited(self, pid: int, status: int) -> None:
        process = self._pids.pop(pid, None)
        if pid in self._orphaned:
            self._orphaned.discard(pid)
            self._guardian.forget(pid)
        if process is not None:
            process.on_exited(status)

    def _mourn(self, status: int) -> None:
        """The guardian is dead: its vassals are ours now, and another one guards them."""
        log.error("the guardian is dead (status %d): starting another", status)
        lost, self._wishes = self._wishes, {}
        self._orphaned |= self._pids.keys()
        for pid, process in tuple(self._pids.items()):
            self._orphans.watch(pid, owner=process.owner, forks=process.forks)
        self._is_unguarded = True
        if self._loop.time() >= self._started_at + RETRY_SECONDS:
            self._succeed()
        else:  # it died young: the next one may, too
            self._loop.call_later(RETRY_SECONDS, self._succeed)
        for wish in lost.values():
            wish.on_failed("the guardian died before it could")

    def _succeed(self) -> None:
        """Start the next guardian, and keep trying: the vassals go on meanwhile."""
        if self._is_closing:
            return
        try:
            self._guardian = self._start()
        except OSError as error:
            if not self._has_complained:
                log.error("no other guardian can be started: %s; trying again", error)
            self._has_complained = True
            self._loop.call_later(RETRY_SECONDS, self._succeed)
            return
        self._is_unguarded = self._has_complained = False
        for pid in self._orphaned:
            self._guardian.adopt(pid, self._pids[pid].owner)

    def _on_child(self) -> None:
        """A child is dead, perhaps one that came to us when the compile server died."""
        self._orphans.sweep()
        for pid in self._orphans.strays():
            if not _is_of_a_vassal(pid):
                owner = owner_of(pid)
                kill_group(pid, owner)
                kill_process(pid, owner)  # a worker leads no group

    def _own_children(self) -> tuple[int, ...]:
        return (self._guardian.pid, *self._own())


def _is_of_a_vassal(pid: int) -> bool:
    """Whether a stray process was started by a vassal, by its environment.

    The others are compile workers and the commands of ``exec://`` sources whose server died:
    nobody waits for what they say. Where the environment is another user's, what tells them
    is that compile workers, and so all that they start, can never gain privileges.
    """
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return b"UWSGI_EMPEROR_FD=" in file.read()
    except PermissionError:
        return not _is_bound(pid) or _is_bound(os.getpid())
    except OSError:
        return True  # gone


def _is_bound(pid: int) -> bool:
    """Whether a process has ``no_new_privs``."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            return any(line.split() == [b"NoNewPrivs:", b"1"] for line in status)
    except OSError:
        return False
