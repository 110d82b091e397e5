"""How the daemon, the compile server and its workers talk: JSON behind a length. Pure but for
the blocking halves that the server and the workers use."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Mapping

#: The largest message that either side takes, in bytes.
MOST_BYTES = 4 * 1024 * 1024

_LENGTH = struct.Struct("<I")


class TooLong(ValueError):
    """A message longer than either side takes."""


def encode(message: Mapping[str, object]) -> bytes:
    """A message as it goes over a socket; raises ``TooLong``."""
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    if len(body) > MOST_BYTES:
        raise TooLong(f"{len(body):,} bytes")
    return _LENGTH.pack(len(body)) + body


class Inbox:
    """Puts messages together from what arrives."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[object]:
        """The messages that are complete now; raises ``TooLong`` or ValueError (no JSON)."""
        self._buffer += data
        found: list[object] = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MOST_BYTES:
                raise TooLong(f"{length:,} bytes")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            try:
                found.append(json.loads(bytes(self._buffer[_LENGTH.size : end])))
            except RecursionError:
                raise ValueError("nested too deeply") from None
            del self._buffer[:end]
        return found


def receive(channel: socket.socket) -> tuple[dict[str, object], list[int]] | None:
    """Wait for one message and the descriptors that came with it; nothing at the end."""
    head, descriptors, _, _ = socket.recv_fds(channel, _LENGTH.size, 4)
    if not head:
        return None
    head += _exactly(channel, _LENGTH.size - len(head))
    (length,) = _LENGTH.unpack(head)
    message = json.loads(_exactly(channel, length))
    assert isinstance(message, dict)
    return message, descriptors


def _exactly(channel: socket.socket, length: int) -> bytes:
    parts = []
    while length:
        part = channel.recv(min(length, 1 << 20))
        if not part:
            os._exit(0)  # the daemon is gone in the middle of a word
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
