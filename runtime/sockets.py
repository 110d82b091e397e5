"""Listening sockets of the Emperor's own: for stats, and for vassals that start on demand."""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import socket
import stat
import struct
from dataclasses import dataclass, replace

from emperor.runtime.addresses import Address, Kind
from emperor.runtime.programs.reuseport import found_list, set_shared
from emperor.runtime.tenants.privileges import files_uid, identity

# Linux 6.16 and newer; Python does not know its name.
_SO_PASSRIGHTS = 83

#: What ``bind`` gives a socket file, before the umask.
_FULL_MODE = 0o777


class Sharing(enum.Enum):
    """Whether other sockets may listen on the same TCP address; ``steering`` decides then
    which of them gets a connection."""

    NEVER = "never"
    FOUNDS = "founds"  # others can come later, when this one lets them
    JOINS = "joins"  # others are there, and let it


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A listening socket, which blocks, and the file that belongs to it, if one does.

    ``address`` is the one it got: with port 0 the port that the kernel chose. ``file`` is the
    path as it was found from the root, device and inode.
    """

    socket: socket.socket
    address: Address
    file: tuple[str, int, int] | None = None

    def fileno(self) -> int:
        """Its descriptor."""
        return self.socket.fileno()

    def close(self) -> None:
        """Close it, and remove its file if that is still this socket's; never raises."""
        self.socket.close()
        if self.file is None:
            return
        path, device, inode = self.file
        with contextlib.suppress(OSError):  # gone, or not ours to remove any more
            status = os.lstat(path)
            if (status.st_dev, status.st_ino) == (device, inode):
                os.unlink(path)


def listen(
    address: Address,
    *,
    backlog: int,
    mode: int | None = None,
    owner: tuple[int | None, int | None] | None = None,
    sharing: Sharing = Sharing.NEVER,
) -> Listener:
    """Listen on an address; raises OSError with a message that names it.

    ``backlog`` is how many connections wait to be accepted. ``mode`` and ``owner`` (uid and
    gid, nothing: as it comes) are for the file of a unix socket: without them it is as the
    umask has it. They hold before the first connection can be made. A file of a socket that
    nobody listens on any more is replaced; anything else that is in the way is an error.
    """
    try:
        return _listen(address, backlog, mode, owner, sharing)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"cannot listen on {address}: {reason}") from None


def address_of(listening: socket.socket) -> Address:
    """The address of a socket that somebody else has bound; raises OSError, ValueError."""
    name = listening.getsockname()
    if listening.family == socket.AF_INET:
        return Address(kind=Kind.TCP4, name=name[0], port=name[1])
    if listening.family == socket.AF_INET6:
        return Address(kind=Kind.TCP6, name=name[0], port=name[1])
    if listening.family != socket.AF_UNIX:
        raise ValueError(f"a socket of the family {listening.family.name} is of no use here")
    text = os.fsdecode(name)
    kind = Kind.ABSTRACT if text.startswith("\0") else Kind.UNIX
    return Address(kind=kind, name=text.removeprefix("\0"))


def refuse_descriptors(channel: socket.socket) -> None:
    """Let nobody send descriptors over one end of a pair, where the kernel can see to that.

    To drop one that came unasked could take as long as its sender likes (SO_LINGER).
    """
    with contextlib.suppress(OSError):
        channel.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)


def parse_owner(text: str) -> tuple[int | None, int | None]:
    """Numbers for ``USER``, ``USER:GROUP`` or ``:GROUP``; digits are a number.

    Raises ValueError that names the user or group that is not there.
    """
    user, _, group = text.strip().partition(":")
    if not user and not group:
        raise ValueError(f'"{text}" names nobody: write USER, USER:GROUP or :GROUP')
    wanted = identity(user or None, group or None, ())
    return wanted.uid, wanted.gid


