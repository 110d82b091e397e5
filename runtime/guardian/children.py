"""This process's children, the orphans that come to a subreaper among them."""

import ctypes
import os

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Have the orphans among this process's descendants come to it; OSError if refused."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def children() -> tuple[int, ...]:
    """Return the pids of this process's children, zombies among them."""
    pids: list[int] = []
    for thread in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{thread}/children", "rb") as listing:
            pids += map(int, listing.read().split())
    return tuple(pids)


def owner_of(pid: int) -> int | None:
    """Return the real uid of a process; None if it is gone, or hidden, or root's."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            for line in status:
                if line.startswith(b"Uid:"):
                    return int(line.split()[1]) or None
    except OSError:
        return None
    return None


def next_dead() -> int | None:
    """Return the pid of a dead child, still to be reaped."""
    try:
        dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return dead.si_pid if dead else None


def reap_all() -> bool:
    """Reap every dead child; say whether there are others."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True
