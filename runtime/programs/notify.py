"""What a vassal that is not uWSGI says of itself: systemd's notify protocol, the other end."""

from __future__ import annotations

import array
import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import socket
import stat
import struct
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from emperor.runtime.tenants.privileges import Owner

log = logging.getLogger("emperor.notify")

#: A longer datagram is refused.
MOST_BYTES = 65_536

#: Of a status so many characters are kept.
MOST_STATUS_CHARACTERS = 200

#: So many messages are kept that come before it is known whose they should be.
MOST_EARLY = 16

_MOST_A_TURN = 64

_PREFIX = "emperor-notify-"

_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid

# The kernel passes on no more descriptors at a time.
_MOST_DESCRIPTORS = 253

_ANCILLARY_BYTES = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(
    _MOST_DESCRIPTORS * array.array("i").itemsize
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What one message says. ``status`` is a line for people; None: nothing is said of it."""

    is_ready: bool = False
    is_stopping: bool = False
    is_watchdog: bool = False
    is_reloading: bool = False
    status: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sender:
    """Who has sent a message. ``session``: None if it was gone already."""

    pid: int
    uid: int
    session: int | None


class NotifySocket:
    """The ``NOTIFY_SOCKET`` of one vassal; made inside a running loop.

    It is a file below ``directory``, which must belong to the daemon. Heard are processes of
    the vassal's session alone (``set_leader``), and of a sender that is gone by the time that
    its message is read, those of the owner's uid. With an ``owner`` nobody else but root can
    send at all, where the daemon may give files away; without one the program may have become
    anybody by its own options, so that everybody can send, as to systemd's. ``on_word`` gets
    what those say that are heard; ``refused`` counts the others. ``vassal`` is its name in the
    log. Raises OSError.
    """

    def __init__(
        self,
        directory: str,
        *,
        owner: Owner | None,
        on_word: Callable[[Notice], None],
        vassal: str | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._uids = (os.geteuid(), 0) if owner is None else (owner.uid,)
        self._on_word = on_word
        self._vassal = vassal
        self._leader: int | None = None
        self._early: list[tuple[_Sender, Notice]] = []
        self.refused = 0
        self.path = os.path.join(directory, secrets.token_hex(8))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            os.fchmod(self._socket.fileno(), 0o600)  # what the file then has from the first
            self._socket.bind(os.fsencode(self.path))
            _let_in(self.path, owner)
        except OSError:
            self.close()
            raise
        self._loop.add_reader(self._socket.fileno(), self._read)

    def set_leader(self, pid: int) -> None:
        """Say which process is the vassal's main one, the leader of its session; what has been
        said before is judged now."""
        self._leader = pid
        early, self._early = self._early, []
        for sender, notice in early:
            self._judge(sender, notice)

    def close(self) -> None:
        """Hear nothing any more, and remove the file; never raises."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket.fileno())
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        if _is_empty(self._socket):
            self._socket.close()
        else:
            _aside(self._socket.close)  # descriptors that were sent along are closed with it

    def _read(self) -> None:
        for _ in range(_MOST_A_TURN):
            if self._socket.fileno() < 0:
                return  # closed by who heard the last word
            try:
                data, ancillary, flags, _ = self._socket.recvmsg(
                    MOST_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
                )
            except OSError:
                return  # nothing more, for now
            sender, descriptors = _taken(ancillary)
            # The rest waits until they are closed, so that nobody keeps more than one thread.
            must_wait = bool(descriptors)
            if must_wait:
                self._loop.remove_reader(self._socket.fileno())
                _aside(self._close_all, descriptors)
            if sender is None or flags & socket.MSG_TRUNC:
                self._refuse(sender)
            else:
                self._heard(sender, parse(data))
            if must_wait:
                return

    def _close_all(self, descriptors: Sequence[int]) -> None:
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._resume)

    def _resume(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket.fileno(), self._read)

    def _heard(self, sender: _Sender, notice: Notice) -> None:
        if self._leader is not None:
            self._judge(sender, notice)
        elif len(self._early) < MOST_EARLY:
            self._early.append((sender, notice))
        else:
            self._refuse(sender)

    def _judge(self, sender: _Sender, notice: Notice) -> None:
        if sender.session is None:
            is_of_vassal = sender.uid in self._uids
        else:
            is_of_vassal = sender.session == self._leader
        if not is_of_vassal:
            self._refuse(sender)
        elif notice != Notice():
            self._on_word(notice)

    def _refuse(self, sender: _Sender | None) -> None:
        self.refused += 1
        if self.refused == 1:
            who = f"process {sender.pid} of user {sender.uid}" if sender else "a hidden process"
            log.warning(
                "a notify message of %s is refused: that is none of its processes, or it says "
                "too much (said once)",
                who,
                extra={"vassal": self._vassal},
            )


