"""The capability sets of the calling thread: reading, setting and emptying them."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

#: May signal every process; may change its groups, its user.
KILL: Final = 5
SETGID: Final = 6
SETUID: Final = 7

#: What lets a process pass over the rights on files; the kernel takes these away from a root
#: that works with another user's file rights, and from nobody else.
FILE_RIGHTS: Final = sum(1 << number for number in (0, 1, 2, 3, 4, 9, 27, 32))

_VERSION_3 = 0x20080522
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_MOST_CAPABILITIES = 64
_WORD_BITS = 32
_WORD = (1 << _WORD_BITS) - 1

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Word(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CapabilitySets:
    """Three of a thread's sets, as bits by capability number."""

    effective: int = 0
    permitted: int = 0
    inheritable: int = 0


def current_sets() -> CapabilitySets:
    """What this thread has; raises OSError."""
    words = (_Word * 2)()
    _check(_libc.capget(ctypes.byref(_Header(_VERSION_3, 0)), words))
    low, high = words
    return CapabilitySets(
        effective=low.effective | high.effective << _WORD_BITS,
        permitted=low.permitted | high.permitted << _WORD_BITS,
        inheritable=low.inheritable | high.inheritable << _WORD_BITS,
    )


def set_sets(wanted: CapabilitySets) -> None:
    """Give this thread these sets; raises OSError if it may not. What is no longer permitted
    and inheritable leaves the ambient set, too."""
    words = (_Word * 2)(
        *(
            _Word(
                wanted.effective >> shift & _WORD,
                wanted.permitted >> shift & _WORD,
                wanted.inheritable >> shift & _WORD,
            )
            for shift in (0, _WORD_BITS)
        )
    )
    _check(_libc.capset(ctypes.byref(_Header(_VERSION_3, 0)), words))


def keep_only(numbers: Iterable[int]) -> None:
    """Have these capabilities and no others, in all four sets: programs that this thread
    starts have them too. Raises OSError, naming those that are not there to keep."""
    wanted = sum(1 << number for number in set(numbers))
    missing = wanted & ~current_sets().permitted
    if missing:
        names = ", ".join(str(n) for n in range(missing.bit_length()) if missing >> n & 1)
        raise PermissionError(errno.EPERM, f"no right to keep the capabilities {names}")
    clear_ambient()
    set_sets(CapabilitySets(effective=wanted, permitted=wanted, inheritable=wanted))
    for number in range(wanted.bit_length()):
        if wanted >> number & 1:
            control(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number)


def bound_to(numbers: Iterable[int]) -> None:
    """Have no program that this thread starts ever gain other capabilities than these, as root
    or by its file. Raises OSError; only who may change the bounding set can."""
    allowed = set(numbers)
    for number in range(_MOST_CAPABILITIES):
        try:
            is_there = control(_PR_CAPBSET_READ, number)
        except OSError:
            return  # the kernel has no such number
        if is_there and number not in allowed:
            control(_PR_CAPBSET_DROP, number)


def give_up_all() -> None:
    """Empty all four sets, for good; raises OSError."""
    clear_ambient()
    set_sets(CapabilitySets())


def clear_ambient() -> None:
    """Have programs that this thread starts get nothing by the ambient set; raises OSError."""
    control(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)


@contextlib.contextmanager
def kept_through_change() -> Iterator[None]:
    """Within the block a root that becomes somebody else keeps what it is permitted; raises
    OSError."""
    control(_PR_SET_KEEPCAPS, 1)
    try:
        yield
    finally:
        control(_PR_SET_KEEPCAPS, 0)


def holds(number: int) -> bool:
    """Whether this thread can use a capability now."""
    return bool(current_sets().effective >> number & 1)


def control(option: int, *arguments: int) -> int:
    """Call prctl(2); raises OSError."""
    # As long as the kernel reads them: an int would leave the upper half to chance.
    words = [ctypes.c_ulong(argument) for argument in arguments]
    words += [ctypes.c_ulong(0)] * (4 - len(words))
    return _check(_libc.prctl(option, *words))


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
