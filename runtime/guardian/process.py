"""The guardian itself: starts vassals, reports their ends, and ends them all with the daemon.

It blocks in one poll and owns one socket, whose other end is the daemon's. It does not read a
configuration, write a log or know what a vassal is for, so there is little it can die of.

A process that leaves its vassal's session (setsid) cannot be found by the group. It comes to
the guardian when its parent dies. It is left alone while the daemon lives, as uWSGI leaves a
daemon that it attached by pidfile, and reaped when it ends; with the daemon it dies too.
"""

import errno
import os
import resource
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from emperor.runtime.guardian.children import (
    become_subreaper,
    children,
    next_dead,
    owner_of,
    reap_all,
)
from emperor.runtime.guardian.descriptors import (
    RIGHTS_SPACE,
    above_targets,
    close_all,
    keep_private,
    move_above_targets,
    rights,
)
from emperor.runtime.guardian.groups import kill_group, signal_group, signal_main
from emperor.runtime.guardian.launch import IGNORED, describe, launch
from emperor.runtime.guardian.lingering import Lingering
from emperor.runtime.guardian.messages import (
    PACKET_BYTES,
    Adopt,
    Become,
    Body,
    Exited,
    Failed,
    Forget,
    Report,
    Signal,
    Spawn,
    Spawned,
    decode,
    encode,
)
from emperor.runtime.tenants.privileges import Identity, drop

# Small helpings, so that the end of the daemon is noticed soon in the thick of work.
_PACKETS_AT_A_TIME = 16
_BURIALS_AT_A_TIME = 256
_FAREWELL_SECONDS = 5.0
_MESSAGE_CHARACTERS = 1_000
_ASKING = select.POLLIN | select.POLLRDHUP
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR | select.POLLNVAL


class _Vassal(NamedTuple):
    owner: int | None = None
    forks: bool = False


