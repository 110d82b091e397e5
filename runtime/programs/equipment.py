"""What a program that is not uWSGI is given beside the Emperor's own socket: listening sockets,
somebody to notify, a log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from emperor.compiler.programs.values import Program
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.programs.held import HeldSockets
from emperor.runtime.programs.journal import JournalSink
from emperor.runtime.programs.notify import (
    Notice,
    NotifySocket,
    remove_directory,
    runtime_directory,
)
from emperor.runtime.programs.sinks import FileSink
from emperor.runtime.tenants.privileges import Owner

#: The first descriptor of a program's listening sockets, as systemd has it.
FIRST_SOCKET = 3

Sink = FileSink | JournalSink


@dataclass(slots=True, kw_only=True)
class _Log:
    """A log that several generations may write to: ``target`` is its path or "journal", its
    size in bytes, how many are kept."""

    target: tuple[str, int, int]
    sink: Sink
    users: int = 1

    def release(self) -> None:
        """One writes to it no more; with the last it is closed."""
        self.users -= 1
        if not self.users:
            self.sink.close()


class Equipment:
    """What all processes of one generation of a program share, one after the other."""

    def __init__(self, owner: Owner | None) -> None:
        self.owner = owner
        self._sockets = HeldSockets(owner)
        self._log: _Log | None = None

    def heir(self) -> Equipment:
        """That of the next generation, beside this one: sockets of its own at the same
        addresses, as ``HeldSockets.heir`` has it, and the same log."""
        heir = Equipment(self.owner)
        heir._sockets = self._sockets.heir()
        heir._log = self._log
        if self._log is not None:
            self._log.users += 1
        return heir

    def sockets(self, spec: LaunchSpec) -> dict[int, int]:
        """The listening sockets of a spec: number in the program -> our descriptor. Opens and
        closes what it takes; raises OSError with a message that names the address."""
        return dict(enumerate(self._sockets.open(spec.sockets), FIRST_SOCKET))

    def take_over(self) -> None:
        """Have new connections come here, no more to the generation before; raises OSError,
        and then they go where they went."""
        self._sockets.take_over()

    @property
    def is_relieved(self) -> bool:
        """Whether the next generation gets connections that came here."""
        return self._sockets.is_relieved

    def is_quiet(self) -> bool:
        """Whether none of those is still to be accepted here; never waits."""
        return self._sockets.is_quiet()

    def sink(self, program: Program, vassal: str) -> Sink | None:
        """Where the output goes, if the program has a log of its own."""
        target = None
        if program.log is not None:
            target = (program.log, program.log_bytes, program.log_keep)
        if target != (None if self._log is None else self._log.target):
            self._release_log()
            if target is not None:
                self._log = _Log(target=target, sink=self._open_sink(*target, vassal))
        return None if self._log is None else self._log.sink

    def close(self) -> None:
        """Close the sockets, and the log if no other generation writes to it."""
        self._sockets.close()
        self._release_log()

    def _open_sink(self, log: str, most_bytes: int, keep: int, vassal: str) -> Sink:
        if log == "journal":
            return JournalSink(vassal)
        return FileSink(log, most_bytes=most_bytes, keep=keep, owner=self.owner, vassal=vassal)

    def _release_log(self) -> None:
        if self._log is not None:
            self._log.release()
            self._log = None


class NotifyRoom:
    """Makes the sockets that programs notify the Emperor on, in a directory made for them."""

    def __init__(self) -> None:
        self._directory: str | None = None

    def socket(
        self, vassal: str, owner: Owner | None, on_word: Callable[[Notice], None]
    ) -> NotifySocket:
        """A socket for one process; raises OSError."""
        if self._directory is None:
            self._directory = runtime_directory()
        return NotifySocket(self._directory, owner=owner, on_word=on_word, vassal=vassal)

    def close(self) -> None:
        """Remove the directory."""
        if self._directory is not None:
            remove_directory(self._directory)
            self._directory = None


def variables(spec: LaunchSpec, program: Program, notify: NotifySocket) -> dict[str, str]:
    """What tells a program of all this, but for the two variables that hold its own pid: the
    last shell of its command sets those."""
    found = {"NOTIFY_SOCKET": notify.path}
    if spec.sockets:
        found["LISTEN_FDS"] = str(len(spec.sockets))
        found["LISTEN_FDNAMES"] = ":".join(socket.name for socket in spec.sockets)
    if program.watchdog_seconds is not None:
        found["WATCHDOG_USEC"] = str(round(program.watchdog_seconds * 1_000_000))
    return found
