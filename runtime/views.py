"""What stats, the control socket and the log show of the vassals; and what they may ask for."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

#: What makes a vassal the same vassal: its monitor and its name.
Key = tuple[str, str]


class Verb(enum.Enum):
    """What an operator may have done with a vassal."""

    RELOAD = "reload"
    STOP = "stop"
    START = "start"
    RETRY = "retry"


@dataclass(frozen=True, slots=True, kw_only=True)
class VassalView:
    """One vassal at one moment. Times are epoch seconds, 0 is never; flags are 0 or 1, as in
    uWSGI's stats."""

    id: str  # the name as uWSGI has it: every zerg of app.ini is "app.ini:zerg"
    shown: str  # NAME, or MONITOR//NAME where several vassals have that name
    monitor: str
    state: str  # a value of law.state.Phase
    pid: int  # -1: no process
    born: int  # mtime of the file when it was first seen
    last_mod: int  # mtime of the file, or when a reload was asked for
    first_run: int
    last_run: int
    last_ready: int
    last_accepting: int
    last_loyal: int
    last_heartbeat: int
    cursed: int  # since when it has been told to go
    ready: int
    accepting: int
    loyal: int
    zerg: int
    on_demand: str  # the address of its socket, or ""
    uid: int
    gid: int
    respawns: int  # reloads and respawns
    generation: int  # how many configs it has been given
    digest: str  # of the config that the process has, or ""
    last_exit: str  # "exit code 1", "SIGKILL", or ""
    last_exit_at: int
    next_try: int  # when it is spawned again, if a time is set
    attempts: int  # deaths before it was loyal; 0: not on the blacklist
    throttle_milliseconds: int
    first_attempt: int
    last_attempt: int
    diagnostics: tuple[str, ...]  # rendered findings of the last compile
    is_broken: bool  # the last compile gave no config
    output: str  # the last of what it wrote, if that is captured
    outlook: str  # what happens next, as a sentence part
    is_settled: bool  # nothing is under way
    is_well: bool  # it does what it should: serves, listens, or rests because it was told to


class Court(Protocol):
    """What the daemon lets its stats and control sockets see and do."""

    def views(self) -> Iterable[VassalView]:
        """All vassals, in the order in which they came."""

    def find(self, name: str) -> tuple[Key, ...]:
        """The vassals of that name: NAME, MONITOR//NAME, or NAME:zerg for all its zergs."""

    def view(self, key: Key) -> VassalView | None:
        """One vassal; nothing if it is gone."""

    def command(self, key: Key, verb: Verb) -> None:
        """Have something done; idempotent, and nothing happens if the vassal is gone."""

    def subscribe(self, on_change: Callable[[Key], None]) -> Callable[[], None]:
        """Be told of every vassal whose state has changed (or that is gone), until the returned
        function is called."""
