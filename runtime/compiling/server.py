"""The compile server's process: it holds the parsers and forks a worker for whoever asks.

It blocks on one socket from the daemon and leaves when that is closed. It never opens a
vassal's file itself: workers do, after they have become the user on whose behalf they work.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time

from emperor.runtime.compiling.wire import encode, receive
from emperor.runtime.compiling.worker import Job, serve
from emperor.runtime.guardian.children import become_subreaper, children
from emperor.runtime.guardian.descriptors import keep_private
from emperor.runtime.guardian.groups import kill_group
from emperor.runtime.privileges import Identity, die_with_parent, drop

#: How long killed processes may take to be gone, in seconds.
END_SECONDS = 2.0


def main() -> None:
    """Serve the daemon on the socket whose number is the only argument."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(signum, signal.SIG_IGN)  # only the daemon says when it is over
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # dead workers are the daemon's business
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    keep_private()
    become_subreaper()
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        server = Server(channel)
        server.run()
    server.workers.clear()
    server.end_strays()


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

    def run(self) -> None:
        """Obey until the daemon hangs up."""
        import emperor.compiler.spec  # the parsers: once, before any fork  # noqa: F401
        from emperor.compiler.catalogue import by_plugin
        from emperor.compiler.grammars import parser
        from emperor.compiler.target import NEWEST

        by_plugin(NEWEST)
        for name in ("ini", "value-percent", "value-dollar"):
            parser(name)
        while (received := receive(self.channel)) is not None:
            message, descriptors = received
            self._obey(message, descriptors)

    def _obey(self, message: dict[str, object], descriptors: list[int]) -> None:
        match message:
            case {"op": "settings", **rest}:
                self.job = Job.from_data(rest)
                if isinstance(cwd := rest.get("cwd"), str):
                    os.chdir(cwd)
            case {"op": "drop", **rest}:
                preload()
                drop(Identity.from_data(rest))
            case {"op": "worker"}:
                pid = self._fork(descriptors[0])
                self.channel.sendall(encode({"pid": pid}))
            case {"op": "kill", "pid": int(pid)}:
                self.workers.discard(pid)
                self.end_strays()
            case _:
                raise ValueError(f"no such request: {message}")

    def end_strays(self) -> None:
        """Kill every child that is no worker: workers that were parted with, and what they had
        started, which comes to us when they are dead."""
        end = time.monotonic() + END_SECONDS
        while strays := [pid for pid in children() if pid not in self.workers]:
            for pid in strays:
                kill_group(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > end:
                return
            time.sleep(0.002)

    def _fork(self, descriptor: int) -> int:
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
            die_with_parent()
            serve(socket.socket(fileno=descriptor), self.job)
            status = 0
        finally:
            os._exit(status)  # whatever happened, the server's own work is not continued here


if __name__ == "__main__":
    main()
