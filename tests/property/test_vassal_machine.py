"""Whatever happens to a vassal, in whatever order: its law keeps its promises."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.vassal_world import Action, World

from emperor.runtime import events as ev

#: More turns than any vassal needs to come to rest.
MANY = 200

ENDS: tuple[Action, ...] = (World.remove, World.leave, World.die)

law = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=600,
    suppress_health_check=[HealthCheck.too_slow],
)
choices = st.lists(st.integers(0, 2**16), min_size=30, max_size=60)


def live(world: World, history: list[int]) -> None:
    """Let happen what these numbers choose from what may happen."""
    for choice in history:
        possible = (*world.possible(), World.pause, World.sit)
        possible[choice % len(possible)](world)


def come_to_rest(world: World, *, is_hung: bool) -> None:
    """Everything under way is carried on until nothing more happens. With ``is_hung`` the
    process that there is listens to nobody."""
    if is_hung:
        world.hang()
    elif world.process is not None:
        world.process.is_hung = False
    for _ in range(MANY):
        if world.carry_on():
            continue
        if world.next_due() is None or world.is_beating():
            return
        world.tick()
    raise AssertionError("it never comes to rest")


@law
@given(history=choices, is_hung=st.booleans())
def test_in_the_end_it_runs_what_its_file_says(history: list[int], is_hung: bool) -> None:
    world = World()
    world.edit()
    live(world, history)
    come_to_rest(world, is_hung=is_hung)
    if world.is_there:
        world.check_end()


@law
@given(history=choices, end=st.sampled_from(ENDS), late=choices, is_hung=st.booleans())
def test_in_the_end_nothing_is_left_of_it(
    history: list[int], end: Action, late: list[int], is_hung: bool
) -> None:
    world = World()
    world.edit()
    live(world, history)
    end(world)
    world.is_ending = True  # no file comes any more
    live(world, late[:12])
    world.remove()
    come_to_rest(world, is_hung=is_hung)
    world.check_end()
    world.feed(ev.Noticed())
    world.feed(ev.Tick())
