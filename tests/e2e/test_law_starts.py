"""Who may start when: the first population, and who comes later."""

import itertools

import pytest
from tests.e2e.daemon import Daemon, eventually, reign
from tests.e2e.sites import Town
from tests.support.bureau import Bureau
from tests.support.stage import LOYAL, UP, Stage

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

#: A throttle that no test waits for, in milliseconds.
AN_HOUR = str(3600 * 1000)


def moments(daemon: Daemon, vassal: str, text: str) -> list[float]:
    """When the log said so, in seconds since the epoch."""
    lines = (line for line in daemon.lines if line.vassal == vassal)
    return [line.time for line in lines if text in line.message]


def dies(theatre: Stage, name: str, status: int = 1) -> None:
    """Its next process is gone as soon as it has begun."""
    theatre.enters(name).leave(status)


def in_phase(bureau: Bureau, *phases: str) -> None:
    """Wait until the vassals are in these phases, in any order."""
    eventually(
        lambda: sorted(bureau.states().values()) == sorted(phases),
        complaint=lambda: f"{bureau.states()}, not {phases}",
    )


def put(town: Town, name: str) -> None:
    """A vassal for the stage."""
    town.write(name, "[uwsgi]\nplay = it\n")


def test_the_first_population_starts_a_few_at_a_time(one_town: Town, theatre: Stage) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    names = [f"slow-{number}.ini" for number in range(6)]
    for name in names:
        put(town, name)
    words = (*town.words, *theatre.words, *bureau.words, "--emperor-start-limit", "2")
    with reign(*words) as daemon:
        under_way = [theatre.anybody(), theatre.anybody()]
        for count in range(2, len(names)):
            wanted = ["queued"] * (len(names) - count) + ["starting"] * 2
            in_phase(bureau, *wanted, *["ready"] * (count - 2))
            under_way.pop(0).say(*UP)
            under_way.append(theatre.anybody())
        under_way.pop().leave(1)  # a death makes place as well, if there were anybody
        under_way.pop().say(*UP)
        in_phase(bureau, *["ready"] * 5, "delayed")
        events = sorted(
            (time, change)
            for name in names
            for text, change in (("spawned (", 1), ("accepts requests", -1))
            for time in moments(daemon, name, text)
        )
        most = max(itertools.accumulate(change for _, change in events))
        assert most == 2


def test_a_dead_starter_makes_place_for_the_next(one_town: Town, theatre: Stage) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    for number in range(3):
        put(town, f"slow-{number}.ini")
    words = (*town.words, *theatre.words, *bureau.words, "--emperor-start-limit", "1")
    with reign(*words, "--emperor-throttle", AN_HOUR, "--emperor-max-throttle", AN_HOUR):
        for number in range(3):
            puppet = theatre.anybody()
            wanted = ["queued"] * (2 - number) + ["starting"]
            in_phase(bureau, *wanted, *["delayed"] * number)
            puppet.leave(1)
        in_phase(bureau, "delayed", "delayed", "delayed")


def test_a_crash_loop_and_a_slow_starter_hold_no_new_vassal_up(
    one_town: Town, theatre: Stage
) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    for name in ("slow-1.ini", "slow-2.ini"):
        put(town, name)
    words = (*town.words, *theatre.words, *bureau.words, "--emperor-start-limit", "1")
    with reign(*words) as daemon:
        slow = theatre.anybody()  # and says nothing
        in_phase(bureau, "queued", "starting")
        put(town, "loop.ini")
        for number in range(3):
            dies(theatre, "loop.ini")
            put(town, f"new-{number}.ini")
            theatre.enters(f"new-{number}.ini", seconds=2.0).say(*UP)
            daemon.expect("accepts requests", f"new-{number}.ini")
        slow.say(*UP)
        theatre.anybody()


def test_starts_in_the_same_second_are_delayed_by_the_throttle(
    one_town: Town, theatre: Stage
) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    put(town, "old.ini")
    words = (*town.words, *theatre.words, *bureau.words, "--emperor-throttle", "700")
    with reign(*words, "--emperor-max-throttle", "1400") as daemon:
        theatre.enters("old.ini").say(*LOYAL)
        daemon.expect("accepts requests", "old.ini")
        assert bureau.stats()["throttle_level"] == 0  # the first population is not throttled
        for name in ("a.ini", "b.ini", "c.ini"):
            put(town, name)
            eventually(lambda name=name: name in bureau.states())  # type: ignore[misc]
        for name in ("a.ini", "b.ini", "c.ini"):
            theatre.enters(name)
            daemon.spawned(name)
        names = ("a.ini", "b.ini", "c.ini")
        starts = sorted(moments(daemon, name, "spawned (")[0] for name in names)
        assert bureau.stats()["throttle_level"] == 1400
        assert starts[1] - starts[0] > 0.69
        assert starts[2] - starts[0] > 1.39
