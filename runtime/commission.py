"""What the Emperor above gives to a daemon that is itself a vassal: descriptors and configs.

As for uWSGI's sub-Emperors the socket in ``UWSGI_EMPEROR_FD`` carries one byte a message; a
config that comes over the pipe in ``UWSGI_EMPEROR_FD_CONFIG`` is named ``emperor://`` on the
command line.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: How long a config on its way is waited for, in seconds, as uWSGI does.
PATIENCE_SECONDS = 5.0

_SCHEME = "emperor://"
_HEADER_BYTES = 4


class NoConfig(Exception):
    """The Emperor above sent no config; the text says how far it came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commission:
    """The descriptors by which the Emperor above speaks; ``config`` if it sends configs."""

    command: int
    config: int | None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Commission | None:
        """The commission in an environment; nothing if this daemon is nobody's vassal."""
        try:
            command = int(environ["UWSGI_EMPEROR_FD"])
            config = environ.get("UWSGI_EMPEROR_FD_CONFIG")
            return cls(command=command, config=None if config is None else int(config))
        except (KeyError, ValueError):
            return None

    def texts(self, words: Sequence[str]) -> dict[str, str]:
        """The configs that the command line names ``emperor://``, read from the pipe: URL to
        text, further parts included. Raises ``NoConfig``, OSError."""
        wanted = [word for word in words if word.startswith(_SCHEME)]
        texts: dict[str, str] = {}
        if self.config is None or not wanted:
            return texts
        with socket.socket(fileno=os.dup(self.config)) as pipe:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while wanted:
                url = wanted.pop(0)
                texts[url] = _packet(pipe, deadline).decode("utf-8", "surrogateescape")
                wanted += _next_part(texts[url])
        return texts

    def pass_on(self) -> None:
        """Let the next program in this process have the descriptors."""
        for descriptor in (self.command, self.config):
            if descriptor is not None:
                os.set_inheritable(descriptor, True)


def _packet(pipe: socket.socket, deadline: float) -> bytes:
    _, length, _ = struct.unpack("<BHB", _exactly(pipe, _HEADER_BYTES, deadline))
    return _exactly(pipe, length, deadline)


def _exactly(pipe: socket.socket, size: int, deadline: float) -> bytes:
    data = b""
    while len(data) < size:
        pipe.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            more = pipe.recv(size - len(data))
        except TimeoutError:
            more = b""
        if not more:
            raise NoConfig(f"{len(data)} of {size} bytes came in {PATIENCE_SECONDS:g} s")
        data += more
    return data


def _next_part(text: str) -> list[str]:
    """The URL of the part that follows: what a text in parts ends with."""
    key, _, value = text.rstrip().rpartition("\n")[2].partition("=")
    value = value.strip().replace("%%", "%")
    return [value] if key.strip() == "inherit" and value.startswith(_SCHEME) else []