def parse(data: bytes) -> Notice:
    """What a message says; whatever is not known, or not understood, says nothing."""
    lines = data.split(b"\n")
    status: str | None = None
    for line in lines:
        if line.startswith(b"STATUS="):
            status = _printable(line.removeprefix(b"STATUS="))
    return Notice(
        is_ready=b"READY=1" in lines,
        is_stopping=b"STOPPING=1" in lines,
        is_watchdog=b"WATCHDOG=1" in lines,
        is_reloading=b"RELOADING=1" in lines,
        status=status,
    )


def runtime_directory() -> str:
    """Make a directory for notify sockets, which everybody may pass and nobody list; gives its
    path. Call it once, and ``remove_directory`` at the end. Raises OSError.

    What a daemon that was killed has left there is removed.
    """
    prefix = f"{_PREFIX}{os.getpid()}-"
    try:
        path = tempfile.mkdtemp(prefix=prefix, dir="/run")
    except OSError:
        path = tempfile.mkdtemp(prefix=prefix)
    os.chmod(path, 0o711)
    _sweep(os.path.dirname(path))
    return path


def _sweep(place: str) -> None:
    """Remove directories of ours whose daemon is dead."""
    for name in os.listdir(place):
        pid = name.removeprefix(_PREFIX).partition("-")[0]
        if (
            not name.startswith(_PREFIX)
            or not pid.isdecimal()
            or os.path.exists(f"/proc/{pid}")
        ):
            continue
        path = os.path.join(place, name)
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
                remove_directory(path)


def remove_directory(path: str) -> None:
    """Remove such a directory with what is left in it; never raises."""
    shutil.rmtree(path, ignore_errors=True)


def _printable(text: bytes) -> str:
    # four bytes a character at most: the rest need not be decoded
    decoded = text[: 4 * MOST_STATUS_CHARACTERS].decode("utf-8", "replace")
    shown = (character if character.isprintable() else " " for character in decoded)
    return "".join(shown)[:MOST_STATUS_CHARACTERS].strip()


def _let_in(path: str, owner: Owner | None) -> None:
    """Let the vassal send. Whether it was the vassal is asked of each message anyway."""
    if owner is not None:
        with contextlib.suppress(PermissionError):
            os.chown(path, owner.uid, owner.gid)
            return
    os.chmod(path, 0o666)


def _taken(ancillary: list[tuple[int, int, bytes]]) -> tuple[_Sender | None, list[int]]:
    """The sender, if it is one that we can see, and the descriptors that came along."""
    sender: _Sender | None = None
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_CREDENTIALS:
            pid, uid, _ = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])
            # 0: it is outside of our pid namespace
            sender = _Sender(pid=pid, uid=uid, session=_session(pid)) if pid else None
        elif kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return sender, descriptors.tolist()


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None  # gone, as short-lived as systemd-notify is


def _is_empty(heard: socket.socket) -> bool:
    """Whether nothing is left unread, after which nothing more comes."""
    try:
        heard.shutdown(socket.SHUT_RD)
        heard.recv(1, socket.MSG_PEEK)
    except OSError:
        return True
    return False


def _aside(work: Callable[..., None], *arguments: object) -> None:
    """Have something done that may block: to close another's socket lasts as long as that
    other has set its SO_LINGER to."""
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no thread to be had
        work(*arguments)
