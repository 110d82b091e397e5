"""The listening sockets that the Emperor holds for a program, over all its restarts."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from emperor.compiler.program_values import HeldSocket
from emperor.runtime.addresses import Address, Kind, parse
from emperor.runtime.privileges import Owner, as_files_of
from emperor.runtime.sockets import Listener, listen, parse_mode, parse_owner

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


class HeldSockets:
    """The sockets of one program; with an ``owner`` (a tenant) nothing is opened that this
    user could not have opened himself."""

    def __init__(self, owner: Owner | None) -> None:
        self._owner = owner
        self._held: dict[Address, tuple[_Wanted, Listener]] = {}

    def open(self, wanted: Sequence[HeldSocket]) -> tuple[int, ...]:
        """Hold these sockets and no others; gives their descriptors, in the same order.

        What is held already stays, with the connections that wait there; a backlog, a mode or
        an owner that is another one now is set. An address that is named twice is one socket.
        Raises OSError with a message that names the address, and then nothing has changed.
        """
        if len(wanted) > MOST_SOCKETS:
            first = wanted[MOST_SOCKETS].address
            text = f"{first}: a program gets {MOST_SOCKETS} sockets at most"
            raise OSError(errno.EMFILE, text)
        all_wanted = [_read(one, self._owner) for one in wanted]
        held: dict[Address, tuple[_Wanted, Listener]] = {}
        with contextlib.ExitStack() as undo:
            for one in all_wanted:
                if one.address not in held:
                    held[one.address] = (one, self._hold(one, undo))
            undo.pop_all()
        before, self._held = self._held, held
        stays = {id(listener) for _, listener in held.values()}
        for _, listener in before.values():
            if id(listener) not in stays:
                listener.close()
        return tuple(held[one.address][1].fileno() for one in all_wanted)

    def close(self) -> None:
        """Close them all, and remove their files; never raises."""
        held, self._held = self._held, {}
        for _, listener in held.values():
            listener.close()

    def _hold(self, wanted: _Wanted, undo: contextlib.ExitStack) -> Listener:
        before, listener = self._held.get(wanted.address, (wanted, None))
        if listener is not None and self._is_in_place(listener):
            if before != wanted:
                undo.callback(self._take_back, listener, self._as_it_is(listener, before))
                self._alter(listener, wanted)
            return listener
        opened = self._listen(wanted)
        undo.callback(opened.close)
        return opened

    def _listen(self, wanted: _Wanted) -> Listener:
        if self._owner is not None:
            return listen_for_tenant(wanted.address, self._owner, wanted.backlog, wanted.mode)
        return listen(
            wanted.address, backlog=wanted.backlog, mode=wanted.mode, owner=wanted.owner
        )

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
    address: Address, owner: Owner, backlog: int, mode: int | None = None
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
        opened = listen(address, backlog=backlog, mode=mode)
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
