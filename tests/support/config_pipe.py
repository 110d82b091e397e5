"""A config pipe as the Emperor holds it: what a vassal reads when it starts."""

import contextlib
import socket
import struct
from collections.abc import Iterator, Sequence

from emperor.compiler.source import to_bytes

#: The kind of message that carries a config, in front of its length and a zero.
CONFIG_MESSAGE = 115


@contextlib.contextmanager
def config_pipe(parts: Sequence[str]) -> Iterator[tuple[dict[str, str], tuple[int, int]]]:
    """The variables that name the pipes to a uWSGI, and the descriptors to hand over.

    All parts wait in the config pipe already; nobody reads what the vassal says.
    """
    with contextlib.ExitStack() as stack:
        _commands, commands_end = map(stack.enter_context, socket.socketpair())
        config, config_end = map(stack.enter_context, socket.socketpair())
        messages = [_message(to_bytes(part)) for part in parts]
        for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            config.setsockopt(socket.SOL_SOCKET, buffer, 4 * sum(map(len, messages)) + 4096)
        config.setblocking(False)  # a config that does not fit fails the test at once
        for message in messages:
            assert config.send(message) == len(message)
        variables = {
            "UWSGI_EMPEROR_FD": str(commands_end.fileno()),
            "UWSGI_EMPEROR_FD_CONFIG": str(config_end.fileno()),
        }
        yield variables, (commands_end.fileno(), config_end.fileno())


def _message(data: bytes) -> bytes:
    return struct.pack("<BHB", CONFIG_MESSAGE, len(data), 0) + data
