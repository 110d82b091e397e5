"""The compile workers and what they are asked: whose turn it is, who is late, who lies.

Without tyrant mode a few workers share all requests. With it every tenant has a worker of its
own, which is kept while there is something to do and a little longer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from emperor.runtime.compiling.link import Request, WorkerLink, flush
from emperor.runtime.compiling.wire import TooLong
from emperor.runtime.tenants.privileges import Owner

#: How long one vassal may take to compile, in seconds.
REQUEST_SECONDS = 30.0

#: How many requests a worker is sent before it has answered the first of them.
PIPELINE = 16

#: How many tenants' workers there are at a time; those that take longer than so many seconds
#: over something do not count, up to a larger number: they mostly wait for something.
MOST_TENANTS = 8
SLOW_SECONDS = 1.0
MOST_SLOW_TENANTS = 64

#: How long a tenant's worker is kept that has nothing to do, in seconds.
IDLE_SECONDS = 5.0


class Crew:
    """All workers of one daemon; made inside a running loop.

    ``start`` gives a new worker of an owner, or nothing if there can be none now (``feed`` is
    called again when there can); ``end`` makes sure that a worker and all it has started are
    gone. ``count`` is how many workers compile as the Emperor's own user. ``on_trouble`` gets a
    text when a worker had to be replaced.
    """

    def __init__(
        self,
        *,
        count: int,
        start: Callable[[Owner | None], WorkerLink | None],
        end: Callable[[WorkerLink], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._count = count
        self._start = start
        self._end = end
        self._on_trouble = on_trouble
        self._waiting: dict[Owner | None, deque[Request]] = {}
        self._workers: list[WorkerLink] = []
        self._slow_timer: asyncio.TimerHandle | None = None
        self.is_closing = self._is_feeding = False

    def __contains__(self, worker: WorkerLink) -> bool:
        return worker in self._workers

    def submit(self, request: Request) -> None:
        """Have it answered, after those that were there before."""
        self._waiting.setdefault(request.owner, deque()).append(request)
        self.feed()

    def enlist(self, worker: WorkerLink) -> None:
        """Take a worker in, with what it is busy with already."""
        self._workers.append(worker)
        self._loop.add_reader(worker.channel, self._read, worker)
        self._arm(worker)

    def feed(self) -> None:
        """Give what waits to the workers, each owner's requests in turn."""
        if self._is_feeding or self.is_closing:
            return  # a worker that is dismissed for another one leads back here
        self._is_feeding = True
        try:
            for owner in tuple(self._waiting):
                self._feed_one(owner, self._waiting[owner])
        finally:
            self._is_feeding = False

    def _feed_one(self, owner: Owner | None, queue: deque[Request]) -> None:
        while queue:
            worker = self._hand(owner)
            if worker is None:
                return
            self._give(worker, queue.popleft())
        del self._waiting[owner]

    def retire(self) -> None:
        """Let all workers go; what they have not answered is asked again."""
        requests = [request for worker in self._workers for request in worker.busy]
        for worker in tuple(self._workers):
            worker.busy.clear()
            self._part_with(worker)
            if worker.owner is not None:
                self._end(worker)  # a tenant's may not care that its socket is closed
        for request in sorted(requests, key=lambda r: r.id, reverse=True):
            self._waiting.setdefault(request.owner, deque()).appendleft(request)

    # -- whose turn it is ------------------------------------------------------------------

    def _hand(self, owner: Owner | None) -> WorkerLink | None:
        """The worker with the least to do, or a new one; nothing if all have enough."""
        mine = [worker for worker in self._workers if worker.owner == owner]
        worker = min(mine, key=lambda w: len(w.busy), default=None)
        if (worker is None or worker.busy) and self._has_room(owner, len(mine)):
            new = self._start(owner)
            if new is not None:
                self.enlist(new)
                worker = new
        return None if worker is None or len(worker.busy) >= PIPELINE else worker

    def _has_room(self, owner: Owner | None, already: int) -> bool:
        """Whether there may be one more; an idle tenant's worker makes place for another's."""
        if owner is None:
            return already < self._count
        if already:
            return False
        tenants = [worker for worker in self._workers if worker.owner is not None]
        idle = next((worker for worker in tenants if not worker.busy), None)
        slow_since = self._loop.time() + REQUEST_SECONDS - SLOW_SECONDS
        quick = sum(not worker.busy or worker.deadline > slow_since for worker in tenants)
        if quick < MOST_TENANTS and len(tenants) < MOST_SLOW_TENANTS:
            return True
        if idle is not None:
            self._dismiss(idle)
            return True
        self._look_later()
        return False

    def _look_later(self) -> None:
        """Somebody waits for a place: the others may be slow by then."""
        if self._slow_timer is None:
            self._slow_timer = self._loop.call_later(SLOW_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._slow_timer = None
        self.feed()

    def _give(self, worker: WorkerLink, request: Request) -> None:
        worker.busy.append(request)
        worker.send(request)
        self._flush(worker)
        if len(worker.busy) == 1:
            self._arm(worker)

    def _flush(self, worker: WorkerLink) -> None:
        is_done = flush(worker)
        if is_done and worker.is_writing:
            self._loop.remove_writer(worker.channel)
        elif not is_done and not worker.is_writing:
            self._loop.add_writer(worker.channel, self._flush, worker)
        worker.is_writing = not is_done

    # -- what they answer ------------------------------------------------------------------

    def _read(self, worker: WorkerLink) -> None:
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
            if message.get("id") != worker.busy[0].id:
                self._replace(worker, "answers what nobody asked")
                return
            request = worker.busy.popleft()
            request.is_answered()
            self._arm(worker)
            self._loop.call_soon(request.on_answer, message)
        self._share(worker)
        self.feed()

    def _share(self, worker: WorkerLink) -> None:
        """Have a tenant's worker make place where all places are taken and others wait: what it
        has still to do comes after them."""
        tenants = sum(other.owner is not None for other in self._workers)
        others = [owner for owner in self._waiting if owner not in (None, worker.owner)]
        if worker.owner is None or tenants < MOST_SLOW_TENANTS or not others:
            return
        rest = list(worker.busy)
        self._dismiss(worker)
        queue = deque(rest)
        queue.extend(self._waiting.pop(worker.owner, ()))
        if queue:
            self._waiting[worker.owner] = queue

    def _arm(self, worker: WorkerLink) -> None:
        """Give the request that the worker is busy with its time, from now on; one that has
        nothing to do is dismissed after a while if it works for a tenant.

        One timer a worker, which looks at the deadline when it fires: setting one for each
        request would cost more than the rest of it.
        """
        if worker.busy:
            worker.deadline = self._loop.time() + REQUEST_SECONDS
        elif worker.owner is not None:
            worker.deadline = self._loop.time() + IDLE_SECONDS
        else:
            return
        if worker.timer is not None and worker.timer.when() > worker.deadline:
            worker.timer.cancel()
            worker.timer = None
        if worker.timer is None:
            worker.timer = self._loop.call_at(worker.deadline, self._check_overdue, worker)

    def _check_overdue(self, worker: WorkerLink) -> None:
        worker.timer = None
        if self._loop.time() < worker.deadline:
            worker.timer = self._loop.call_at(worker.deadline, self._check_overdue, worker)
        elif worker.busy:
            self._replace(worker, f"took longer than {REQUEST_SECONDS:g} seconds")
        elif worker.owner is not None:
            self._dismiss(worker)

    # -- workers go ------------------------------------------------------------------------

    def _replace(self, worker: WorkerLink, why: str) -> None:
        """Part with a worker: what it was busy with fails, the rest goes to another."""
        blamed = worker.busy.popleft() if worker.busy else None
        rest = list(worker.busy)
        self._dismiss(worker)
        self._waiting.setdefault(worker.owner, deque()).extendleft(reversed(rest))
        if blamed is not None:
            text = f"error: the compile worker {why}"
            data = {"spec": None, "diagnostics": [text], "dependencies": []}
            blamed.is_answered()
            self._loop.call_soon(blamed.on_answer, data)
        if not self.is_closing:
            whose = "" if worker.owner is None else f" of user {worker.owner.uid}"
            self._on_trouble(f"a compile worker{whose} {why}: starting another")
            self.feed()

    def _dismiss(self, worker: WorkerLink) -> None:
        self._part_with(worker)
        self._end(worker)

    def _part_with(self, worker: WorkerLink) -> None:
        self._workers.remove(worker)
        if worker.timer is not None:
            worker.timer.cancel()
        self._loop.remove_reader(worker.channel)
        self._loop.remove_writer(worker.channel)
        worker.channel.close()
