"""What a program that is not uWSGI is given beside the Emperor's own socket: listening sockets,
somebody to notify, a log."""

from __future__ import annotations

from collections.abc import Callable

from emperor.compiler.program_values import Program
from emperor.runtime.held import HeldSockets
from emperor.runtime.journal import JournalSink
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.notify import Notice, NotifySocket, remove_directory, runtime_directory
from emperor.runtime.privileges import Owner
from emperor.runtime.sinks import FileSink

#: The first descriptor of a program's listening sockets, as systemd has it.
FIRST_SOCKET = 3

Sink = FileSink | JournalSink


class Equipment:
    """What all processes of one program vassal share, one after the other or side by side."""

    def __init__(self, owner: Owner | None) -> None:
        self.owner = owner
        self._sockets = HeldSockets(owner)
        self._sink: Sink | None = None
        self._logs_to: tuple[str, int, int] | None = None

    def sockets(self, spec: LaunchSpec) -> dict[int, int]:
        """The listening sockets of a spec: number in the program -> our descriptor. Opens and
        closes what it takes; raises OSError with a message that names the address."""
        return dict(enumerate(self._sockets.open(spec.sockets), FIRST_SOCKET))

    def sink(self, program: Program, vassal: str) -> Sink | None:
        """Where the output goes, if the program has a log of its own."""
        wanted = None
        if program.log is not None:
            wanted = (program.log, program.log_bytes, program.log_keep)
        if wanted != self._logs_to:
            self._close_sink()
            self._logs_to = wanted
            self._sink = None if wanted is None else self._open_sink(*wanted, vassal)
        return self._sink

    def close(self) -> None:
        """Close the sockets and the log."""
        self._sockets.close()
        self._close_sink()
        self._logs_to = None

    def _open_sink(self, log: str, most_bytes: int, keep: int, vassal: str) -> Sink:
        if log == "journal":
            return JournalSink(vassal)
        return FileSink(log, most_bytes=most_bytes, keep=keep, owner=self.owner, vassal=vassal)

    def _close_sink(self) -> None:
        if self._sink is not None:
            self._sink.close()
            self._sink = None


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
