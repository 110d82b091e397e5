"""The daemon's side of the guardian: requests out, reports in, on the asyncio loop."""

import asyncio
import errno
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import emperor
from emperor.runtime.guardian.messages import (
    PACKET_BYTES,
    Adopt,
    Become,
    Body,
    Exited,
    Failed,
    Forget,
    Report,
    Request,
    Signal,
    Spawn,
    Spawned,
    decode,
    encode,
)
from emperor.runtime.tenants.privileges import Identity

_REPORT_BYTES = 16_384
_REPORTS_AT_A_TIME = 64
_RETRY_SECONDS = 0.01
_CHILD_SOCKET = 3

# Without site and without runpy it is up in half the time, and wherever this package was
# found, it is found again.
_PROGRAM = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from emperor.runtime.guardian.process import main; main()"
)

# Blocked from the first instruction on, until the guardian ignores them.
_NOT_FOR_THE_GUARDIAN = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class Guardian:
    """A running guardian; made by ``start``, inside a running loop.

    ``on_report`` gets every report in order. When the guardian dies unasked, ``on_death`` gets
    its exit code or -signal, after its last report: what was requested and not reported then
    must be seen as lost, and requests made after its death are dropped.
    """

    def __init__(
        self,
        *,
        pid: int,
        channel: socket.socket,
        on_report: Callable[[Report], object],
        on_death: Callable[[int], object],
    ) -> None:
        self.pid = pid
        self._channel = channel
        self._on_report = on_report
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._last_request_id = 0
        self._gone: asyncio.Future[int] = self._loop.create_future()
        self._is_closing = False
        self._is_pausing = False
        try:
            self._pidfd = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        self._loop.add_reader(channel, self._read)
        self._loop.add_reader(self._pidfd, self._bury)

    @classmethod
    def start(
        cls,
        *,
        on_report: Callable[[Report], object],
        on_death: Callable[[int], object],
        soft_nofile: int | None = None,
    ) -> Self:
        """Start a guardian in its own session and return it; it may be used at once.

        ``soft_nofile`` is the limit on descriptors that vassals get (the hard one stays as it
        is). Raises OSError if it cannot be started.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            with theirs:
                pid = _spawn_guardian(theirs, soft_nofile)
            return cls(pid=pid, channel=ours, on_report=on_report, on_death=on_death)
        except OSError:
            ours.close()
            raise

    @property
    def backlog(self) -> int:
        """How many requests wait because the guardian is busy; each holds its descriptors."""
        return len(self._waiting)

    def spawn(
        self,
        *,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str | None = None,
        umask: int | None = None,
        descriptors: Mapping[int, int] | None = None,
        owner: int | None = None,
        forks: bool = False,
    ) -> int:
        """Ask for a vassal and return the number that its ``Spawned`` or ``Failed`` will bear.

        ``descriptors`` maps numbers in the vassal (0 to 63; 0 is its standard input, else
        /dev/null) to descriptors of the caller's, who keeps them and may close them as soon as
        this returns. ``owner`` is the uid that ``argv`` begins by becoming, where that is not
        the guardian's: its processes are signalled as that user where they cannot be
        otherwise, and the first word of ``argv`` is looked up on the guardian's own PATH. With
        ``forks`` the main process is a wrapper with one child, and that child is the vassal.
        Raises ValueError for numbers out of range and OSError (EMFILE, EBADF) if descriptors
        cannot be handed over.
        """
        descriptors = descriptors or {}
        self._last_request_id += 1
        request = Spawn(
            request_id=self._last_request_id,
            argv=tuple(argv),
            env=dict(env),
            cwd=cwd,
            umask=umask,
            targets=tuple(descriptors),
            owner=owner,
            forks=forks,
        )
        self._request(request, tuple(descriptors.values()))
        return request.request_id

    def signal(self, pid: int, signum: int, *, group: bool = False) -> None:
        """Signal a vassal's main process or its group; nothing happens if it is gone."""
        self._request(Signal(pid=pid, signum=signum, group=group))

    def adopt(self, pid: int, owner: int | None = None) -> None:
        """Have the group of a vassal of an earlier guardian die with the daemon, too."""
        self._request(Adopt(pid=pid, owner=owner))

    def forget(self, pid: int) -> None:
        """Undo ``adopt``, when that vassal is gone."""
        self._request(Forget(pid=pid))

    def become(self, identity: Identity) -> None:
        """Have the guardian give up its rights for good; it dies if it may not."""
        self._request(
            Become(
                uid=identity.uid,
                gid=identity.gid,
                groups=identity.groups,
                capabilities=identity.capabilities,
                bounding=identity.bounding,
            )
        )

    async def close(self) -> int:
        """Have the guardian kill all its vassals and leave; return its exit code or -signal.

        It leaves within five seconds, even if a vassal cannot die. ``on_death`` is not called.
        """
        self._is_closing = True
        self._hang_up()
        return await asyncio.shield(self._gone)

    def _request(self, request: Request, descriptors: tuple[int, ...] = ()) -> None:
        if self._channel.fileno() < 0:
            return
        packet = encode(request)
        if len(packet) <= PACKET_BYTES or not isinstance(request, Spawn):
            self._send_or_queue(packet, descriptors)
            return
        body = _memory_file(packet)
        try:
            header = encode(Body(request_id=request.request_id))
            self._send_or_queue(header, (body, *descriptors))
        finally:
            os.close(body)

    def _send_or_queue(self, packet: bytes, descriptors: tuple[int, ...]) -> None:
        if self._waiting or not self._has_sent(packet, descriptors):
            self._waiting.append((packet, _duplicates(descriptors)))
            self._resume()

    def _has_sent(self, packet: bytes, descriptors: tuple[int, ...]) -> bool:
        """Send, or let it be lost if there is nobody; False if it must wait."""
        try:
            socket.send_fds(self._channel, [packet], descriptors)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            return True  # the guardian is dead; its pidfd will say so
        except OSError as error:
            if error.errno != errno.ETOOMANYREFS:
                raise
            self._pause()
            return False
        return True

    def _write(self) -> None:
        while self._waiting:
            packet, descriptors = self._waiting[0]
            if not self._has_sent(packet, descriptors):
                return
            self._waiting.popleft()
            _close_all(descriptors)
        self._loop.remove_writer(self._channel)

    def _pause(self) -> None:
        # An ordinary user may have only so many descriptors on the way. The socket is still
        # writable then: do not spin on that.
        self._loop.remove_writer(self._channel)
        self._is_pausing = True
        self._loop.call_later(_RETRY_SECONDS, self._end_pause)

    def _end_pause(self) -> None:
        self._is_pausing = False
        self._resume()

    def _resume(self) -> None:
        if self._waiting and not self._is_pausing:
            self._loop.add_writer(self._channel, self._write)

    def _read(self) -> None:
        for _ in range(_REPORTS_AT_A_TIME):
            if not self._read_one():
                return

    def _read_one(self) -> bool:
        """Take one packet; False if there is none now."""
        try:
            packet = self._channel.recv(_REPORT_BYTES)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True  # it died with requests unread; its reports are still to come
        if not packet:
            self._loop.remove_reader(self._channel)
            return False
        report = decode(packet)
        if not isinstance(report, Spawned | Failed | Exited):
            raise TypeError(f"not a report: {report!r}")
        # Each in a call of its own: one that raises does not take the others with it.
        self._loop.call_soon(self._on_report, report)
        return True

    def _bury(self) -> None:
        """Take the dead guardian's last reports, then its status."""
        if self._channel.fileno() >= 0:
            while self._read_one():
                pass
        self._hang_up()
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._gone.set_result(status)
        if not self._is_closing:
            self._loop.call_soon(self._on_death, status)

    def _hang_up(self) -> None:
        if self._channel.fileno() < 0:
            return
        self._loop.remove_reader(self._channel)
        self._loop.remove_writer(self._channel)
        self._channel.close()
        for _, descriptors in self._waiting:
            _close_all(descriptors)
        self._waiting.clear()


def _spawn_guardian(theirs: socket.socket, soft_nofile: int | None) -> int:
    package = os.path.dirname(os.path.abspath(emperor.__file__))
    command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", _PROGRAM]
    arguments = [os.path.dirname(package), "--socket", str(_CHILD_SOCKET)]
    if soft_nofile is not None:
        arguments += ["--nofile", str(soft_nofile)]
    return os.posix_spawn(
        sys.executable,
        command + arguments,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), _CHILD_SOCKET)],
        setsid=True,
        setsigmask=_NOT_FOR_THE_GUARDIAN,
    )


def _memory_file(content: bytes) -> int:
    body = os.memfd_create("spawn")
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(body, view) :]
    except OSError:
        os.close(body)
        raise
    return body


def _duplicates(descriptors: Sequence[int]) -> tuple[int, ...]:
    copies: list[int] = []
    try:
        copies.extend(map(os.dup, descriptors))
    except OSError:
        _close_all(copies)
        raise
    return tuple(copies)


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
