"""The daemon's log: one line per event, for people or as JSON, that never makes it wait."""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
import sys
import time
from functools import lru_cache

#: A longer message is cut: it would not fit into a pipe at once. In characters.
LONGEST_MESSAGE = 16_384

_COLOURS = {"WARNING": "33", "ERROR": "31;1", "DEBUG": "2"}


class TextFormatter(logging.Formatter):
    """``2026-11-23 20:15:01.123 [emperor] warning app.ini: died (exit code 1)``."""

    def __init__(self, *, is_coloured: bool = False) -> None:
        super().__init__()
        self.is_coloured = is_coloured

    def format(self, record: logging.LogRecord) -> str:
        """The line; further lines of a message are indented."""
        stamp = _second(int(record.created))
        level = record.levelname.lower()
        vassal = getattr(record, "vassal", None)
        message = _message(record).replace("\n", "\n    ")
        subject = f"{vassal}: " if vassal else ""
        if self.is_coloured and record.levelname in _COLOURS:
            level = f"\x1b[{_COLOURS[record.levelname]}m{level}\x1b[0m"
        text = f"{stamp}.{int(record.msecs):03d} [emperor] {level} {subject}{message}"
        if record.exc_info:
            text += "\n    " + self.formatException(record.exc_info).replace("\n", "\n    ")
        return text


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]} ..."


@lru_cache(maxsize=2)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (seconds), level, vassal, message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        shown: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
        }
        if vassal := getattr(record, "vassal", None):
            shown["vassal"] = vassal
        shown["message"] = _message(record)
        if record.exc_info:
            shown["traceback"] = self.formatException(record.exc_info)
        return json.dumps(shown)


class Outlet:
    """Standard error, written to without ever waiting for who reads it.

    It stays blocking itself: the vassals share it. What could be written only in part is ended
    with a line end before the next, so that nobody's words are mixed with another's.
    """

    def __init__(self) -> None:
        self._is_torn = False
        self._socket: socket.socket | None = None
        self._descriptor = 2
        try:
            mode = os.fstat(2).st_mode
            if stat.S_ISSOCK(mode):
                self._socket = socket.socket(fileno=os.dup(2))
            elif not stat.S_ISREG(mode):
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                self._descriptor = os.open("/proc/self/fd/2", flags)
        except OSError:
            return  # not ours to open again: blocking is better than silence

    def write(self, data: bytes) -> bool:
        """Write what can be written at once; says whether that was all of it."""
        if self._is_torn:
            data = b"\n" + data
        try:
            if self._socket is not None:
                sent = self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            else:
                sent = os.write(self._descriptor, data)
        except OSError:
            return False
        self._is_torn = sent < len(data) and not data[:sent].endswith(b"\n")
        return sent == len(data)


class NeverWaiting(logging.Handler):
    """Logs to an outlet. Lines that cannot be written at once are dropped; the next one that
    can says how many."""

    def __init__(self) -> None:
        super().__init__()
        self._dropped = 0
        self._outlet = Outlet()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, or count it as dropped."""
        data = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        if self._dropped:
            data = f"[emperor] {self._dropped} log lines were dropped\n".encode() + data
        self._dropped = 0 if self._outlet.write(data) else self._dropped + 1


def set_up(*, level: str, is_json: bool) -> None:
    """Send everything of ``emperor`` to standard error."""
    # what nobody is shown is not worked out: caller, thread, process, task (logging's HOWTO)
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = False
    logging.logMultiprocessing = False
    handler = NeverWaiting()
    if is_json:
        handler.setFormatter(JsonFormatter())
    else:
        coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
        handler.setFormatter(TextFormatter(is_coloured=coloured))
    for name in ("emperor", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
    logging.getLogger("emperor").setLevel(level.upper())
