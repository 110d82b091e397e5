"""Signals to processes and to process groups, also to those of another user's.

A guardian that is no root and has no CAP_KILL, but may become its tenants (CAP_SETUID), sends
as itself and then as the tenant: a vassal on its way is first the one's, then the other's.
"""

import os
import signal
from collections.abc import Callable
from functools import partial

from emperor.runtime.tenants.capability_sets import KILL, holds


def signal_group(pgid: int, signum: int, owner: int | None = None) -> bool:
    """Send a signal to every process of a group; False if the group is empty.

    ``owner`` is the uid of those that are not ours to signal. Zombies count as processes, and
    a group that may not be signalled is not empty. This is the one place from which groups
    are signalled.
    """
    send = partial(os.killpg, pgid, signum)
    if not _has_sent(send):
        return False
    if owner is None or not _is_out_of_reach(owner):
        return True
    return _has_sent_as(owner, send)


def kill_group(pgid: int, owner: int | None = None) -> bool:
    """Send SIGKILL to every process of a group; False if the group is empty.

    One call is enough: a process with a signal pending cannot fork.
    """
    return signal_group(pgid, signal.SIGKILL, owner)


# What ends nobody who has no handler for it.
_HARMLESS = (
    signal.SIGCHLD,
    signal.SIGCONT,
    signal.SIGURG,
    signal.SIGWINCH,
    signal.SIGSTOP,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
)


def signal_process(pid: int, signum: int, owner: int | None = None) -> bool:
    """Send a signal to a process; False if it is gone.

    The caller knows that the number is not another process's by now: it is a child of ours.
    """
    return _signal_one(partial(os.kill, pid, signum), owner)


def kill_process(pid: int, owner: int | None = None) -> bool:
    """Send SIGKILL to a process; False if it is gone."""
    return signal_process(pid, signal.SIGKILL, owner)


def signal_main(pid: int, signum: int, *, owner: int | None, forks: bool) -> None:
    """Signal the main process of a vassal, whose number is ``pid``, a child of ours.

    With ``forks`` that process is a wrapper: its child is meant, and while there is none, the
    wrapper. SIGKILL then goes to them all.
    """
    if not forks:
        signal_process(pid, signum, owner)
    elif signum == signal.SIGKILL:
        kill_group(pid, owner)
    else:
        _signal_child(pid, signum, owner)


def _signal_child(wrapper: int, signum: int, owner: int | None) -> None:
    children = _children_of(wrapper)
    if not children:  # it has not come so far, or is on its way out: nobody else is there
        signal_process(wrapper, signum, owner)
        return
    pid = children[0]
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return  # it is gone, or there is no descriptor left
    try:
        # The wrapper reaps its child, not we: only what is still a child of its is meant.
        if pid in _children_of(wrapper):
            signum = _as_heard(pid, signum)
            _signal_one(partial(signal.pidfd_send_signal, pidfd, signum), owner)
    finally:
        os.close(pidfd)


def _as_heard(pid: int, signum: int) -> int:
    """The signal that does to process 1 of a pid namespace what ``signum`` does to others.

    The kernel keeps from it what it has no handler for. What would have ended any other
    process is SIGKILL then.
    """
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            lines = dict(line.split(b":", 1) for line in status.read().splitlines())
    except OSError:
        return signum
    minded = int(lines[b"SigCgt"], 16) | int(lines[b"SigIgn"], 16)
    is_first = lines.get(b"NSpid", b"").split()[-1:] == [b"1"]
    is_minded = bool(minded >> (signum - 1) & 1) or signum in _HARMLESS
    return signum if is_minded or not is_first else signal.SIGKILL


def _children_of(pid: int) -> tuple[int, ...]:
    try:
        # Bytes: who has become a lesser user may be unable to load a codec.
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as listing:
            return tuple(map(int, listing.read().split()))
    except OSError:
        return ()


def _signal_one(send: Callable[[], None], owner: int | None) -> bool:
    try:
        send()
    except ProcessLookupError:
        return False
    except PermissionError:
        return owner is None or _has_sent_as(owner, send)
    return True


def _is_out_of_reach(owner: int) -> bool:
    return owner != os.geteuid() and not holds(KILL)


def _has_sent_as(owner: int, send: Callable[[], None]) -> bool:
    """Send as ``owner``; False if there is nobody to send to.

    The real and the saved uid stay ours, so the owner can neither signal nor trace us.
    """
    back = os.geteuid()
    try:
        os.seteuid(owner)
    except PermissionError:
        return True
    try:
        return _has_sent(send)
    finally:
        os.seteuid(back)


def _has_sent(send: Callable[[], None]) -> bool:
    try:
        send()
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
