"""The compile server's process: it holds the parsers and forks a worker for whoever asks.

It blocks on one socket from the daemon and leaves when that is closed. It never opens a
vassal's file itself: workers do, after they have become the user on whose behalf they work.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
from dataclasses import replace

from emperor.runtime.compiling.strays import end_strays
from emperor.runtime.compiling.wire import encode, receive
from emperor.runtime.compiling.worker import Job, serve
from emperor.runtime.guardian.children import become_subreaper
from emperor.runtime.guardian.descriptors import keep_private
from emperor.runtime.tenants.privileges import (
    Identity,
    Owner,
    become_tenant,
    die_with_parent,
    drop,
)

#: How long to wait before strays that would not go are killed again.
RETRY_SECONDS = 0.5


def main() -> None:
    """Serve the daemon on the socket whose number is the only argument."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(signum, signal.SIG_IGN)  # only the daemon says when it is over
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # dead workers are the daemon's business
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    keep_private()
    become_subreaper()
    # an answer may find nobody who waits for it any more
    gone = contextlib.suppress(BrokenPipeError, ConnectionResetError)
    with socket.socket(fileno=int(sys.argv[1])) as channel, gone:
        Server(channel).run()
    end_strays(())


def preload() -> None:
    """Load what is loaded late otherwise: a lesser user may not be able to read it."""
    import encodings.ascii
    import encodings.idna
    import encodings.latin_1  # noqa: F401

    import emperor.compiler.from_xml
    import emperor.compiler.from_yaml
    import emperor.runtime.commands
    import emperor.runtime.compiling.emperor
    import emperor.runtime.globbing  # noqa: F401
    from emperor.compiler.grammars import VARIANTS, parser

    for name in VARIANTS:
        parser(name)


class Server:
    """One connection to the daemon."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.job = Job()
        self.workers: set[int] = set()
        self.is_preloaded = self.has_strays = False

    def run(self) -> None:
        """Obey until the daemon hangs up."""
        import emperor.compiler.spec  # the parsers: once, before any fork  # noqa: F401
        from emperor.compiler.catalogue import by_plugin
        from emperor.compiler.grammars import parser
        from emperor.compiler.target import NEWEST

        by_plugin(NEWEST)
        for name in ("ini", "value-percent", "value-dollar"):
            parser(name)
        while (received := self._next()) is not None:
            message, descriptors = received
            self._obey(message, descriptors)

    def _next(self) -> tuple[dict[str, object], list[int]] | None:
        """The next request; until it comes strays that would not go are killed again."""
        while self.has_strays and not select.select([self.channel], [], [], RETRY_SECONDS)[0]:
            self.has_strays = not end_strays(self.workers)
        return receive(self.channel)

    def _obey(self, message: dict[str, object], descriptors: list[int]) -> None:
        match message:
            case {"op": "settings", **rest}:
                self.job = Job.from_data(rest)
                if isinstance(cwd := rest.get("cwd"), str):
                    os.chdir(cwd)
            case {"op": "drop", **rest}:
                self._preload()
                drop(Identity.from_data(rest))
            case {"op": "worker", **rest}:
                whose = rest.get("owner")
                owner = Owner.from_data(whose) if isinstance(whose, dict) else None
                if owner is not None:
                    self._preload()
                pid = self._fork(descriptors[0], owner)
                self.channel.sendall(encode({"pid": pid}))
            case {"op": "kill", "pid": int(pid)}:
                self.workers.discard(pid)
                self.has_strays = not end_strays(self.workers)
            case _:
                raise ValueError(f"no such request: {message}")

    def _preload(self) -> None:
        if not self.is_preloaded:
            preload()
            self.is_preloaded = True

    def _fork(self, descriptor: int, owner: Owner | None) -> int:
        """Start a worker that serves the socket ``descriptor``; gives its pid."""
        pid = os.fork()
        if pid:
            os.close(descriptor)
            self.workers.add(pid)
            return pid
        status = 1
        try:
            self.channel.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if owner is not None:
                os.setsid()  # out of a group in which he could signal his own worker alone
                _keep_only(descriptor)
                become_tenant(owner)
            die_with_parent()  # after the change of user, which would undo it
            job = replace(self.job, is_for_tenant=owner is not None)
            serve(socket.socket(fileno=descriptor), job)
            status = 0
        finally:
            os._exit(status)  # whatever happened, the server's own work is not continued here


def _keep_only(descriptor: int) -> None:
    """Close all that a tenant has no business with; output goes nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    for number in map(int, os.listdir("/proc/self/fd")):
        if number > 2 and number != descriptor:
            with contextlib.suppress(OSError):  # the one that listed the directory
                os.close(number)


if __name__ == "__main__":
    main()
