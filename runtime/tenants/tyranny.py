"""Tyrant mode's judgement: as whom a vassal runs, or why it does not."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace

from emperor.runtime.tenants.walk import Entry, Link, Lost, Trail, quoted, walk

# A POSIX ACL that lets others write shows in here too: where there is one, the group's bits
# of the mode are its mask, the most that any further user or group in it may have.
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
# The number above means "as it is" to setresuid(2): who asks to become it stays root.
_LAST_NUMBER = 2**32 - 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A vassal that may run, as these numbers."""

    uid: int
    gid: int
    descriptor: int  # O_PATH, of the file that the path leads to; the caller closes it


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """A vassal that may not run."""

    reason: str  # a sentence part: "its file /srv/a.ini belongs to root, uid 0 (mode 0644)"
    remedy: str  # what to do about it, a command for the shell where there is one
    is_passing: bool = False  # the system is short of something; the file is not to blame
    owner: tuple[int, int] | None = None  # the uid and gid that it has, as far as is known


def judge(path: str, *, nofollow: bool) -> Admitted | Denied:
    """Decide on the file at an absolute path: as its owner, or not at all; raises nothing.

    With ``nofollow`` a link at the path's own last name gives uid and gid, not its goal.
    What is admitted is the file that the descriptor holds, whatever its name leads to by then.
    """
    try:
        trail = walk(path)
    except Lost as lost:
        return Denied(reason=lost.reason, remedy=lost.remedy, is_passing=lost.is_passing)
    # The first of the links to the file is the path's own last name.
    master = trail.links[0].entry if nofollow and trail.links else trail.file
    objection = next(_objections(trail, master, nofollow=nofollow), None)
    if objection is not None:
        os.close(trail.descriptor)
        return replace(objection, owner=(master.uid, master.gid))
    return Admitted(uid=master.uid, gid=master.gid, descriptor=trail.descriptor)


def judge_numbers(uid: int, gid: int) -> Denied | None:
    """Decide on the numbers that a monitor gives for a vassal without a file."""
    for what, number in (("uid", uid), ("gid", gid)):
        if not _is_a_tenants(number):
            return Denied(
                reason=f"its monitor gives it {what} {number}, and it would run as that",
                remedy=f"give it a {what} from 1 to {_LAST_NUMBER}",
                owner=(uid, gid),
            )
    return None


def _objections(trail: Trail, master: Entry, *, nofollow: bool) -> Iterator[Denied]:
    yield from _against_owner(master)
    yield from _against_directories(trail)
    yield from _against_detours(trail.detours)
    if not nofollow:
        yield from _against_links(trail.links)
    if trail.file.mode & _WRITABLE:
        yield _too_open("its file", trail.file)


def _is_a_tenants(number: int) -> bool:
    return 0 < number <= _LAST_NUMBER


def _against_owner(master: Entry) -> Iterator[Denied]:
    is_link = stat.S_ISLNK(master.mode)
    subject = f"its {'link' if is_link else 'file'} {quoted(master.path)}"
    chown = "chown -h" if is_link else "chown"
    if not _is_a_tenants(master.uid):
        yield Denied(
            reason=f"{subject} belongs to {_user(master.uid)}{_mode(master)}",
            remedy=f"{chown} USER:GROUP {quoted(master.path)}",
        )
    elif not _is_a_tenants(master.gid):
        yield Denied(
            reason=f"{subject} belongs to the group {_group(master.gid)},"
            f" and to {_user(master.uid)}{_mode(master)}",
            remedy=f"{chown} :{_login_group(master.uid)} {quoted(master.path)}",
        )


def _against_directories(trail: Trail) -> Iterator[Denied]:
    for directory in trail.directories:
        # In a sticky one nobody can exchange what is another's.
        if directory.mode & _WRITABLE and not directory.mode & stat.S_ISVTX:
            yield _too_open("on the way to its file the directory", directory)
    for directory in trail.holders:
        # In a sticky one, too, anybody can put what was not there.
        if directory.mode & _WRITABLE:
            yield _too_open("the directory of its file,", directory)


def _against_detours(detours: tuple[Link, ...]) -> Iterator[Denied]:
    for link, goal in detours:
        if link.uid not in (0, os.geteuid(), goal.uid):
            yield _stray("on the way to its file the link", link, goal)


def _against_links(links: tuple[Link, ...]) -> Iterator[Denied]:
    for link, goal in links:
        if link.uid != goal.uid:
            yield _stray("the link", link, goal)


def _too_open(subject: str, entry: Entry) -> Denied:
    everybody = "everybody" if entry.mode & stat.S_IWOTH else f"the group {_group(entry.gid)}"
    return Denied(
        reason=f"{subject} {quoted(entry.path)} of {_user(entry.uid)}{_mode(entry)}"
        f" may be written by {everybody}",
        remedy=f"chmod go-w {quoted(entry.path)}",
    )


def _stray(subject: str, link: Entry, goal: Entry) -> Denied:
    return Denied(
        reason=f"{subject} {quoted(link.path)} belongs to {_user(link.uid)} and leads to"
        f" {quoted(goal.path)} of {_user(goal.uid)}{_mode(goal)}",
        remedy=f"chown -h {_user_name(goal.uid) or goal.uid} {quoted(link.path)}",
    )


def _mode(entry: Entry) -> str:
    # That of a link says nothing.
    return "" if stat.S_ISLNK(entry.mode) else f" (mode {stat.S_IMODE(entry.mode):04o})"


def _user(uid: int) -> str:
    name = _user_name(uid)
    return f"uid {uid}" if name is None else f"{name}, uid {uid}"


def _group(gid: int) -> str:
    try:
        return f"{grp.getgrgid(gid).gr_name}, gid {gid}"
    except (KeyError, OSError):
        return f"gid {gid}"


def _user_name(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OSError):
        return None


def _login_group(uid: int) -> str:
    try:
        return str(pwd.getpwuid(uid).pw_gid)
    except (KeyError, OSError):
        return "GROUP"
