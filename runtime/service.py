"""Manners of a systemd service: it says how it is, and takes the sockets that it is given.

The protocol is one datagram with lines; no library is used because those there are block, or
know neither WATCHDOG nor RELOADING (sdnotify: its last release is of 2017).
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from typing import Protocol

#: What is meant for us alone: no vassal may get it.
VARIABLES = (
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"),
    *("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID"),
)

#: A status is sent no sooner after the last one, in seconds.
STATUS_SECONDS = 1.0

#: When systemd does not read, it is tried again after so many seconds.
RETRY_SECONDS = 0.1

#: More than that is not kept for a systemd that does not read.
_MOST_UNSENT = 16

_FIRST_DESCRIPTOR = 3

#: What systemd calls a socket that has no name.
_NAMELESS = "unknown"


class Timer(Protocol):
    """Something that happens later."""

    def cancel(self) -> None:
        """Not any more."""


class Timers(Protocol):
    """The part of an event loop that is needed here."""

    def time(self) -> float:
        """Monotonic seconds."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> Timer:
        """Have something called after so many seconds."""


class Notifier:
    """Tells the service manager how the Emperor is; without NOTIFY_SOCKET it does nothing.

    Never blocks, never raises. Where systemd does not read, what matters is sent later.
    """

    def __init__(self, environ: Mapping[str, str], *, loop: Timers) -> None:
        self._loop = loop
        self._address = _notify_address(environ.get("NOTIFY_SOCKET", ""))
        self._watchdog_seconds = _watchdog_seconds(environ)
        self._socket: socket.socket | None = None
        self._unsent: deque[bytes] = deque(maxlen=_MOST_UNSENT)
        self._status = ""
        self._said_status = ""
        self._status_timer: Timer | None = None
        self._status_at = loop.time() - STATUS_SECONDS
        self._watchdog_timer: Timer | None = None
        self._retry_timer: Timer | None = None

    @property
    def is_heard(self) -> bool:
        """Whether there is a service manager that wants to know."""
        return self._address is not None

    def ready(self) -> None:
        """The Emperor governs, for the first time or again after ``reloading``."""
        self._say("READY=1")

    def reloading(self) -> None:
        """All vassals are being reloaded; ``ready`` must follow."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._say(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        """The Emperor is bringing everything down."""
        self._say("STOPPING=1")

    def governing(self, vassals: int) -> None:
        """Show how many vassals there are; not more often than once a second."""
        self.status(f"The Emperor is governing {vassals} vassals")

    def status(self, text: str) -> None:
        """Show a line of text; of several in a second the last one is shown."""
        self._status = text.replace("\n", " ")
        if self._address is None or self._status_timer is not None:
            return
        wait = self._status_at + STATUS_SECONDS - self._loop.time()
        if wait > 0:
            self._status_timer = self._loop.call_later(wait, self._show_status)
        else:
            self._show_status()

    def start_watchdog(self) -> None:
        """Say at half of the time that we are given that the loop turns, if that is wanted."""
        if self._address is None or self._watchdog_seconds is None:
            return
        if not self._unsent:  # else it does not read what is older either
            self._say("WATCHDOG=1")
        self._watchdog_timer = self._loop.call_later(
            self._watchdog_seconds / 2, self.start_watchdog
        )

    def close(self) -> None:
        """Say nothing any more."""
        for timer in (self._status_timer, self._watchdog_timer, self._retry_timer):
            if timer is not None:
                timer.cancel()
        self._address = None
        self._unsent.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _show_status(self) -> None:
        self._status_timer = None
        self._status_at = self._loop.time()
        if self._unsent:  # let what matters more go first
            self._status_timer = self._loop.call_later(STATUS_SECONDS, self._show_status)
        elif self._status != self._said_status:
            self._said_status = self._status
            self._say(f"STATUS={self._status}")

    def _say(self, text: str) -> None:
        if self._address is None:
            return
        self._unsent.append(text.encode("utf-8", "replace"))
        if self._retry_timer is None:
            self._send()

    def _send(self) -> None:
        """Send what is to be said, in its order, or try again soon."""
        self._retry_timer = None
        while self._unsent and self._address is not None:
            try:
                if self._socket is None:
                    self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                    self._socket.setblocking(False)
                self._socket.sendto(self._unsent[0], self._address)
            except BlockingIOError:
                self._retry_timer = self._loop.call_later(RETRY_SECONDS, self._send)
                return
            except OSError:
                pass  # nobody is there: it is not what we live for
            self._unsent.popleft()


def take_listen_fds(
    environ: MutableMapping[str, str], pid: int
) -> list[tuple[str, socket.socket]]:
    """The sockets that systemd passed to the process ``pid``, with their names.

    They are closed in what we start, and the variables are taken out of ``environ``. Those of
    another process, and descriptors that are no sockets, are left out.
    """
    count = _number(environ.pop("LISTEN_FDS", ""))
    owner = _number(environ.pop("LISTEN_PID", ""))
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    environ.pop("LISTEN_PIDFDID", None)
    taken: list[tuple[str, socket.socket]] = []
    if owner != pid:
        return taken
    for index in range(count):
        number = _FIRST_DESCRIPTOR + index
        try:
            os.set_inheritable(number, False)
        except OSError:
            break  # there are not so many
        try:
            passed = socket.socket(fileno=number)
        except OSError:
            continue  # a FIFO, or a device
        name = names[index] if index < len(names) else ""
        taken.append((name or _NAMELESS, passed))
    return taken


def _notify_address(text: str) -> bytes | None:
    """The address of a datagram socket, if it is one that we can send to."""
    if text.startswith("@"):
        return b"\0" + os.fsencode(text[1:])
    return os.fsencode(text) if text.startswith("/") else None


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """Within which time systemd wants to hear of us, if of us."""
    microseconds = _number(environ.get("WATCHDOG_USEC", ""))
    pid = environ.get("WATCHDOG_PID")
    if not microseconds or (pid is not None and _number(pid) != os.getpid()):
        return None
    return microseconds / 1_000_000


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0
