"""What has happened to one vassal, as uWSGI's stats tell it: flags and epoch seconds."""

from __future__ import annotations

from dataclasses import dataclass

from emperor.runtime import events as ev
from emperor.runtime.events import Event
from emperor.runtime.law.dying import status_text
from emperor.runtime.law.state import ALIVE, Phase, Vassal
from emperor.runtime.protocol import Word


@dataclass(slots=True, eq=False)
class Chronicle:
    """Filled in by ``observe`` after each step of the vassal's law; 0 is never."""

    born: int
    last_mod: int
    first_run: int = 0
    last_run: int = 0
    last_ready: int = 0
    last_accepting: int = 0
    last_loyal: int = 0
    last_heartbeat: int = 0
    cursed: int = 0
    is_ready: bool = False
    is_accepting: bool = False
    respawns: int = 0
    generation: int = 0
    last_exit: str = ""
    last_exit_at: int = 0
    first_attempt: int = 0
    last_attempt: int = 0

    def succeed(self, heir: Chronicle) -> None:
        """Another process has taken over: what was noted of that one counts."""
        self.respawns += 1
        self.generation += 1
        self.last_run = heir.last_run
        self.last_ready, self.last_accepting = heir.last_ready, heir.last_accepting
        self.is_ready, self.is_accepting = heir.is_ready, heir.is_accepting

    def observe(self, event: Event, before: Vassal, after: Vassal, seconds: int) -> None:
        """Note what one step changed; ``seconds`` is the time of day."""
        match event:
            case ev.Said(byte=byte):
                self._heard(byte, seconds)
            case ev.Spawned():
                self._began(seconds)
            case ev.Exited(status=status):
                self.last_exit, self.last_exit_at = status_text(status), seconds
                self.is_ready = self.is_accepting = False
            case ev.Reload():
                self.last_mod = seconds
            case _:
                pass
        if after.phase is not before.phase:
            self._moved(after.phase, seconds)
        is_new = after.running is not None and after.running is not before.running
        is_given = before.asks_config and not after.asks_config and after.phase in ALIVE
        if (is_new or is_given) and not isinstance(event, ev.MayStart):
            self.generation += 1
        if after.blacklisted is not before.blacklisted and after.blacklisted is not None:
            self.last_attempt = seconds
            if after.blacklisted.attempts == 1:
                self.first_attempt = seconds

    def _heard(self, byte: int, seconds: int) -> None:
        match byte:
            case Word.SPAWNED:
                self.is_ready, self.last_ready = True, seconds
            case Word.ACCEPTING:
                # uWSGI says "spawned" once, "accepting" after each reload
                self.is_ready = self.is_accepting = True
                self.last_accepting = seconds
            case Word.LOYAL:
                self.last_loyal = seconds
            case Word.HEARTBEAT:
                self.last_heartbeat = seconds
            case _:
                pass

    def _began(self, seconds: int) -> None:
        self.respawns += 1 if self.first_run else 0
        self.first_run = self.first_run or seconds
        self.last_run = seconds
        self.generation += 1
        self.last_heartbeat = 0

    def _moved(self, phase: Phase, seconds: int) -> None:
        self.cursed = seconds if phase is Phase.STOPPING else 0
        if phase is Phase.READY and not self.is_ready:  # one without workers, after a reload
            self.is_ready, self.last_ready = True, seconds
        if phase is Phase.RELOADING:
            self.is_ready = self.is_accepting = False
            self.respawns += 1
            self.last_run = seconds
