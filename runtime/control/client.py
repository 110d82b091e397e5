"""The client's end of the control socket. Blocking: it is for commands, not for the daemon."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from emperor.runtime.control.protocol import (
    Answer,
    BadAnswer,
    End,
    Request,
    read_answer,
    request_line,
)

#: How long a daemon that has nothing to wait for may take for a word, in seconds.
PATIENCE_SECONDS = 30.0


class Unreachable(Exception):
    """Nobody answers, or nobody that we understand; the text says why."""


def ask(path: str, request: Request) -> Iterator[Answer]:
    """Ask the daemon behind the socket at ``path``; the answers come as they are given.

    Raises ``Unreachable``, or ``Refused``.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        patience = request.timeout_seconds if request.waits else 0.0
        channel.settimeout(PATIENCE_SECONDS + patience)
        try:
            channel.connect(path)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                channel.sendall(request_line(request))  # it may say why it does not listen
            yield from _answers(channel)
        except TimeoutError:
            raise Unreachable("it does not answer") from None
        except OSError as error:
            raise Unreachable(error.strerror or str(error)) from None
        except BadAnswer as error:
            raise Unreachable(str(error)) from None


def _answers(channel: socket.socket) -> Iterator[Answer]:
    with channel.makefile("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                break
            answer = read_answer(line)
            if isinstance(answer, End):
                return
            yield answer
    raise Unreachable("it has left before everything was said")
