"""Ends what compile workers have left behind, however fast it multiplies."""

import contextlib
import os
import signal
import time
from collections.abc import Container, Iterator

from emperor.runtime.guardian.children import children, owner_of
from emperor.runtime.guardian.groups import kill_group, kill_process, signal_process

#: How long killed processes may take to be gone, in seconds.
END_SECONDS = 2.0

_PAUSE_SECONDS = 0.002


def end_strays(workers: Container[int]) -> bool:
    """Kill every child of ours that is none of ``workers``, with all that came of it, and wait
    for their end, but not for long; says whether all are gone.

    Whose dead one's children are there comes to us, who is a subreaper. All are stopped before
    the first is killed: what is stopped has no more children, and still counts where its user
    may have so many processes and no more.
    """
    end = time.monotonic() + END_SECONDS
    while _strays(workers):
        _stop_all(workers, end)
        for pid in _strays(workers):
            owner = owner_of(pid)  # without CAP_KILL it takes a tenant to kill his own
            kill_group(pid, owner)
            kill_process(pid, owner)
        if time.monotonic() > end:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True


def _strays(workers: Container[int]) -> list[int]:
    return [pid for pid in children() if pid not in workers]


def _stop_all(workers: Container[int], end: float) -> None:
    """Stop all that came of workers which are no more, until there is nobody new."""
    stopped: set[int] = set()
    while time.monotonic() < end:
        new = [(pid, parent) for pid, parent in _family(_strays(workers)) if pid not in stopped]
        if not new:
            return
        for pid, parent in new:
            if _stop(pid, parent):
                stopped.add(pid)


def _family(pids: list[int]) -> Iterator[tuple[int, int]]:
    """Some children of ours and what came of them, each with its parent."""
    ahead = [(pid, os.getpid()) for pid in pids]
    while ahead:
        pid, parent = ahead.pop()
        yield pid, parent
        with contextlib.suppress(OSError), open(_listing(pid), "rb") as file:
            ahead += [(child, pid) for child in map(int, file.read().split())]


def _listing(pid: int) -> str:
    return f"/proc/{pid}/task/{pid}/children"


def _stop(pid: int, parent: int) -> bool:
    """Stop a process, if it is still that parent's child; says whether that is done with."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return True
    try:
        owner = owner_of(pid)
        if _parent_of(pid) != parent:
            return False  # another parent's by now, most likely ours
        signal.pidfd_send_signal(handle, signal.SIGSTOP)
    except ProcessLookupError:
        pass
    except PermissionError:
        signal_process(pid, signal.SIGSTOP, owner)  # as its owner, who can reach nobody else
    finally:
        os.close(handle)
    return True


def _parent_of(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError):
        return None
