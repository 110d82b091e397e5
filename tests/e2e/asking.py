"""What others have of a running daemon: its stats, its commands, what it tells systemd."""

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
from tests.e2e.daemon import DEADLINE_SECONDS, emperor_program, eventually
from tests.support.command import Done, emperor
from tests.support.package import schema
from tests.support.uwsgi import ENVIRONMENT

#: A document of the stats, or an object in it.
Data = dict[str, Any]


# -- stats ---------------------------------------------------------------------------------


def connect(address: str) -> socket.socket:
    """A connection to HOST:PORT, a path, or @NAME; OSError if nobody listens."""
    if address.startswith(("/", "@")):
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        target: Any = address.replace("@", "\0", 1) if address.startswith("@") else address
    else:
        channel = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        host, _, port = address.rpartition(":")
        target = (host, int(port))
    channel.settimeout(DEADLINE_SECONDS)
    try:
        channel.connect(target)
    except OSError:
        channel.close()
        raise
    return channel


def read_all(address: str, question: bytes = b"") -> bytes:
    """All that is said at an address until it is closed there."""
    with connect(address) as channel:
        channel.sendall(question)
        parts = []
        while part := channel.recv(65536):
            parts.append(part)
    return b"".join(parts)


def stats(address: str) -> Data:
    """The document of a stats socket."""
    document: Data = json.loads(read_all(address))
    return document


def checked(document: Data) -> Data:
    """The document, which is what the schema says."""
    jsonschema.Draft202012Validator(schema("stats.schema.json")).validate(document)
    return document


def until_stats(address: str, is_so: Callable[[Data], object]) -> Data:
    """The first document of which something is true, asked for until a deadline."""
    shown: list[Data] = [{}]

    def look() -> bool:
        with suppress(OSError):
            shown[0] = stats(address)
            return bool(is_so(shown[0]))
        return False

    eventually(look, complaint=lambda: json.dumps(shown[0], indent=1))
    return shown[0]


def until_vassal(address: str, name: str, **wanted: object) -> Data:
    """What the stats say of a vassal, once it has these values."""

    def rows(document: Data) -> list[Data]:
        return [
            row
            for row in document["vassals"]
            if row["id"] == name and {key: row[key] for key in wanted} == wanted
        ]

    return rows(until_stats(address, rows))[0]


def refused(*words: str) -> tuple[int, str]:
    """The exit code of a daemon that does not even start, and what it says."""
    done = subprocess.run(
        [emperor_program(), "run", "--emperor-control", "none", *words],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


# -- the control socket --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """The commands ``emperor status``, ``reload`` and so on, for one daemon's socket."""

    path: str

    def __call__(self, *words: str) -> Done:
        """Run one, and wait for it."""
        return emperor(*words, cwd=Path("/"), environment={"EMPEROR_CONTROL": self.path})

    def view(self, name: str) -> Data:
        """What ``status --json`` says of one vassal."""
        (answer,) = self("status", "--json", name).data
        found: Data = answer["vassal"]
        return found


# -- a service manager ---------------------------------------------------------------------


class Manager:
    """Reads what a service says at its NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1) if address[0] == "@" else address)

    def expect(self, text: str) -> str:
        """The next message that begins with ``text``; those before it are passed over."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            left = max(deadline - time.monotonic(), 0.001)
            self._socket.settimeout(left)
            try:
                message = self._socket.recv(4096).decode()
            except TimeoutError:
                raise AssertionError(f"no {text!r} after {self.heard}") from None
            self.heard.append(message)
            if message.startswith(text):
                return message

    def rest(self) -> list[str]:
        """What has been said and not read yet."""
        self._socket.setblocking(False)
        found = []
        with suppress(BlockingIOError):
            while True:
                found.append(self._socket.recv(4096).decode())
        self.heard += found
        return found

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


def abstract_name() -> str:
    """An abstract address that nobody has."""
    return f"@emperor-test-{uuid.uuid4().hex}"


# -- programs on a terminal ----------------------------------------------------------------


class Screen:
    """A program on a terminal of 25 lines, and what it has shown so far."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._shown = b""

    def expect(self, *texts: str) -> str:
        """All that was shown, once each of these texts has been since the last call."""
        self._shown = b""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            plain = re.sub(rb"\x1b[\[(][0-9;?]*[A-Za-z]", b" ", self._shown).decode()
            if all(text in plain for text in texts):
                return plain
            left = max(deadline - time.monotonic(), 0.0)
            assert select.select([self._terminal], [], [], left)[0], plain
            try:
                self._shown += os.read(self._terminal, 65536)
            except OSError:  # nobody is at the other end
                raise AssertionError(plain) from None

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._terminal, text.encode())


@contextmanager
def screen_of(words: list[str]) -> Iterator[Screen]:
    """A program on a terminal; it is gone afterwards."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", LINES="25", COLUMNS="120", LANG="C.UTF-8")
        os.execv(words[0], words)
    try:
        yield Screen(terminal)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
