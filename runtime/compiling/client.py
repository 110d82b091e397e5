"""The daemon's side of the compile server: requests out, answers in, on the asyncio loop.

Each worker has a socket of its own. A worker that takes too long, dies or lies is replaced;
the request that it was busy with fails, the ones behind it go to the next worker.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping

from emperor.runtime.compiling.link import Request, WorkerLink, flush
from emperor.runtime.compiling.start import FirstQuestion, Started, start_server
from emperor.runtime.compiling.wire import Inbox, TooLong, encode
from emperor.runtime.launch import BadSpec, CompileAnswer, answer_from_data

#: How long one vassal may take to compile, in seconds.
REQUEST_SECONDS = 30.0

#: How many requests a worker is sent before it has answered the first of them.
PIPELINE = 16

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
        self._count = workers
        self._on_trouble = on_trouble
        self._waiting: deque[Request] = deque()
        self._workers: list[WorkerLink] = []
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
        self._retire_workers()

    def drop(self, message: Mapping[str, object]) -> None:
        """Have the server become a lesser user for good."""
        self._tell_server({"op": "drop", **message})
        self._retire_workers()

    async def first_answer(self) -> dict[str, object]:
        """The answer to the first question: the Emperor's own configuration."""
        answer = await self._first
        if not isinstance(answer, dict) or "ok" not in answer:
            reasons = answer.get("diagnostics") if isinstance(answer, dict) else None
            return {"ok": False, "diagnostics": reasons or ["error: no answer"]}
        return answer

    def compile(self, message: Mapping[str, object], on_answer: OnAnswer) -> None:
        """Compile one vassal: {name, directory, monitor, section}. Always answers, later."""

        def check(data: object) -> None:
            try:
                answer = answer_from_data(data)
            except BadSpec as error:
                text = f"error: the compile worker gives an answer that is none: {error}"
                answer = CompileAnswer(spec=None, diagnostics=(text,), dependencies=())
            on_answer(answer)

        self._submit({"op": "compile", **message}, check)

    async def close(self) -> None:
        """End the server and its workers, and wait for the server to be gone."""
        self._is_closing = True
        self._retire_workers()
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
        self._retire_workers()
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
        self._feed()

    def _tell_server(self, message: Mapping[str, object], *, is_kept: bool = False) -> None:
        packet = encode(message)
        if is_kept:
            self._settings = [packet]
        if self._is_down:
            return
        self._outbox += packet
        self._flush_server()

    def _flush_server(self) -> None:
        if flush(self._channel, self._outbox):
            self._loop.remove_writer(self._channel)
            self._feed()  # workers are asked for only when nothing is in the way
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
                if worker not in self._workers:  # parted with before its pid was known
                    self._tell_server({"op": "kill", "pid": worker.pid})

    # -- the workers -----------------------------------------------------------------------

    def _submit(
        self, message: Mapping[str, object], on_answer: Callable[[object], None]
    ) -> None:
        self._last_id += 1
        request = Request(self._last_id, {"id": self._last_id, **message}, on_answer)
        self._waiting.append(request)
        self._feed()

    def _feed(self) -> None:
        """Give waiting requests to the workers with the least to do."""
        while self._waiting:
            worker = min(self._workers, key=lambda w: len(w.busy), default=None)
            if (worker is None or worker.busy) and len(self._workers) < self._count:
                worker = self._start_worker()
            if worker is None or len(worker.busy) >= PIPELINE:
                return
            request = self._waiting.popleft()
            worker.busy.append(request)
            worker.outbox += encode(request.message)
            self._flush_worker(worker)
            if len(worker.busy) == 1:
                self._arm(worker)

    def _expect(self, first: FirstQuestion) -> None:
        """A worker was asked already: its answer is the first."""
        self._last_id = 1
        worker = WorkerLink(None, first.channel)
        worker.busy.append(Request(1, first.message, self._first.set_result))
        self._workers.append(worker)
        self._starting.append(worker)
        self._loop.add_reader(first.channel, self._read_worker, worker)
        self._arm(worker)

    def _start_worker(self) -> WorkerLink | None:
        if self._is_down or self._outbox:
            return None  # the descriptor must travel with its own request
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        packet = encode({"op": "worker"})
        with theirs:
            try:
                sent = socket.send_fds(self._channel, [packet], [theirs.fileno()])
            except BlockingIOError:
                ours.close()
                self._loop.call_later(_RETRY_SECONDS, self._feed)
                return None
            except (BrokenPipeError, ConnectionResetError):
                ours.close()
                return None  # the server is dead: asked again when there is another
        worker = WorkerLink(None, ours)
        self._workers.append(worker)
        self._starting.append(worker)
        self._loop.add_reader(ours, self._read_worker, worker)
        if sent < len(packet):
            self._outbox += packet[sent:]
            self._flush_server()
        return worker

    def _flush_worker(self, worker: WorkerLink) -> None:
        is_done = flush(worker.channel, worker.outbox)
        if is_done and worker.is_writing:
            self._loop.remove_writer(worker.channel)
        elif not is_done and not worker.is_writing:
            self._loop.add_writer(worker.channel, self._flush_worker, worker)
        worker.is_writing = not is_done

    def _read_worker(self, worker: WorkerLink) -> None:
        try:
            data = worker.channel.recv(1 << 20)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self._replace(worker, "died")
            return
        try:
            messages = worker.inbox.feed(data)
        except (TooLong, ValueError):
            self._replace(worker, "gives answers that are none")
            return
        for message in messages:
            if not worker.busy or not isinstance(message, dict):
                self._replace(worker, "gives answers that are none")
                return
            request = worker.busy.popleft()
            if message.get("id") != request.id:
                worker.busy.appendleft(request)
                self._replace(worker, "answers what nobody asked")
                return
            self._arm(worker)
            self._loop.call_soon(request.on_answer, message)
        self._feed()

    def _arm(self, worker: WorkerLink) -> None:
        """Give the request that the worker is busy with its time, from now on.

        One timer a worker, which looks at the deadline when it fires: setting one for each
        request would cost more than the rest of it.
        """
        if worker.busy:
            worker.busy[0].deadline = self._loop.time() + REQUEST_SECONDS
            if worker.timer is None:
                worker.timer = self._loop.call_at(
                    worker.busy[0].deadline, self._check_overdue, worker
                )

    def _check_overdue(self, worker: WorkerLink) -> None:
        worker.timer = None
        if not worker.busy:
            return
        deadline = worker.busy[0].deadline
        if self._loop.time() >= deadline:
            self._replace(worker, f"took longer than {REQUEST_SECONDS:g} seconds")
        else:
            worker.timer = self._loop.call_at(deadline, self._check_overdue, worker)

    def _replace(self, worker: WorkerLink, why: str) -> None:
        """Part with a worker: what it was busy with fails, the rest goes to another."""
        blamed = worker.busy.popleft() if worker.busy else None
        rest = self._part_with(worker)
        self._waiting.extendleft(reversed(rest))
        if worker.pid is not None:
            self._tell_server({"op": "kill", "pid": worker.pid})
        if blamed is not None:
            text = f"error: the compile worker {why}"
            data = {"spec": None, "diagnostics": [text], "dependencies": []}
            self._loop.call_soon(blamed.on_answer, data)
        if not self._is_closing:
            self._on_trouble(f"a compile worker {why}: starting another")
            self._feed()

    def _retire_workers(self) -> None:
        """Let all workers go; what they have not answered is asked again."""
        requests = [request for worker in self._workers for request in worker.busy]
        for worker in tuple(self._workers):
            worker.busy.clear()
            self._part_with(worker)
        self._waiting.extendleft(sorted(requests, key=lambda r: r.id, reverse=True))

    def _part_with(self, worker: WorkerLink) -> list[Request]:
        self._workers.remove(worker)
        if worker.timer is not None:
            worker.timer.cancel()
        self._loop.remove_reader(worker.channel)
        self._loop.remove_writer(worker.channel)
        worker.channel.close()
        return list(worker.busy)
