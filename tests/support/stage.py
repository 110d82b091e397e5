"""Where vassals that a test plays (``puppet.py``) meet the test."""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from emperor.runtime.protocol import Order, Word

#: How long the next thing that a puppet tells may take, in seconds.
PATIENCE_SECONDS = 20.0

#: What a vassal says that is well.
UP = (Word.SPAWNED, Word.ACCEPTING)
LOYAL = (*UP, Word.LOYAL)

_PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "puppet.py")


@dataclass(slots=True, eq=False)
class Puppet:
    """One process of a vassal, which tells in order what happens to it."""

    name: str
    pid: int
    environment: Mapping[str, str]
    _connection: socket.socket
    _lines: Iterator[bytes]

    def say(self, *words: int) -> None:
        """Have it say bytes to the Emperor."""
        self._order(say=list(words))

    def leave(self, status: int) -> None:
        """Have it end with this exit code."""
        self._order(leave=status)

    def answer(self, text: str) -> None:
        """Have it answer one connection to its on-demand socket."""
        self._order(answer=text)

    def reads(self) -> str:
        """The next config that it is given."""
        return str(self._told("config"))

    def hears(self) -> Order:
        """The next word of the Emperor's."""
        return Order(self._told("hears"))

    def signalled(self) -> int:
        """The signal that ends it."""
        return int(self._told("signal"))

    def served(self) -> str:
        """What it has answered next."""
        return str(self._told("serves"))

    def _order(self, **order: object) -> None:
        self._connection.sendall(json.dumps(order).encode() + b"\n")

    def _told(self, what: str) -> Any:
        """The next thing of that kind that it tells; others are passed over."""
        try:
            while what not in (told := json.loads(next(self._lines))):
                pass
        except (TimeoutError, StopIteration):
            raise AssertionError(f"{self.name} (pid {self.pid}) tells of no {what}") from None
        return told[what]


@dataclass(slots=True, eq=False)
class Stage:
    """Takes the puppets in; ``words`` make an Emperor start them instead of uWSGI."""

    program: str
    _listening: socket.socket
    _open: list[socket.socket] = field(default_factory=list)
    _waiting: list[Puppet] = field(default_factory=list)

    @property
    def words(self) -> tuple[str, ...]:
        """The Emperor's words for this stage."""
        return ("--emperor-wrapper", self.program)

    def enters(self, name: str, *, seconds: float = PATIENCE_SECONDS) -> Puppet:
        """The next process of the vassal of that name; it has been sent its config."""
        deadline = time.monotonic() + seconds
        while True:
            for puppet in self._waiting:
                if puppet.name == name:
                    self._waiting.remove(puppet)
                    return puppet
            self._waiting.append(self._accept(name, deadline))

    def anybody(self, *, seconds: float = PATIENCE_SECONDS) -> Puppet:
        """The next process of any vassal."""
        if self._waiting:
            return self._waiting.pop(0)
        return self._accept("nobody", time.monotonic() + seconds)

    def _accept(self, name: str, deadline: float) -> Puppet:
        self._listening.settimeout(max(deadline - time.monotonic(), 0.01))
        try:
            connection, _ = self._listening.accept()
        except TimeoutError:
            raise AssertionError(f"{name} does not enter") from None
        connection.settimeout(PATIENCE_SECONDS)
        self._open.append(connection)
        lines = _lines(connection)
        told = json.loads(next(lines))
        return Puppet(told["enters"], told["pid"], told["environment"], connection, lines)

    def close(self) -> None:
        """Let go of everybody."""
        for connection in (self._listening, *self._open):
            connection.close()


def _lines(connection: socket.socket) -> Iterator[bytes]:
    text = b""
    while data := connection.recv(65536):
        *lines, text = (text + data).split(b"\n")
        yield from lines


@contextlib.contextmanager
def stage(root: str) -> Iterator[Stage]:
    """A stage with its socket and program in the directory ``root``, open to all users."""
    program, path = f"{root}/puppet", f"{root}/stage"
    with open(program, "w", encoding="utf-8") as file:
        file.write(f'#!/bin/sh\nexec {sys.executable} -IS {_PROGRAM} {path} "$@"\n')
    os.chmod(program, 0o755)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    os.chmod(path, 0o666)
    listening.listen(64)
    found = Stage(program, listening)
    try:
        yield found
    finally:
        found.close()
