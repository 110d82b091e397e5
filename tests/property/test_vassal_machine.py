"""Whatever happens to a vassal, in whatever order: its law keeps its promises."""

import asyncio
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.vassal_land import Land
from tests.support.vassal_world import Action, World

from emperor.runtime import events as ev

#: More turns than any vassal needs to come to rest.
MANY = 400

ENDS: tuple[Action, ...] = (World.remove, World.leave, World.die)

law = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=600,
    suppress_health_check=[HealthCheck.too_slow],
)
choices = st.lists(st.integers(0, 2**20), min_size=30, max_size=80)
versions = st.integers(0, 400)


def in_a_loop(law: Callable[[], None]) -> None:
    """Run it where a loop runs, as the daemon's rim does."""

    async def run() -> None:
        law()

    asyncio.run(run())


def live(land: Land, history: list[int]) -> None:
    """Let happen what these numbers choose from what may happen."""
    for choice in history:
        worlds = list(land.worlds.values())
        if not worlds:
            return
        choice, which = divmod(choice, len(worlds))
        world = worlds[which]
        possible = (*world.possible(), World.pause, World.sit)
        possible[choice % len(possible)](world)
        land.bury()


def come_to_rest(land: Land, *, is_hung: bool) -> None:
    """Everything under way is carried on until nothing more happens. With ``is_hung`` the
    processes that there are listen to nobody."""
    for world in land.worlds.values():
        if is_hung:
            world.hang()
        elif world.process is not None:
            world.process.is_hung = False
    for _ in range(MANY):
        land.bury()
        worlds = list(land.worlds.values())
        if any(world.carry_on() for world in worlds):
            continue
        dues = land.dues(world for world in worlds if not world.is_beating())
        if not dues:
            return
        land.tick(min(dues))
    raise AssertionError("it never comes to rest")


def born(version: int) -> tuple[Land, World]:
    """A vassal whose file has just come."""
    land = Land(settle=World)
    world = land.new("vassal", version=version)
    world.edit()
    return land, world


@law
@given(version=versions, history=choices, is_hung=st.booleans())
def _it_runs_what_its_file_says(version: int, history: list[int], is_hung: bool) -> None:
    land, _ = born(version)
    live(land, history)
    come_to_rest(land, is_hung=is_hung)
    for world in land.worlds.values():
        world.check_end()
    assert not land.files["vassal"].is_there or land.of("vassal"), "lost"


@law
@given(
    version=versions,
    history=choices,
    end=st.sampled_from(ENDS),
    late=choices,
    is_hung=st.booleans(),
)
def _nothing_is_left_of_it(
    version: int, history: list[int], end: Action, late: list[int], is_hung: bool
) -> None:
    land, first = born(version)
    live(land, history)
    land.is_ending = True  # no file comes any more
    for world in list(land.worlds.values()):
        if world.is_main:
            end(world)
    live(land, late[:12])
    for world in list(land.worlds.values()):
        if world.is_main:
            world.remove()
    come_to_rest(land, is_hung=is_hung)
    assert not land.worlds
    assert len(land.roster) == 0
    first.take(ev.Noticed())
    first.take(ev.Tick())


def test_in_the_end_it_runs_what_its_file_says() -> None:
    in_a_loop(_it_runs_what_its_file_says)


def test_in_the_end_nothing_is_left_of_it() -> None:
    in_a_loop(_nothing_is_left_of_it)