class GuardianProcess:
    """The state of the guardian; ``run`` returns when the daemon's end of the socket closes."""

    def __init__(self, daemon: socket.socket, *, wake: tuple[int, int], home: int) -> None:
        self._daemon = daemon
        self._wake_read, self._wake_write = wake
        self._home = home
        self._buffer = bytearray(PACKET_BYTES)
        self._vassals: dict[int, _Vassal] = {}
        self._adopted: dict[int, _Vassal] = {}
        self._lingering = Lingering()
        self._reports: deque[bytes] = deque()
        self._poll = select.poll()
        self._poll.register(self._wake_read, select.POLLIN)
        self._poll.register(self._daemon, _ASKING)

    def run(self) -> None:
        """Serve the daemon until it is gone; what is unread then is left to ``farewell``."""
        while True:
            left = self._lingering.seconds_left(time.monotonic())
            ready = dict(self._poll.poll(None if left is None else 1000 * left))
            state = ready.get(self._daemon.fileno(), 0)
            if state & _GONE:
                return
            if state & select.POLLIN:
                self._serve()
            if self._wake_read in ready:
                self._bury()
            for pid, status in self._lingering.tick(time.monotonic()):
                self._report(Exited(pid=pid, status=status))
            self._flush()

    def farewell(self) -> None:
        """SIGKILL every vassal's group, then the orphans that come of it, until none is left.

        Of the unread requests only adoptions still count. Waits at most five seconds for what
        has its SIGKILL and does not die.
        """
        deadline = time.monotonic() + _FAREWELL_SECONDS
        for pgid, vassal in (*self._vassals.items(), *self._adopted.items()):
            kill_group(pgid, vassal.owner)
        self._lingering.kill_all()
        self._poll.unregister(self._daemon)
        self._kill_late_adoptions()
        while reap_all():
            for pid in children():
                kill_group(os.getpgid(pid), owner_of(pid))
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._poll.poll(1000 * left)
            _drain(self._wake_read)

    def _kill_late_adoptions(self) -> None:
        adopted = {}
        for packet, descriptors, _ in iter(self._receive, None):
            close_all(descriptors)
            match decode(packet):
                case Adopt(pid=pid, owner=owner):
                    adopted[pid] = owner
                case Forget(pid=pid):
                    adopted.pop(pid, None)
                case _:
                    pass
        for pgid, owner in adopted.items():
            kill_group(pgid, owner)

    # Requests

    def _serve(self) -> None:
        """Carry out some requests."""
        for _ in range(_PACKETS_AT_A_TIME):
            received = self._receive()
            if received is None:
                return
            packet, descriptors, lost = received
            try:
                self._obey(packet, descriptors, lost=lost)
            finally:
                close_all(descriptors)

    def _receive(self) -> tuple[bytearray, list[int], bool] | None:
        """Return a packet, its descriptors and whether any were lost, or None."""
        try:
            size, ancillary, flags, _ = self._daemon.recvmsg_into(
                [self._buffer], RIGHTS_SPACE, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return self._receive()  # told once, when the daemon left reports unread
        if not size:
            return None
        return self._buffer[:size], rights(ancillary), bool(flags & socket.MSG_CTRUNC)

    def _obey(self, packet: bytearray, descriptors: list[int], *, lost: bool) -> None:
        match decode(packet):
            case Spawn() | Body() as request:
                self._report(self._start(request, descriptors, lost=lost))
            case Signal(pid=pid, signum=signum, group=group):
                self._signal(pid, signum, group=group)
            case Adopt(pid=pid, owner=owner):
                self._adopted[pid] = _Vassal(owner)
            case Forget(pid=pid):
                self._adopted.pop(pid, None)
            case Become() as wish:
                drop(
                    Identity(
                        uid=wish.uid,
                        gid=wish.gid,
                        groups=wish.groups,
                        capabilities=wish.capabilities,
                        bounding=wish.bounding,
                    )
                )
            case message:
                raise TypeError(f"not a request: {message!r}")

    def _start(self, request: Spawn | Body, descriptors: list[int], *, lost: bool) -> Report:
        try:
            move_above_targets(descriptors)
            if lost:
                raise OSError(errno.EMFILE, "descriptors were lost on the way")
            passed = descriptors
            if isinstance(request, Body):
                request, passed = _read_body(descriptors[0]), descriptors[1:]
            pid = launch(request, passed, self._home)
        except (OSError, ValueError) as error:
            number, text = describe(error)
            return Failed(
                request_id=request.request_id, errno=number, message=text[:_MESSAGE_CHARACTERS]
            )
        if pid in self._lingering:  # the number is used again: the old group is gone
            self._settle([pid])
        self._vassals[pid] = _Vassal(request.owner, request.forks)
        return Spawned(request_id=request.request_id, pid=pid)

    def _signal(self, pid: int, signum: int, *, group: bool) -> None:
        # A vassal of ours is not reaped while it is in the set, so the number is its own.
        # An adopted one may be gone; its end is the daemon's to see.
        vassal = self._vassals.get(pid) or self._adopted.get(pid)
        if vassal is None:
            return
        if group:
            signal_group(pid, signum, vassal.owner)
        else:
            signal_main(pid, signum, owner=vassal.owner, forks=vassal.forks)

    # Deaths

    def _bury(self) -> None:
        """Reap what has died; of a vassal, kill the group before its number is given free."""
        _drain(self._wake_read)
        touched = set()
        for _ in range(_BURIALS_AT_A_TIME):
            pid = next_dead()
            if pid is None:
                break
            touched.add(pid if pid in self._vassals else os.getpgid(pid))
            self._reap(pid)
        else:
            os.write(self._wake_write, b"\0")  # there may be more
        self._settle([pgid for pgid in touched if pgid in self._lingering])

    def _reap(self, pid: int) -> None:
        if pid not in self._vassals:
            os.waitpid(pid, 0)
            return
        owner = self._vassals[pid].owner
        kill_group(pid, owner)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        del self._vassals[pid]
        self._lingering.add(pid, status, time.monotonic(), owner)

    def _settle(self, pgids: Sequence[int]) -> None:
        for pid, status in self._lingering.settle(pgids):
            self._report(Exited(pid=pid, status=status))

    # Reports

    def _report(self, report: Report) -> None:
        self._reports.append(encode(report))

    def _flush(self) -> None:
        """Send what the socket takes now; a slow daemon delays its reports, never a death."""
        while self._reports:
            try:
                self._daemon.send(self._reports[0])
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                break
            self._reports.popleft()
        wanted = _ASKING | (select.POLLOUT if self._reports else 0)
        self._poll.modify(self._daemon, wanted)


def main() -> None:
    """Run as ``--socket FD [--nofile SOFT]`` (a limit in descriptors); never returns."""
    arguments = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    for signum in IGNORED:
        signal.signal(signum, signal.SIG_IGN)
    become_subreaper()
    keep_private()
    if "--nofile" in arguments:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(arguments["--nofile"]), hard))
    daemon = socket.socket(fileno=above_targets(int(arguments["--socket"])))
    daemon.setblocking(False)
    home = above_targets(os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    guardian = GuardianProcess(daemon, wake=_wake_on_child(), home=home)
    guardian.run()
    guardian.farewell()
    os._exit(0)


def _wake_on_child() -> tuple[int, int]:
    """Have SIGCHLD write to a pipe; return its two ends."""
    read, write = map(above_targets, os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda signum, frame: None)
    return read, write


def _read_body(descriptor: int) -> Spawn:
    message = decode(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    if not isinstance(message, Spawn):
        raise TypeError(f"not a spawn: {message!r}")
    return message


def _drain(pipe: int) -> None:
    try:
        while len(os.read(pipe, 4096)) == 4096:
            pass
    except BlockingIOError:
        return