def parse_mode(text: str) -> int:
    """A mode as chmod has it, in octal; raises ValueError with a sentence for the user."""
    try:
        mode = int(text.strip(), 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= _FULL_MODE:
        raise ValueError(f'"{text}" is no mode of a socket: write it in octal, as in 660')
    return mode


def _listen(
    address: Address,
    backlog: int,
    mode: int | None,
    owner: tuple[int | None, int | None] | None,
    sharing: Sharing,
) -> Listener:
    opened = socket.socket(address.family, socket.SOCK_STREAM)
    file: tuple[str, int, int] | None = None
    try:
        if address.kind is Kind.UNIX:
            file = _bind_file(opened, address, mode, owner)
        elif address.kind is Kind.ABSTRACT:
            opened.bind(address.for_kernel)
        else:
            _bind_port(opened, address, sharing)
            address = replace(address, port=opened.getsockname()[1])
        opened.listen(backlog)
    except OSError:
        Listener(socket=opened, address=address, file=file).close()
        raise
    return Listener(socket=opened, address=address, file=file)


def _bind_port(opened: socket.socket, address: Address, sharing: Sharing) -> None:
    if address.kind is Kind.TCP6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sharing is Sharing.JOINS:
        set_shared(opened, is_shared=True)
    opened.bind(address.for_kernel)
    if sharing is Sharing.FOUNDS:
        with contextlib.suppress(OSError):  # a kernel that cannot: heirs share the socket
            found_list(opened)


def _bind_file(
    opened: socket.socket,
    address: Address,
    mode: int | None,
    owner: tuple[int | None, int | None] | None,
) -> tuple[str, int, int]:
    """Bind to a path; gives the file. Nobody can connect before ``listen`` is called."""
    path = os.path.abspath(address.name)
    _make_room(address)
    umask = os.umask(0o077)
    try:
        opened.bind(address.for_kernel)
    finally:
        os.umask(umask)
    status = os.lstat(path)
    file = (path, status.st_dev, status.st_ino)
    try:
        _hand_over(path, _FULL_MODE & ~umask if mode is None else mode, owner)
    except OSError:
        Listener(socket=opened, address=address, file=file).close()
        raise
    return file


def _hand_over(path: str, mode: int, owner: tuple[int | None, int | None] | None) -> None:
    """Give the new socket file its owner and mode.

    Whoever may write to the directory may have put another file or a link in its place: what
    is changed is what was looked at, and it must be a socket of ours with no other name.
    """
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        is_ours = stat.S_ISSOCK(status.st_mode) and status.st_uid == files_uid()
        if not is_ours or status.st_nlink != 1:
            raise OSError(errno.EEXIST, "somebody put another file in its place")
        same_file = f"/proc/self/fd/{descriptor}"
        os.chmod(same_file, mode)  # first: afterwards it may be another's file
        uid, gid = owner or (None, None)
        if uid is not None or gid is not None:
            os.chown(same_file, -1 if uid is None else uid, -1 if gid is None else gid)
    finally:
        os.close(descriptor)


def _make_room(address: Address) -> None:
    """Remove a socket file that nobody listens on any more; OSError if it is anything else."""
    try:
        status = os.lstat(address.name)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise OSError(errno.EEXIST, "there is a file that is no socket: remove it yourself")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address.for_kernel)
        except ConnectionRefusedError:
            os.unlink(address.name)
        except FileNotFoundError:
            return  # it went by itself
        except BlockingIOError:  # so many wait to be accepted that there is no room for one
            raise OSError(errno.EADDRINUSE, "somebody listens there, and is busy") from None
        else:
            raise OSError(errno.EADDRINUSE, f"{_peer(probe)} listens there")


def _peer(connected: socket.socket) -> str:
    """Who is at the other end, for people."""
    size = struct.calcsize("3i")
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid: int = struct.unpack("3i", credentials)[0]
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return f"{file.read().strip()} (pid {pid})"
    except OSError:
        return f"the process {pid}" if pid else "a process"  # 0: of another pid namespace
