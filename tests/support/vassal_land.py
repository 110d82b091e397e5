"""What made-up vassals share: the clock, the gate, the roster, and who takes whose place.

Records and successions are the daemon's own; the rest of its rim is ``vassal_rim.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emperor.runtime.chronicle import Chronicle
from emperor.runtime.events import Event
from emperor.runtime.law.gate import StartGate
from emperor.runtime.law.state import Phase, Vassal
from emperor.runtime.monitors.sightings import Attributes, Sighting, Stamp
from emperor.runtime.programs.succession import Succession
from emperor.runtime.roster import Record, Roster
from emperor.runtime.views import Key

if TYPE_CHECKING:
    from tests.support.vassal_world import World

MONITOR = "dir:///vassals"


@dataclass
class File:
    """A vassal's file, whoever runs for it, and what people have asked for."""

    name: str
    version: int = 0
    is_there: bool = False
    is_halted: bool = False
    is_taken: bool = False  # somebody else has the address
    owner: int = 1
    judged: int = 1  # the owner when it was last looked
    is_evicted: bool = False  # and nobody has asked for it since
    failed_version: int | None = None  # that did not take over
    last_version: int | None = None  # of the process that died last


@dataclass
class Tally:
    """What was seen of the law: how many events, and which led from which phase to which."""

    events: int = 0
    inherited: int = 0
    renounced: int = 0
    disowned: int = 0
    edges: Counter[tuple[Phase, Phase, str]] = field(default_factory=Counter)


@dataclass
class Land:
    """``settle`` makes the world of a record; ``on_zerg`` is called when one asks for help."""

    settle: Callable[[Land, File, Record], World]
    on_zerg: Callable[[World], None] = lambda world: None
    tally: Tally = field(default_factory=Tally)
    now: float = 1000.0
    start_limit: int = 1
    is_ending: bool = False
    is_first_look: bool = True
    files: dict[str, File] = field(default_factory=dict)
    worlds: dict[Record, World] = field(default_factory=dict)
    roster: Roster = field(default_factory=Roster)

    def __post_init__(self) -> None:
        # a throttle that is felt
        self.gate = StartGate[Key](limit=self.start_limit, step_seconds=5.0, cap_seconds=20.0)
        self.succession = Succession(
            roster=self.roster, gate=self.gate, welcome=self.welcome, feed=self.feed
        )

    # -- who is there --------------------------------------------------------------------------

    def new(self, name: str, *, version: int = 0, is_zerg: bool = False) -> World:
        """A vassal of that name, whose file is not there yet."""
        file = self.files[name] = File(name=name, version=version)
        record = self.welcome((MONITOR, name), _sighting(name), is_zerg=is_zerg)
        return self.worlds[self._known(file, record)]

    def welcome(self, key: Key, sighting: Sighting, *, is_zerg: bool = False) -> Record:
        """A new record, as the controller makes one; of its file there may be others."""
        record = Record(
            key,
            sighting,
            Vassal(is_zerg=is_zerg, seed=len(key[1])),
            Chronicle(born=0, last_mod=0),
            is_first=self.is_first_look,
        )
        self.roster.add(record)
        if sighting.name in self.files:
            self._known(self.files[sighting.name], record)
        return record

    def _known(self, file: File, record: Record) -> Record:
        if record not in self.worlds:
            self.worlds[record] = self.settle(self, file, record)
        return record

    def of(self, name: str) -> World | None:
        """The vassal of that name, whichever process it is."""
        record = self.roster.get((MONITOR, name))
        return None if record is None else self.worlds[record]

    def bury(self) -> list[World]:
        """Forget who is gone; says who that was."""
        dead = [world for world in self.worlds.values() if world.state.phase is Phase.GONE]
        for world in dead:
            assert world.forgotten == 1
            assert world.record not in self.roster
            del self.worlds[world.record]
        return dead

    # -- what happens --------------------------------------------------------------------------

    def feed(self, record: Record, event: Event) -> None:
        """Let one of them answer an event."""
        self.worlds[record].take(event)

    def end(self, event: Event) -> None:
        """The Emperor goes: all are told."""
        self.is_ending = True
        for world in tuple(self.worlds.values()):
            world.take(event)
        self.check()

    def admit(self) -> None:
        """Whose turn it is, may start."""
        while keys := self.gate.due(self.now):
            for key in keys:
                record = self.roster.get(key)
                assert record is not None, "a start of nobody"
                self.worlds[record].start_now()
        due = self.gate.deadline()
        assert due is None or due > self.now, "a turn that has come, and nobody starts"

    # -- time ----------------------------------------------------------------------------------

    def dues(self, worlds: Iterable[World]) -> list[float]:
        """When something happens by itself."""
        times = [self.gate.deadline(), *(world.state.deadline() for world in worlds)]
        return [moment for moment in times if moment is not None]

    def tick(self, due: float) -> None:
        """Whose deadline that is, does something."""
        self.now = max(self.now, due)
        for world in tuple(self.worlds.values()):
            world.on_time()
        self.admit()
        self.check()

    def wait(self, seconds: float) -> None:
        """Time passes; a tick comes when one is due."""
        end = self.now + seconds
        while (due := min(self.dues(self.worlds.values()), default=end + 1)) <= end:
            self.tick(due)
        self.now = max(self.now, end)

    # -- what must hold ------------------------------------------------------------------------

    def check(self) -> None:
        """What holds for all processes of a file together."""
        heirs = Counter(
            world.file.name
            for world in self.worlds.values()
            if world.state.is_heir and world.state.is_wanted
        )
        assert not heirs or max(heirs.values()) == 1, "two that are to take one place"
        for world in self.worlds.values():
            world.check_process()


def _sighting(name: str) -> Sighting:
    return Sighting(
        monitor=MONITOR,
        name=name,
        path=f"/vassals/{name}",
        directory="/vassals",
        stamp=Stamp(mtime_ns=0, size=0, inode=0),
        attributes=Attributes(ctime_ns=0, uid=1, gid=1, mode=0o644),
    )
