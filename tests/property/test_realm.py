"""A realm of vassals that share one gate: 100,000 events, none is lost, none is too many."""

import asyncio
import random
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.states_page import EDGES
from tests.support.vassal_land import Land, Tally
from tests.support.vassal_specs import ROWS, some_version
from tests.support.vassal_world import World

from emperor.runtime import events as ev
from emperor.runtime.law.state import Phase

NAMES = ("a.ini", "b.ini", "c.ini", "d.ini", "e.ini", "f.ini")

#: At most so many zergs, as with ``emperor-broodlord``, and so many first starts at a time.
MOST_ZERGS, START_LIMIT = 4, 2

#: More turns than any realm needs to come to rest.
MANY = 3000

_OF_THE_FILE = (
    World.edit,
    World.touch,
    World.chmod,
    World.chown,
    World.seize,
    World.touch_include,
    World.remove,
)
_ON_THE_WAY = (Phase.SPAWNING, Phase.STOPPING)


@dataclass
class Realm:
    """Files, vassals and zergs, one clock, one gate; ``chance`` decides what happens."""

    chance: random.Random
    tally: Tally
    files: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.land = Land(
            settle=World, on_zerg=self._zerg_of, tally=self.tally, start_limit=START_LIMIT
        )
        self.diligence = self.chance.choice((0.0, 0.4, 0.8))  # how soon others do their part
        self.rows = self.chance.choice(ROWS)

    # -- who is there --------------------------------------------------------------------------

    def _zerg_of(self, lord: World) -> None:
        count = sum(world.state.is_zerg for world in self.land.worlds.values())
        if count < MOST_ZERGS and not self.land.is_ending:
            name = f"{lord.file.name}:zerg:{self.chance.randrange(10**6)}"
            zerg = self.land.new(
                name, version=some_version(self.rows, self.chance), is_zerg=True
            )
            lord.record.zergs.append(zerg.record.key)
            zerg.record.lord = lord.record
            zerg.file.owner = zerg.file.judged = lord.file.owner
            zerg.edit()

    def _made_of(self, name: str) -> list[World]:
        """The zergs of a vassal, then itself."""
        lord = self.land.of(name)
        assert lord is not None
        zergs = [self.land.of(key[1]) for key in lord.record.zergs]
        assert None not in zergs, "a zerg of nobody's"
        return [*(zerg for zerg in zergs if zerg is not None), lord]

    # -- what happens --------------------------------------------------------------------------

    def populate(self) -> None:
        """Files that are there when the Emperor comes."""
        for name in self.chance.sample(NAMES, self.chance.randrange(len(NAMES) + 1)):
            self._edit(name)
        self.land.is_first_look = False
        self.check()

    def act(self) -> None:
        """Something happens."""
        worlds = list(self.land.worlds.values())
        dice = self.chance.random()
        if dice < 0.05 and not self.land.is_ending:
            self._edit(self.chance.choice(NAMES))
        elif dice < 0.20:
            self.land.wait(self.chance.choice((0.01, 0.1, 0.5, 1.0, 5.0)))
        elif dice < 0.21:
            self.land.wait(100.0)
        elif dice < 0.22:
            event = self.chance.choice((ev.Retry(), ev.Reload()))
            for world in worlds:
                world.feed(event)
        elif worlds:
            self._meddle(self.chance.choice(worlds))
        self.check()

    def _edit(self, name: str) -> None:
        if self.land.of(name) is None:
            self.land.new(name, version=some_version(self.rows, self.chance))
        self.files.add(name)
        for world in self._made_of(name):
            world.edit()

    def _meddle(self, world: World) -> None:
        """Something happens to one of them; what happens to a file, happens to its zergs."""
        if self.chance.random() < self.diligence and world.carry_on():
            return
        action = self.chance.choice(world.possible())
        if action not in _OF_THE_FILE:
            action(world)
            return
        name = world.file.name.partition(":")[0]
        if self.land.is_ending or self.land.of(name) is None:
            return
        if action is World.edit:
            self._edit(name)
        elif name in self.files:
            if action is World.remove:
                self.files.remove(name)
            for one in self._made_of(name):
                action(one)

    def end(self, *, is_sudden: bool) -> None:
        """The Emperor goes."""
        self.land.end(ev.Die() if is_sudden else ev.Leave(grace_seconds=30.0))
        self.check()

    # -- what must hold ------------------------------------------------------------------------

    def check(self) -> None:
        """None is lost, and none is left whose file is gone but for those on their way."""
        self.land.bury()
        worlds = self.land.worlds.values()
        if self.land.is_ending:
            assert all(world.state.phase in _ON_THE_WAY for world in worlds)
            return
        for name in self.files:
            world = self.land.of(name)
            assert world is not None, "lost"
            assert world.state.is_wanted, "lost"
        for world in worlds:
            if not world.file.is_there or (not world.is_main and not world.state.is_heir):
                assert world.state.phase in _ON_THE_WAY, "unwanted, and it stays"

    def come_to_rest(self) -> None:
        """Everything under way is carried on until nothing more happens."""
        for _ in range(MANY):
            worlds = tuple(self.land.worlds.values())
            if any(world.carry_on() for world in worlds):
                self.check()
                continue
            dues = self.land.dues(world for world in worlds if not world.is_beating())
            if not dues:
                return
            self.land.tick(min(dues))
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
    assert not ending or not realm.land.worlds, "the Emperor has gone, and they have not"
    assert len(realm.land.roster) == len(realm.land.worlds)
    for world in realm.land.worlds.values():
        world.check_end()
    for before, after, event in tally.edges:
        assert event in EDGES.get((before, after), ()), f"{before} to {after} by {event}"


def test_100_000_events_and_in_the_end_all_is_as_it_is_wanted() -> None:
    tally = Tally()

    @settings(
        deadline=None,
        derandomize=True,
        database=None,
        max_examples=600,
        suppress_health_check=list(HealthCheck),
    )
    @given(seed=st.integers(0, 2**32), length=st.integers(50, 600), ending=st.booleans())
    def live(seed: int, length: int, ending: bool) -> None:
        reign(tally, seed=seed, length=length, ending=ending)

    async def run() -> None:
        live()

    asyncio.run(run())
    print(
        f"{tally.events:,} events, {len(tally.edges)} transitions,"
        f" {tally.inherited:,} heirs took over, {tally.renounced:,} did not,"
        f" {tally.disowned:,} changes of owner"
    )
    assert tally.events >= 100_000
    assert min(tally.inherited, tally.renounced, tally.disowned) >= 100


def test_every_transition_of_the_drawing_happens() -> None:
    tally = Tally()

    async def run() -> None:
        for seed in range(500):
            reign(tally, seed=seed, length=300, ending=seed % 4 > 1)

    asyncio.run(run())
    assert {(before, after) for before, after, _ in tally.edges} == set(EDGES)
