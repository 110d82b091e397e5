"""A realm of vassals that share one gate: 100,000 events, none is lost, none is too many."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.states_page import EDGES
from tests.support.vassal_rim import Clock, Tally, gate_of
from tests.support.vassal_world import World

from emperor.runtime import events as ev
from emperor.runtime.law.state import Phase, Vassal

NAMES = ("a.ini", "b.ini", "c.ini", "d.ini", "e.ini", "f.ini")

#: At most so many zergs, as with ``emperor-broodlord``, and so many first starts at a time.
MOST_ZERGS, START_LIMIT = 4, 2

#: More turns than any realm needs to come to rest.
MANY = 3000

_OF_THE_FILE = (World.edit, World.chmod, World.touch_include, World.remove)
_ON_THE_WAY = (Phase.SPAWNING, Phase.STOPPING)


@dataclass
class Realm:
    """Files, vassals and zergs, one clock, one gate; ``chance`` decides what happens."""

    chance: random.Random
    tally: Tally
    clock: Clock = field(default_factory=Clock)
    worlds: dict[str, World] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    zergs: dict[str, list[str]] = field(default_factory=dict)  # of whom
    is_ending: bool = False

    def __post_init__(self) -> None:
        self.gate = gate_of(START_LIMIT)
        self.diligence = self.chance.choice((0.0, 0.2, 0.5))  # how soon others do their part

    # -- who is there --------------------------------------------------------------------------

    def _welcome(self, name: str, *, is_first: bool, is_zerg: bool = False) -> World:
        world = self.worlds[name] = World(
            name=name,
            clock=self.clock,
            gate=self.gate,
            tally=self.tally,
            peer=self.worlds.__getitem__,
            on_zerg=lambda: self._zerg_of(name),
            state=Vassal(is_zerg=is_zerg, seed=len(name)),
            version=self.chance.randrange(100),
            is_first=is_first,
        )
        return world

    def _zerg_of(self, name: str) -> None:
        count = sum(world.state.is_zerg for world in self.worlds.values())
        if count < MOST_ZERGS and not self.is_ending:
            zerg = f"{name}:zerg:{self.chance.randrange(10**6)}"
            self.zergs[name].append(zerg)
            self._welcome(zerg, is_first=False, is_zerg=True).edit()

    def _made_of(self, name: str) -> list[World]:
        """The zergs of a vassal, then itself."""
        zergs = [self.worlds[zerg] for zerg in self.zergs[name] if zerg in self.worlds]
        return [*zergs, self.worlds[name]]

    # -- what happens --------------------------------------------------------------------------

    def populate(self) -> None:
        """Files that are there when the Emperor comes."""
        for name in self.chance.sample(NAMES, self.chance.randrange(len(NAMES) + 1)):
            self._edit(name, is_first=True)
        self.check()

    def act(self) -> None:
        """Something happens."""
        dice = self.chance.random()
        if dice < 0.10 and not self.is_ending:
            self._edit(self.chance.choice(NAMES), is_first=False)
        elif dice < 0.25:
            self._wait(self.chance.choice((0.01, 0.1, 0.5, 1.0, 5.0)))
        elif dice < 0.27:
            self._wait(100.0)
        elif dice < 0.29:
            self._tell_all(self.chance.choice((ev.Retry(), ev.Reload())))
        elif self.worlds:
            self._meddle(self.chance.choice(list(self.worlds.values())))
        self.check()

    def _edit(self, name: str, *, is_first: bool) -> None:
        if name not in self.worlds:
            self.zergs[name] = []
            self._welcome(name, is_first=is_first)
        self.files.add(name)
        for world in self._made_of(name):
            world.edit()

    def _tell_all(self, event: ev.Event) -> None:
        for world in tuple(self.worlds.values()):
            world.feed(event)

    def _meddle(self, world: World) -> None:
        """Something happens to one of them; what happens to a file, happens to its zergs."""
        if self.chance.random() < self.diligence and world.carry_on():
            return
        action = self.chance.choice(world.possible())
        if action not in _OF_THE_FILE:
            action(world)
            return
        name = world.name.partition(":")[0]
        if self.is_ending:
            return
        if action is World.edit:
            self._edit(name, is_first=False)
        elif name in self.files:
            if action is World.remove:
                self.files.remove(name)
            for one in self._made_of(name):
                action(one)

    def end(self, *, is_sudden: bool) -> None:
        """The Emperor goes."""
        self.is_ending = True
        for world in tuple(self.worlds.values()):
            (World.die if is_sudden else World.leave)(world)
        self.check()

    # -- time ----------------------------------------------------------------------------------

    def _dues(self, worlds: Iterable[World]) -> list[float]:
        times = [self.gate.deadline(), *(world.state.deadline() for world in worlds)]
        return [moment for moment in times if moment is not None]

    def _tick(self, due: float) -> None:
        self.clock.now = max(self.clock.now, due)
        for world in tuple(self.worlds.values()):
            world.on_time()
            world.admit()
        assert self.gate.due(self.clock.now) == [], "a start of nobody"

    def _wait(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while (due := min(self._dues(self.worlds.values()), default=end + 1)) <= end:
            self._tick(due)
            self._bury()
        self.clock.now = max(self.clock.now, end)

    # -- what must hold ------------------------------------------------------------------------

    def _bury(self) -> None:
        for name, world in tuple(self.worlds.items()):
            if world.state.phase is Phase.GONE:
                assert world.forgotten == 1
                del self.worlds[name]
                assert name not in self.files or self.is_ending, "lost"

    def check(self) -> None:
        """None is lost, and none is left whose file is gone but for those on their way."""
        self._bury()
        if self.is_ending:
            assert all(world.state.phase in _ON_THE_WAY for world in self.worlds.values())
            return
        assert self.files <= set(self.worlds), "lost"
        for world in self.worlds.values():
            if not world.is_there:
                assert world.state.phase in _ON_THE_WAY, "unwanted, and it stays"

    def come_to_rest(self) -> None:
        """Everything under way is carried on until nothing more happens."""
        for _ in range(MANY):
            worlds = tuple(self.worlds.values())
            if any(world.carry_on() for world in worlds):
                self.check()
                continue
            dues = self._dues(world for world in worlds if not world.is_beating())
            if not dues:
                return
            self._tick(min(dues))
            self.check()
        raise AssertionError("it never comes to rest")


def reign(tally: Tally, *, seed: int, length: int, ending: bool) -> None:
    """So many things happen in a realm; in the end all is as it is wanted."""
    realm = Realm(random.Random(seed), tally)
    realm.populate()
    for _ in range(length):
        realm.act()
    if ending:
        realm.end(is_sudden=seed % 2 == 0)
        for _ in range(length // 10):
            realm.act()
    realm.come_to_rest()
    assert not ending or not realm.worlds, "the Emperor has gone, and they have not"
    for world in realm.worlds.values():
        world.check_end()
    for before, after, event in tally.edges:
        assert event in EDGES.get((before, after), ()), f"{before} to {after} by {event}"


def test_100_000_events_and_in_the_end_all_is_as_it_is_wanted() -> None:
    tally = Tally()

    @settings(
        deadline=None,
        derandomize=True,
        database=None,
        max_examples=400,
        suppress_health_check=list(HealthCheck),
    )
    @given(seed=st.integers(0, 2**32), length=st.integers(50, 600), ending=st.booleans())
    def live(seed: int, length: int, ending: bool) -> None:
        reign(tally, seed=seed, length=length, ending=ending)

    live()
    print(f"{tally.events:,} events, {len(tally.edges)} transitions")
    assert tally.events >= 100_000


def test_every_transition_of_the_drawing_happens() -> None:
    tally = Tally()
    for seed in range(250):
        reign(tally, seed=seed, length=300, ending=seed % 4 > 1)
    assert {(before, after) for before, after, _ in tally.edges} == set(EDGES)
