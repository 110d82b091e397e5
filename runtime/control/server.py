"""The daemon's end of the control socket: lets clients in who may, and not too many."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct

from emperor.runtime.control.protocol import error_line
from emperor.runtime.control.session import Session
from emperor.runtime.control.waiting import Waiting
from emperor.runtime.sockets import Listener
from emperor.runtime.views import Court

log = logging.getLogger("emperor.control")

#: How many clients may be connected that nothing is under way for.
MOST_IDLE = 64

#: How many clients may be connected.
MOST_CLIENTS = 1024

#: How long nobody is let in if the system has no descriptor for them, in seconds.
_PAUSE_SECONDS = 1.0

_CREDENTIALS = struct.Struct("iII")


class ControlServer:
    """Serves the court to the clients of a listener; made inside a running loop.

    Let in are root and the user that the daemon is when they come.
    """

    def __init__(self, *, listener: Listener, court: Court) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._court = court
        self._waiting = Waiting(court)
        self._sessions: dict[Session, None] = {}
        self._pause: asyncio.TimerHandle | None = None
        self._listen()

    def close(self) -> None:
        """Tell clients what can be told at once, part from them, and remove the socket."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener.socket.fileno())
        for session in tuple(self._sessions):
            session.close()
        self._listener.close()

    def _listen(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener.socket.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            channel, _ = self._listener.socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if not self._drop_idle():
                log.warning("nobody is let in for %.0f s: %s", _PAUSE_SECONDS, error.strerror)
                self._loop.remove_reader(self._listener.socket.fileno())
                self._pause = self._loop.call_later(_PAUSE_SECONDS, self._listen)
            return
        channel.setblocking(False)
        uid = _peer(channel)
        if uid not in (0, os.geteuid()):
            _turn_away(channel, uid)
            return
        self._make_room()
        session = Session(
            channel,
            uid=uid,
            court=self._court,
            waiting=self._waiting,
            on_closed=self._sessions.pop,
        )
        self._sessions[session] = None

    def _make_room(self) -> None:
        idle = sum(session.is_idle for session in self._sessions)
        if idle >= MOST_IDLE:
            self._drop_idle()
        elif len(self._sessions) >= MOST_CLIENTS:
            next(iter(self._sessions)).close()

    def _drop_idle(self) -> bool:
        """Part from the client that has been idle for longest; gives whether there is one."""
        idle = (session for session in self._sessions if session.is_idle)
        longest = min(idle, key=lambda session: session.last_active, default=None)
        if longest is None:
            return False
        longest.close()
        return True


def _peer(channel: socket.socket) -> int:
    """Whose process has connected."""
    data = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(data)
    return int(uid)


def _turn_away(channel: socket.socket, uid: int) -> None:
    log.warning("user %d may not use the control socket", uid)
    text = f"user {uid} may not: only root and the user that the Emperor runs as may"
    with channel, contextlib.suppress(OSError):
        channel.send(error_line(text), socket.MSG_NOSIGNAL)
