"""The daemon's side of the compile server: requests out, answers in, on the asyncio loop.

Each worker has a socket of its own. A worker that takes too long, dies or lies is replaced;
the request that it was busy with fails, the ones behind it go to the next worker
(``crew.py``).
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping

from emperor.runtime.compiling.crew import Crew
from emperor.runtime.compiling.link import Request, WorkerLink
from emperor.runtime.compiling.start import FirstQuestion, Started, start_server
from emperor.runtime.compiling.wire import Inbox, encode
from emperor.runtime.launch import BadSpec, CompileAnswer, answer_from_data
from emperor.runtime.sockets import refuse_descriptors
from emperor.runtime.tenants.privileges import Owner

_RETRY_SECONDS = 0.01

#: A server that dies younger than this is not started again at once.
_YOUNG_SECONDS = 1.0

#: Takes the answer to a compile.
OnAnswer = Callable[[CompileAnswer], None]


class CompileServer:
    """A compile server and its workers; made inside a running loop.

    ``server`` is the first one, started already, and ``first`` what it was asked already;
    ``on_trouble`` gets a text when the server or a worker had to be replaced.
    """

    def __init__(
        self,
        *,
        server: Started,
        workers: int,
        on_trouble: Callable[[str], None],
        first: FirstQuestion | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_trouble = on_trouble
        self._crew = Crew(
            count=workers,
            start=self._start_worker,
            end=self._end_worker,
            on_trouble=on_trouble,
        )
        self._starting: deque[WorkerLink] = deque()
        self._settings: list[bytes] = []
        self._last_id = 0
        self._is_closing = False
        self._serve_by(server)
        self._first: asyncio.Future[object] = self._loop.create_future()
        self._is_asked = first is not None
        if first is not None:
            self._expect(first)

    # -- what the daemon asks ------------------------------------------------------------

    def settings(self, message: Mapping[str, object]) -> None:
        """What is the same for all vassals; workers are started afresh with it."""
        self._tell_server({"op": "settings", **message}, is_kept=True)
        self._crew.retire()

    def drop(self, message: Mapping[str, object]) -> None:
        """Have the server become a lesser user for good."""
        self._tell_server({"op": "drop", **message})
        self._crew.retire()

    async def first_answer(self) -> dict[str, object]:
        """The answer to the first question: the Emperor's own configuration."""
        answer = await self._first
        if not isinstance(answer, dict) or "ok" not in answer:
            reasons = answer.get("diagnostics") if isinstance(answer, dict) else None
            return {"ok": False, "diagnostics": reasons or ["error: no answer"]}
        return answer

    def compile(
        self,
        message: Mapping[str, object],
        on_answer: OnAnswer,
        *,
        owner: Owner | None = None,
        descriptor: int | None = None,
    ) -> None:
        """Compile one vassal: {name, directory, monitor, section, text, socket}. Always
        answers, later.

        With an ``owner`` it is compiled as that user, who is not trusted. ``descriptor`` is the
        vassal's file, however it was opened; it is taken over and closed in the end.
        """

        def check(data: object) -> None:
            try:
                answer = answer_from_data(data)
            except BadSpec as error:
                text = f"error: the compile worker gives an answer that is none: {error}"
                answer = CompileAnswer(spec=None, diagnostics=(text,), dependencies=())
            on_answer(answer)

        self._last_id += 1
        request = Request(
            self._last_id,
            {"id": self._last_id, "op": "compile", **message},
            check,
            owner=owner,
            descriptor=descriptor,
        )
        self._crew.submit(request)

    async def close(self) -> None:
        """End the server and its workers, and wait for the server to be gone."""
        self._is_closing = self._crew.is_closing = True
        self._crew.retire()
        self._channel.close()
        await self._gone.wait()

    # -- the server ------------------------------------------------------------------------

    def _serve_by(self, server: Started) -> None:
        """Talk to this server from now on."""
        self.pid, self._channel = server
        self._is_down = False
        self._started_at = self._loop.time()
        self._inbox = Inbox()
        self._outbox = bytearray()
        self._gone = asyncio.Event()
        pidfd = os.pidfd_open(self.pid)
        self._loop.add_reader(self._channel, self._read_server)
        self._loop.add_reader(pidfd, self._bury_server, self.pid, pidfd)
        for settings in self._settings:
            self._outbox += settings
        self._flush_server()

    def _bury_server(self, pid: int, pidfd: int) -> None:
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
        os.waitpid(pid, 0)
        self._gone.set()
        if self._is_closing:
            return
        self._loop.remove_reader(self._channel)
        self._loop.remove_writer(self._channel)
        self._channel.close()
        self._starting.clear()
        self._is_down = True
        self._on_trouble("the compile server is gone: starting another")
        self._crew.retire()
        if self._loop.time() >= self._started_at + _YOUNG_SECONDS:
            self._succeed()
        elif self._first.done() or not self._is_asked:
            self._loop.call_later(_YOUNG_SECONDS, self._succeed)
        else:  # it has never worked: another one would not either
            self._first.set_exception(OSError(errno.ECHILD, "the compile server does not run"))

    def _succeed(self) -> None:
        """Start the next server, and keep trying: what runs goes on meanwhile."""
        if self._is_closing:
            return
        try:
            server = start_server()
        except OSError as error:
            self._on_trouble(f"no other compile server can be started: {error}")
            self._loop.call_later(_YOUNG_SECONDS, self._succeed)
            return
        self._serve_by(server)
        self._crew.feed()

    def _tell_server(self, message: Mapping[str, object], *, is_kept: bool = False) -> None:
        packet = encode(message)
        if is_kept:
            self._settings = [packet]
        if self._is_down:
            return
        self._outbox += packet
        self._flush_server()

    def _flush_server(self) -> None:
        if _flush(self._channel, self._outbox):
            self._loop.remove_writer(self._channel)
            self._crew.feed()  # workers are asked for only when nothing is in the way
        else:
            self._loop.add_writer(self._channel, self._flush_server)

    def _read_server(self) -> None:
        """The only thing the server says is the pid of the next worker."""
        try:
            data = self._channel.recv(65536)
        except (BlockingIOError, ConnectionResetError):
            return
        if not data:
            self._loop.remove_reader(self._channel)  # its pidfd will tell
            return
        for message in self._inbox.feed(data):
            if self._starting and isinstance(message, dict):
                worker = self._starting.popleft()
                worker.pid = int(message["pid"])
                if worker not in self._crew:  # parted with before its pid was known
                    self._end_worker(worker)

    # -- the workers -----------------------------------------------------------------------

    def _expect(self, first: FirstQuestion) -> None:
        """A worker was asked already: its answer is the first."""
        self._last_id = 1
        worker = WorkerLink(None, first.channel)
        worker.busy.append(Request(1, first.message, self._first.set_result))
        self._starting.append(worker)
        self._crew.enlist(worker)

    def _start_worker(self, owner: Owner | None) -> WorkerLink | None:
        if self._is_down or self._outbox:
            return None  # the descriptor must travel with its own request
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        refuse_descriptors(ours)
        packet = encode({"op": "worker", "owner": None if owner is None else owner.as_data()})
        with theirs:
            try:
                sent = socket.send_fds(self._channel, [packet], [theirs.fileno()])
            except BlockingIOError:
                ours.close()
                self._loop.call_later(_RETRY_SECONDS, self._crew.feed)
                return None
            except (BrokenPipeError, ConnectionResetError):
                ours.close()
                return None  # the server is dead: asked again when there is another
        worker = WorkerLink(None, ours, owner)
        self._starting.append(worker)
        if sent < len(packet):
            self._outbox += packet[sent:]
            self._flush_server()
        return worker

    def _end_worker(self, worker: WorkerLink) -> None:
        """Have it killed, with all it has started, if it is there at all yet."""
        if worker.pid is not None:
            self._tell_server({"op": "kill", "pid": worker.pid})


def _flush(channel: socket.socket, outbox: bytearray) -> bool:
    """Send what can be sent; gives whether all of it went (or there is nobody to take it)."""
    while outbox:
        try:
            sent = channel.send(outbox)
        except BlockingIOError:
            return False
        except OSError:
            outbox.clear()
            return True
        del outbox[:sent]
    return True
