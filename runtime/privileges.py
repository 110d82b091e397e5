"""Becoming a lesser user, and the few words with the kernel that go with it."""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PR_SET_PDEATHSIG = 1


class NoSuchIdentity(ValueError):
    """A user or group that the machine does not know; the text names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a process becomes; ``None`` is: stays what it is."""

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()

    @property
    def is_change(self) -> bool:
        """Whether anything is to be changed."""
        return self.uid is not None or self.gid is not None or bool(self.groups)

    def as_data(self) -> dict[str, object]:
        """The value as JSON has it."""
        return {"uid": self.uid, "gid": self.gid, "groups": list(self.groups)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Identity:
        """The value that ``as_data`` wrote."""
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


def drop(wanted: Identity) -> None:
    """Become ``wanted``: supplementary groups, then group, then user; raises OSError.

    A root that becomes somebody else loses its other groups, as under uWSGI's ``uid``.
    """
    if wanted.is_change and os.geteuid() == 0:
        os.setgroups(wanted.groups)
    if wanted.gid is not None:
        os.setresgid(wanted.gid, wanted.gid, wanted.gid)
    if wanted.uid is not None:
        os.setresuid(wanted.uid, wanted.uid, wanted.uid)


def die_with_parent() -> None:
    """Have the kernel send SIGKILL when the parent is gone."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
