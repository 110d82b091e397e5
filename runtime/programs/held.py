"""The listening sockets that the Emperor holds for a program, over all its restarts."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

from emperor.compiler.programs.values import HeldSocket
from emperor.runtime.addresses import Address, Kind, parse
from emperor.runtime.programs.steering import Post, first, twin
from emperor.runtime.sockets import Listener, Sharing, listen, parse_mode, parse_owner
from emperor.runtime.tenants.privileges import Owner, as_files_of

log = logging.getLogger("emperor.held")

#: As many descriptors as a program gets below 64, with three for its standard ones and one to
#: talk to the Emperor.
MOST_SOCKETS = 60

_FIRST_PORT_FILE = "/proc/sys/net/ipv4/ip_unprivileged_port_start"

_USUAL_FIRST_PORT = 1024

# The kernel counts no further, and takes what is more for this.
_MOST_BACKLOG = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantListener(Listener):
    """A listening socket whose file is removed with the rights of its owner alone."""

    owner: Owner

    def close(self) -> None:
        """Close it, and remove its file if that is still this socket's; never raises."""
        try:
            with as_files_of(self.owner):
                Listener.close(self)
        except OSError:  # not as that user any more: then the file stays
            self.socket.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """One socket as it is to be; ``mode`` and ``owner`` as ``listen`` takes them."""

    address: Address
    backlog: int
    mode: int | None
    owner: tuple[int | None, int | None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """One socket as it is. ``elder`` is the one whose connections it is to take over: another
    one, or the same, where both generations have to share it."""

    wanted: _Wanted
    post: Post
    elder: Post | None = None


class HeldSockets:
    """The sockets of one program, or of one generation of it (``heir``); with an ``owner`` (a
    tenant) nothing is opened that this user could not have opened himself."""

    def __init__(self, owner: Owner | None) -> None:
        self._owner = owner
        self._held: dict[Address, _Held] = {}
        self._elder: HeldSockets | None = None

    def heir(self) -> HeldSockets:
        """Those of the next generation: at an address that is held here it gets a socket of
        its own, where the kernel has room for two, which nobody reaches until ``take_over``.
        Closed before that, it leaves all as it was."""
        heir = HeldSockets(self._owner)
        heir._elder = self
        return heir

    def open(self, wanted: Sequence[HeldSocket]) -> tuple[int, ...]:
        """Hold these sockets and no others; gives their descriptors, in the same order.

        What is held already stays, with the connections that wait there; a backlog, a mode or
        an owner that is another one now is set. An address that is named twice is one socket.
        Raises OSError with a message that names the address, and then nothing has changed.
        """
        if len(wanted) > MOST_SOCKETS:
            first_of_them = wanted[MOST_SOCKETS].address
            text = f"{first_of_them}: a program gets {MOST_SOCKETS} sockets at most"
            raise OSError(errno.EMFILE, text)
        all_wanted = [_read(one, self._owner) for one in wanted]
        held: dict[Address, _Held] = {}
        with contextlib.ExitStack() as undo:
            for one in all_wanted:
                if one.address not in held:
                    held[one.address] = self._hold(one, undo)
            undo.pop_all()
        before, self._held = self._held, held
        stays = {id(one.post) for one in held.values()}
        for one_before in before.values():
            if id(one_before.post) not in stays:
                one_before.post.close()
        return tuple(held[one.address].post.listener.fileno() for one in all_wanted)

    def take_over(self) -> None:
        """From now on new connections come here, no more to the generation before. Raises
        OSError, and then they go where they went."""
        held = sorted(self._held.values(), key=lambda one: one.post.group is not None)
        with contextlib.ExitStack() as undo:
            for one in held:  # files first: that is where the world can be in the way
                if one.elder is not None and one.elder is not one.post:
                    one.post.take_over(one.elder, self._rights())
                    undo.callback(one.post.give_back, one.elder)
            undo.pop_all()
        self._held = {key: replace(one, elder=None) for key, one in self._held.items()}
        self._elder = None

    @property
    def is_relieved(self) -> bool:
        """Whether the next generation has taken connections over that came here."""
        return any(one.post.is_relieved for one in self._held.values())

    def is_quiet(self) -> bool:
        """Whether of the connections that the next generation gets by now none is still to be
        accepted here; never waits."""
        return all(one.post.is_quiet() for one in self._held.values() if one.post.is_relieved)

    def close(self) -> None:
        """Close them all, and remove their files; never raises."""
        held, self._held, self._elder = self._held, {}, None
        for one in held.values():
            one.post.close()

    def _hold(self, wanted: _Wanted, undo: contextlib.ExitStack) -> _Held:
        held = self._held.get(wanted.address)
        if held is not None and self._is_in_place(held.post.listener):
            self._adapt(held, wanted, undo)
            return replace(held, wanted=wanted)
        before = None if self._elder is None else self._elder._held.get(wanted.address)
        if before is not None and self._is_in_place(before.post.listener):
            return self._hold_beside(before, wanted, undo)
        post = first(wanted.address, partial(self._listen, wanted))
        undo.callback(post.close)
        return _Held(wanted=wanted, post=post)

    def _hold_beside(self, elder: _Held, wanted: _Wanted, undo: contextlib.ExitStack) -> _Held:
        """A socket where the generation before has one; the same, if there is no other way."""
        try:
            post = twin(elder.post, partial(self._listen, wanted))
        except OSError as error:
            reason = error.strerror or str(error)
            log.debug("%s: shared with the one before: %s", wanted.address, reason)
            self._adapt(elder, wanted, undo)
            post = elder.post
            post.users += 1
        undo.callback(post.close)
        return _Held(wanted=wanted, post=post, elder=elder.post)

    def _listen(self, wanted: _Wanted, at: Address, sharing: Sharing) -> Listener:
        """Open a socket as it is wanted, but at this address."""
        if self._owner is not None:
            return listen_for_tenant(at, self._owner, wanted.backlog, wanted.mode, sharing)
        return listen(
            at, backlog=wanted.backlog, mode=wanted.mode, owner=wanted.owner, sharing=sharing
        )

    def _adapt(self, held: _Held, wanted: _Wanted, undo: contextlib.ExitStack) -> None:
        listener, before = held.post.listener, held.wanted
        if before != wanted:
            undo.callback(self._take_back, listener, self._as_it_is(listener, before))
            self._alter(listener, wanted)

    def _is_in_place(self, listener: Listener) -> bool:
        """Whether it can be reached: its file may have been removed or replaced."""
        if listener.file is None:
            return True
        path, device, inode = listener.file
        try:
            with self._rights():
                status = os.lstat(path)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == (device, inode)

    def _alter(self, listener: Listener, wanted: _Wanted) -> None:
        """Give a socket that stays another backlog, and its file another mode and owner."""
        try:
            listener.socket.listen(wanted.backlog)
            if listener.file is not None:
                with self._rights():
                    _set_file(listener.file, wanted.mode, wanted.owner)
        except OSError as error:
            raise _refusal(wanted.address, error) from None

    def _as_it_is(self, listener: Listener, before: _Wanted) -> _Wanted:
        if listener.file is None:
            return before
        with self._rights():
            status = os.lstat(listener.file[0])
        mode, owner = stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
        return replace(before, mode=mode, owner=owner)

    def _take_back(self, listener: Listener, before: _Wanted) -> None:
        with contextlib.suppress(OSError):
            self._alter(listener, before)

    def _rights(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext() if self._owner is None else as_files_of(self._owner)


def listen_for_tenant(
    address: Address,
    owner: Owner,
    backlog: int,
    mode: int | None = None,
    sharing: Sharing = Sharing.NEVER,
) -> Listener:
    """Listen on an address for a tenant, if he could have done it himself: his rights decide
    about files, and ports that are for root are refused. As ``sockets.listen`` otherwise.

    Raises OSError with a message that names the address.
    """
    if address.kind in (Kind.TCP4, Kind.TCP6) and 0 < address.port < (first := _first_port()):
        text = (
            f"port {address.port} is for root: choose one from {first} on, or have the "
            f"administrator lower net.ipv4.ip_unprivileged_port_start"
        )
        raise _refusal(address, PermissionError(errno.EACCES, text))
    with contextlib.ExitStack() as rights:
        try:
            rights.enter_context(as_files_of(owner))
        except OSError as error:
            raise _refusal(address, error) from None
        opened = listen(address, backlog=backlog, mode=mode, sharing=sharing)
    return TenantListener(
        socket=opened.socket, address=opened.address, file=opened.file, owner=owner
    )


def _first_port() -> int:
    """The first port that is not for root alone."""
    try:
        with open(_FIRST_PORT_FILE, "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        return _USUAL_FIRST_PORT


def _read(held: HeldSocket, owner: Owner | None) -> _Wanted:
    """What the texts mean; raises OSError that names the address."""
    try:
        wanted = _Wanted(
            address=parse(held.address),
            backlog=max(0, min(held.backlog, _MOST_BACKLOG)),
            mode=None if held.mode is None else parse_mode(held.mode),
            owner=None if held.owner is None else parse_owner(held.owner),
        )
    except ValueError as error:
        raise _refusal(held.address, OSError(errno.EINVAL, str(error))) from None
    if owner is None or wanted.owner is None:
        return wanted
    uid, gid = wanted.owner
    if uid not in (None, owner.uid) or gid not in (None, owner.gid):
        text = (
            f'its file cannot be given to "{held.owner}": it belongs to uid {owner.uid}, gid '
            f"{owner.gid}, as the vassal does"
        )
        raise _refusal(held.address, PermissionError(errno.EPERM, text))
    return wanted


def _set_file(
    file: tuple[str, int, int], mode: int | None, owner: tuple[int | None, int | None] | None
) -> None:
    """Change what was looked at, whatever has that name by then."""
    path, device, inode = file
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) != (device, inode):
            raise OSError(errno.ESTALE, "somebody put another file in its place")
        same_file = f"/proc/self/fd/{descriptor}"
        uid, gid = owner or (None, None)
        if (uid, gid) != (None, None):
            os.chown(same_file, -1 if uid is None else uid, -1 if gid is None else gid)
        if mode is not None:
            os.chmod(same_file, mode)
    finally:
        os.close(descriptor)


def _refusal(address: Address | str, error: OSError) -> OSError:
    reason = error.strerror or str(error)
    return OSError(error.errno, f"cannot listen on {address}: {reason}")
