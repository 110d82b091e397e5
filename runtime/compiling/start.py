"""Starting the compile server's process, and its first question. Light: the daemon does it
before anything else, so that the parsers are loaded while the daemon loads itself."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import NamedTuple

from emperor.runtime.compiling.wire import encode
from emperor.runtime.service import VARIABLES

_SOCKET = 3
_PROGRAM = "from emperor.runtime.compiling.server import main; main()"

#: Only the daemon says when it is over: these never reach the server.
_NOT_FOR_THE_SERVER = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class Started(NamedTuple):
    """A compile server's process and our end of its socket, which does not block."""

    pid: int
    channel: socket.socket


class FirstQuestion(NamedTuple):
    """What a worker was asked before there was a loop to wait in, and our end of its socket."""

    channel: socket.socket
    message: dict[str, object]


def for_others(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what the service manager tells the daemon alone."""
    return {name: value for name, value in environ.items() if name not in VARIABLES}


def start_server() -> Started:
    """Start a compile server in a session of its own; raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.setblocking(False)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    with theirs:
        pid = os.posix_spawn(
            sys.executable,
            # -P: a file lark.py in the working directory is not the library
            [sys.executable, "-P", "-c", _PROGRAM, str(_SOCKET)],
            for_others(os.environ),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), _SOCKET),
                (os.POSIX_SPAWN_DUP2, null, 0),
            ],
            setsid=True,
            setsigmask=_NOT_FOR_THE_SERVER,
        )
    os.close(null)
    return Started(pid, ours)


def ask_first(server: Started, message: Mapping[str, object]) -> FirstQuestion:
    """Put a question to the new server's first worker, to be answered while we load.

    May wait for the server to read a message that is larger than a socket's buffer.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    question: dict[str, object] = {"id": 1, **message}
    with theirs:
        socket.send_fds(server.channel, [encode({"op": "worker"})], [theirs.fileno()])
    ours.sendall(encode(question))
    ours.setblocking(False)
    return FirstQuestion(ours, question)
