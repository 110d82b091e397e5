"""What a plan says of a program that is not uWSGI, as values: its treatment, its sockets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldSocket:
    """A listening socket that the Emperor holds for a program.

    ``name`` is what ``LISTEN_FDNAMES`` calls it; ``address`` is HOST:PORT, an absolute path or
    @NAME; ``backlog`` counts connections. ``mode`` (octal) and ``owner`` (USER, USER:GROUP,
    :GROUP) are for the file of a unix socket.
    """

    name: str
    address: str
    backlog: int = 100
    mode: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """How a program that is not uWSGI is treated. Signals are numbers.

    ``reload`` is "signal", "restart" or "rolling". ``ready`` says what makes it ready:
    "running" (for ``ready_after_seconds``), "notify" (systemd's protocol) or "emperor" (the
    Emperor's). ``stop_seconds`` is how long it may take to go, ``watchdog_seconds`` how often
    it has to give a sign of life. ``log`` is an absolute path or "journal"; a file is renamed
    when it has ``log_bytes``, and ``log_keep`` old ones are kept.
    """

    stop_signal: int = 15
    stop_seconds: float | None = None
    reload: str = "restart"
    reload_signal: int = 1
    ready: str = "running"
    ready_after_seconds: float = 0.0
    ready_timeout_seconds: float = 60.0
    watchdog_seconds: float | None = None
    log: str | None = None
    log_bytes: int = 10_485_760
    log_keep: int = 5
