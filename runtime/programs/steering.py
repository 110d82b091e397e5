"""Several listening sockets at one address, one for each generation of a program, and which of
them new connections go to.

A server that is told to go may close what it has accepted and not read yet. Where the next one
has a socket of its own, nothing new goes to the one before, and that one can be told when it
has been quiet for a while.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from emperor.runtime.addresses import Address, Kind
from emperor.runtime.programs.reuseport import set_shared, steer
from emperor.runtime.sockets import Listener, Sharing

#: What is put behind a path until its socket takes over: heirs that are on their way out may
#: have the first ones still, or a daemon that was killed has left them.
_SUFFIXES = (".next", ".next2", ".next3")


class Group:
    """The listening sockets of one TCP address; made with the first, ``Sharing.FOUNDS``.

    The kernel has them in a list, and asks a program of ours for the place of the one that
    gets a connection. Programs of the same user that set SO_REUSEPORT themselves are refused
    until the first heir comes; from then on the kernel may remember that the port was shared.
    """

    def __init__(self, first: socket.socket) -> None:
        self._places = [first]  # as the kernel has them
        self._ages = [first]
        self._chosen = first

    def join(self, opens: Callable[[], Listener]) -> Listener:
        """Take in another socket, which ``opens`` opens (``Sharing.JOINS``); connections go on
        to the one that has them. Raises OSError, and then nothing has changed."""
        self._drop_closed()
        for member in self._places:
            set_shared(member, is_shared=True)
        try:
            self._steer(self._chosen)
            opened = opens()
        except OSError:
            self._shut_out()
            raise
        self._places.append(opened.socket)
        self._ages.append(opened.socket)
        return opened

    def choose(self, member: socket.socket) -> None:
        """Have all new connections go to this one; raises OSError."""
        self._drop_closed()
        if member not in self._places:
            raise OSError(errno.ENOTCONN, "its program has shut the socket down")
        self._steer(member)
        self._chosen = member

    def leave(self, member: socket.socket) -> None:
        """Take one out, whoever has it open besides; never raises."""
        with contextlib.suppress(OSError):  # its program may have done that
            member.shutdown(socket.SHUT_RD)
        if member in self._places:
            self._drop(member)

    def is_oldest(self, member: socket.socket) -> bool:
        """Whether none that came before it is left."""
        return member not in self._ages or self._ages[0] is member

    def _steer(self, member: socket.socket) -> None:
        steer(member, self._places.index(member))

    def _drop(self, member: socket.socket) -> None:
        """As the kernel does: the last one moves to the place of the one that goes. Until the
        program is another one, a place that is none any more means any of them: that is why
        one is told to go only when it is the oldest (``is_oldest``)."""
        place, last = self._places.index(member), self._places.pop()
        if last is not member:
            self._places[place] = last
        self._ages.remove(member)
        if self._chosen is member and self._ages:
            self._chosen = self._ages[-1]
        if self._ages:
            with contextlib.suppress(OSError):  # no memory: it is as it was
                self._steer(self._chosen)
        self._shut_out()

    def _drop_closed(self) -> None:
        """A program may have shut its socket down."""
        for member in tuple(self._ages):
            if not member.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                self._drop(member)

    def _shut_out(self) -> None:
        """One that is alone is not there to be joined."""
        if len(self._places) == 1:
            set_shared(self._places[0], is_shared=False)


@dataclass(slots=True, kw_only=True, eq=False)
class Post:
    """A listening socket and where it stands.

    ``users`` are the generations that have it. ``is_relieved``: what it got goes to the next
    one's.
    """

    listener: Listener
    group: Group | None = None
    users: int = 1
    is_relieved: bool = False

    def take_over(self, elder: Post, rights: AbstractContextManager[None]) -> None:
        """Get the connections that another one has got until now; files are renamed within
        ``rights``. Raises OSError, and then nothing has changed."""
        if self.group is not None:
            self.group.choose(self.listener.socket)
        else:
            with rights:
                self.listener = _renamed(self.listener, elder.listener.address)
            elder.listener = replace(elder.listener, file=None)
        elder.is_relieved = True

    def give_back(self, elder: Post) -> None:
        """Let the other one have them again; a file's name is lost to it. Never raises."""
        if self.group is not None:
            with contextlib.suppress(OSError):
                self.group.choose(elder.listener.socket)
                elder.is_relieved = False

    def is_quiet(self) -> bool:
        """Whether nobody waits to be accepted, and nobody can come who would."""
        if self.group is not None and not self.group.is_oldest(self.listener.socket):
            return False
        poll = select.poll()
        poll.register(self.listener.fileno(), select.POLLIN)
        return all(found & select.POLLHUP for _, found in poll.poll(0))

    def close(self) -> None:
        """One generation less has it; with the last it is closed. Never raises."""
        self.users -= 1
        if self.users:
            return
        if self.group is not None:
            self.group.leave(self.listener.socket)
        self.listener.close()


Opens = Callable[[Address, Sharing], Listener]


def first(address: Address, opens: Opens) -> Post:
    """A socket where there is none yet; raises what ``opens`` does."""
    listener = opens(address, Sharing.FOUNDS)
    is_tcp = address.kind in (Kind.TCP4, Kind.TCP6)
    return Post(listener=listener, group=Group(listener.socket) if is_tcp else None)


def twin(elder: Post, opens: Opens) -> Post:
    """Another socket at the address of one, which gets nothing until it takes over; raises
    OSError where there cannot be two, and then nothing has changed."""
    address = elder.listener.address
    group = elder.group
    if group is not None:
        return Post(listener=group.join(lambda: opens(address, Sharing.JOINS)), group=group)
    if address.kind is not Kind.UNIX:
        raise OSError(errno.EADDRINUSE, "there can be only one socket of an abstract name")
    return Post(listener=_beside(address, opens))


def _beside(address: Address, opens: Opens) -> Listener:
    """A unix socket under another name in the same directory."""
    names = [address.name + suffix for suffix in _SUFFIXES]
    # To see whether somebody listens there is to connect to him: only for want of another.
    free = [name for name in names if not os.path.lexists(name)]
    return opens(replace(address, name=(free or names)[0]), Sharing.NEVER)


def _renamed(listener: Listener, address: Address) -> Listener:
    """The same socket under the name that it is meant to have; raises OSError."""
    assert listener.file is not None
    path, device, inode = listener.file
    status = os.lstat(path)
    if (status.st_dev, status.st_ino) != (device, inode):
        raise OSError(errno.ESTALE, f"somebody put another file in the place of {path}")
    target = os.path.abspath(address.name)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(target).st_mode):
            raise OSError(errno.EEXIST, f"{target} is no socket any more")
    os.rename(path, target)
    return replace(listener, address=address, file=(target, device, inode))
