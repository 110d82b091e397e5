"""Descriptors that come with packets, and numbers that vassals are given."""

import fcntl
import os
import socket
from collections.abc import Iterable

from emperor.runtime.guardian.messages import HIGHEST_TARGET

RIGHTS_SPACE = socket.CMSG_SPACE(253 * 4)
"""Room for as many descriptors as the kernel passes with one packet, in bytes."""


def keep_private() -> None:
    """Let nothing but 0, 1 and 2 reach a vassal, and make 0 /dev/null."""
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2:
            try:
                os.set_inheritable(descriptor, False)
            except OSError:
                continue  # the one that listed the directory
    while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(null, True)
    os.dup2(null, 0, inheritable=True)
    os.close(null)


def above_targets(descriptor: int) -> int:
    """Move a descriptor out of the numbers that vassals are given; OSError if none is left."""
    if descriptor > HIGHEST_TARGET:
        return descriptor
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, HIGHEST_TARGET + 1)
    os.close(descriptor)
    return moved


def move_above_targets(descriptors: list[int]) -> None:
    """Move each in place, so that those moved are known even if OSError (EMFILE) stops it."""
    for index, descriptor in enumerate(descriptors):
        descriptors[index] = above_targets(descriptor)


def rights(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """Return the descriptors that came with a packet."""
    return [
        descriptor
        for level, kind, data in ancillary
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        for descriptor in memoryview(data[: len(data) - len(data) % 4]).cast("i")
    ]


def close_all(descriptors: Iterable[int]) -> None:
    """Close every one of them."""
    for descriptor in descriptors:
        os.close(descriptor)
