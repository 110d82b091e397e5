"""Becoming a lesser user, for good or for the time of opening a file."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import grp
import os
import pwd
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from emperor.runtime.tenants.capability_sets import (
    FILE_RIGHTS,
    CapabilitySets,
    bound_to,
    control,
    current_sets,
    give_up_all,
    keep_only,
    kept_through_change,
    set_sets,
)

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38

#: (uid_t) -1: "leave it as it is", and so nobody's number.
_NOBODY = 2**32 - 1

_libc = ctypes.CDLL(None, use_errno=True)


class NoSuchIdentity(ValueError):
    """A user or group that the machine does not know; the text names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a process becomes; ``None`` is: stays what it is.

    ``capabilities`` are the only ones that are left to it, and to what it starts; empty is:
    what the kernel leaves at a change of user. ``bounding`` are the only ones that programs can
    gain which it starts then.
    """

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()
    capabilities: tuple[int, ...] = ()
    bounding: tuple[int, ...] | None = None

    @property
    def is_change(self) -> bool:
        """Whether anything is to be changed."""
        return self.is_somebody_else or bool(self.capabilities)

    @property
    def is_somebody_else(self) -> bool:
        """Whether a user or a group is to be changed."""
        return self.uid is not None or self.gid is not None or bool(self.groups)

    def as_data(self) -> dict[str, object]:
        """The value as JSON has it."""
        return {
            "uid": self.uid,
            "gid": self.gid,
            "groups": list(self.groups),
            "capabilities": list(self.capabilities),
            "bounding": None if self.bounding is None else list(self.bounding),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Identity:
        """The value that ``as_data`` wrote."""
        return cls(
            uid=data["uid"],
            gid=data["gid"],
            groups=tuple(data["groups"]),
            capabilities=tuple(data["capabilities"]),
            bounding=None if data["bounding"] is None else tuple(data["bounding"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A tenant; ``groups`` are its supplementary ones. ValueError for anybody who is none."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not (0 < self.uid < _NOBODY and 0 < self.gid < _NOBODY):
            raise ValueError(f"no tenant: uid {self.uid}, gid {self.gid}")

    def as_data(self) -> dict[str, object]:
        """The value as JSON has it."""
        return {"uid": self.uid, "gid": self.gid, "groups": list(self.groups)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Owner:
        """The value that ``as_data`` wrote; raises KeyError or ValueError for anything else."""
        return cls(uid=data["uid"], gid=data["gid"], groups=tuple(data["groups"]))


def identity(uid: str | None, gid: str | None, groups: tuple[str, ...]) -> Identity:
    """Numbers for names, as uWSGI takes them: digits are a number; raises NoSuchIdentity."""
    return Identity(
        uid=None if uid is None else _user(uid),
        gid=None if gid is None else _group(gid),
        groups=tuple(_group(name) for name in groups),
    )


def _user(name: str) -> int:
    if name.isascii() and name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise NoSuchIdentity(f'there is no user "{name}"') from None


def _group(name: str) -> int:
    if name.isascii() and name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise NoSuchIdentity(f'there is no group "{name}"') from None


def initgroups_of(uid: int, gid: int) -> tuple[int, ...]:
    """The groups that the machine's lists give a user beside ``gid``, itself among them; empty
    for a number without a name. May ask the network, where the machine's lists are there."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return ()
    return tuple(os.getgrouplist(name, gid))


def drop(wanted: Identity) -> None:
    """Become ``wanted``: supplementary groups, then group, then user; raises OSError.

    A root that becomes somebody else loses its other groups, as under uWSGI's ``uid``. With
    capabilities, these and no others are permitted, effective, inheritable and ambient
    afterwards: every program that is started later has them, unless it is started through
    something that clears the last two.
    """
    if not wanted.capabilities:
        _change(wanted)
        return
    with kept_through_change():
        _change(wanted)
    if wanted.bounding is not None:
        # the Emperor's own must be inheritable before they are outside the bounding set
        inheritable = sum(1 << number for number in set(wanted.capabilities))
        all_of_them = current_sets().permitted
        set_sets(
            CapabilitySets(
                effective=all_of_them, permitted=all_of_them, inheritable=inheritable
            )
        )
        bound_to(wanted.bounding)
    keep_only(wanted.capabilities)


def _change(wanted: Identity) -> None:
    if wanted.is_somebody_else and os.geteuid() == 0:
        os.setgroups(wanted.groups)
    if wanted.gid is not None:
        os.setresgid(wanted.gid, wanted.gid, wanted.gid)
    if wanted.uid is not None:
        os.setresuid(wanted.uid, wanted.uid, wanted.uid)


def become_tenant(owner: Owner) -> None:
    """Become a tenant for good, nobody else ever after, and nothing that other processes of
    the tenant's could trace or read the memory of.

    Raises OSError; the process must not go on then. The kernel forgets ``die_with_parent``
    here, so that comes afterwards.
    """
    os.setgroups(owner.groups)
    os.setresgid(owner.gid, owner.gid, owner.gid)
    os.setresuid(owner.uid, owner.uid, owner.uid)
    # Who was no root when it changed its uid still has every capability.
    give_up_all()
    control(_PR_SET_NO_NEW_PRIVS, 1)
    control(_PR_SET_DUMPABLE, 0)
    is_tenant = (
        os.getresuid() == (owner.uid,) * 3
        and os.getresgid() == (owner.gid,) * 3
        and set(os.getgroups()) == set(owner.groups)
        and current_sets() == CapabilitySets()
    )
    if not is_tenant:
        raise PermissionError(errno.EPERM, f"could not become uid {owner.uid}")


@contextlib.contextmanager
def as_files_of(owner: Owner) -> Iterator[None]:
    """Within the block this thread opens and makes files with a tenant's rights, as its owner.

    For a root, or an Emperor that holds setuid and setgid; raises OSError (EPERM) for others.
    Nothing else may run on the thread meanwhile: never await in the block. A trap: the
    supplementary groups of this process still count, so a daemon with tenants has none, and
    the tenant's own do not. The kernel forgets ``die_with_parent`` here, too.
    """
    before = current_sets()
    try:
        _set_file_owner(owner.uid, owner.gid)
        # The kernel does this for root alone; an Emperor may hold them without being root.
        now = current_sets()
        set_sets(replace(now, effective=now.effective & ~FILE_RIGHTS))
        yield
    finally:
        _set_file_owner(os.geteuid(), os.getegid())
        set_sets(before)


def files_uid() -> int:
    """The user whose rights on files this thread has (``as_files_of``)."""
    # an impossible number changes nothing, and the answer is the one that holds
    return int(_libc.setfsuid(ctypes.c_uint(_NOBODY))) & _NOBODY


def _set_file_owner(uid: int, gid: int) -> None:
    _set_and_check(_libc.setfsgid, gid)
    _set_and_check(_libc.setfsuid, uid)


def _set_and_check(change: Callable[[ctypes.c_uint], int], number: int) -> None:
    # These calls never fail in words: they give back who it was, so they are asked again.
    change(ctypes.c_uint(number))
    if change(ctypes.c_uint(_NOBODY)) & _NOBODY != number:
        raise PermissionError(errno.EPERM, f"no right to work on files as {number}")


def die_with_parent() -> None:
    """Have the kernel send SIGKILL when the parent is gone; forgotten at a change of user."""
    control(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
