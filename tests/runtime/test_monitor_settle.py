"""Histories of looks and moments, and what the controller is told for them."""

from dataclasses import replace

from emperor.runtime.monitors.settings import Settings
from emperor.runtime.monitors.settle import Mark, Settling
from emperor.runtime.monitors.sightings import (
    Appeared,
    Attributes,
    AttributesChanged,
    Changed,
    Event,
    Missing,
    Problem,
    Seen,
    Sighting,
    Stamp,
    Unclear,
    Vanished,
)

NAME = "app.ini"
PATH = "/v/app.ini"
OLD = Sighting(
    monitor="/v",
    name=NAME,
    path=PATH,
    directory="/v",
    stamp=Stamp(mtime_ns=100, size=3, inode=7),
    attributes=Attributes(ctime_ns=100, uid=0, gid=0, mode=0o100644),
)
NEW = replace(OLD, stamp=Stamp(mtime_ns=200, size=4, inode=7))


def settling() -> Settling:
    return Settling(monitor="/v", settings=Settings())


def see(
    core: Settling, now: float, sighting: Sighting = OLD, held: bool | None = None
) -> tuple[Event, ...]:
    return core.observe(NAME, PATH, Seen(sighting=sighting, linked=False, held=held), now)


def miss(core: Settling, now: float, problem: str | None = None) -> tuple[Event, ...]:
    return core.observe(NAME, PATH, Missing(problem=problem), now)


def test_a_first_sight_is_told_at_once_and_a_second_look_is_not() -> None:
    core = settling()
    assert see(core, 0) == (Appeared(sighting=OLD),)
    assert see(core, 1) == ()
    assert core.deadline() is None


def test_a_new_stamp_is_a_change_and_so_is_an_older_one() -> None:
    core = settling()
    see(core, 0, NEW)
    assert see(core, 1, OLD) == (Changed(sighting=OLD),)


def test_the_same_content_elsewhere_is_a_change() -> None:
    core = settling()
    see(core, 0)
    moved = replace(OLD, path="/w/app.ini", directory="/w")
    assert see(core, 1, moved) == (Changed(sighting=moved),)


def test_a_chmod_changes_attributes_only() -> None:
    core = settling()
    see(core, 0)
    locked = replace(OLD, attributes=replace(OLD.attributes, mode=0o100600, ctime_ns=150))
    assert see(core, 1, locked) == (AttributesChanged(sighting=locked),)


def test_gone_counts_only_when_still_gone_after_the_settle_time() -> None:
    core = settling()
    see(core, 0)
    assert miss(core, 10) == ()
    assert core.deadline() == 10.25
    assert core.due(10.2) == ()
    assert miss(core, 10.2) == ()
    assert core.due(10.25) == (NAME,)
    assert miss(core, 10.25) == (Vanished(monitor="/v", name=NAME),)
    assert core.deadline() is None
    assert not core.cares_for(NAME)


def test_delete_and_create_is_one_change() -> None:
    core = settling()
    see(core, 0)
    miss(core, 10)
    core.note(NAME, Mark.BEGAN, 10.1)
    assert see(core, 10.1, NEW) == ()
    core.note(NAME, Mark.ENDED, 10.4)
    assert see(core, 10.4, NEW) == (Changed(sighting=NEW),)


def test_delete_and_put_back_unchanged_is_nothing() -> None:
    core = settling()
    see(core, 0)
    miss(core, 10)
    assert see(core, 10.1) == ()
    assert core.deadline() is None


def test_a_second_absence_settles_anew() -> None:
    core = settling()
    see(core, 0)
    miss(core, 10)
    see(core, 10.1)
    assert miss(core, 10.3) == ()
    assert core.deadline() == 10.55


def test_a_writer_is_waited_for_until_it_closes() -> None:
    core = settling()
    core.note(NAME, Mark.BEGAN, 0)
    assert see(core, 0) == ()
    assert see(core, 0.1, NEW) == ()
    core.note(NAME, Mark.ENDED, 0.2)
    assert see(core, 0.2, NEW) == (Appeared(sighting=NEW),)


def test_a_writer_that_never_closes_is_waited_for_thirty_seconds() -> None:
    core = settling()
    see(core, 0)
    core.note(NAME, Mark.BEGAN, 1)
    core.note(NAME, Mark.BEGAN, 20)
    assert see(core, 20, NEW) == ()
    assert see(core, 30.9, NEW, held=True) == ()
    assert see(core, 31, NEW, held=True) == (Changed(sighting=NEW),)
    assert core.deadline() is None


def test_a_held_file_is_asked_about_ever_more_rarely() -> None:
    core = settling()
    moments = []
    assert see(core, 0, held=True) == ()
    while (deadline := core.deadline()) is not None:
        moments.append(deadline)
        assert core.wants_probe(NAME, deadline)
        told = see(core, deadline, held=True)
    assert moments == [0.25, 0.75, 1.75, 3.75, 7.75, 15.75, 30]
    assert told == (Appeared(sighting=OLD),)


def test_a_writer_that_ended_unheard_is_found_out_by_asking() -> None:
    core = settling()
    see(core, 0)
    core.note(NAME, Mark.BEGAN, 1)  # a hard link: nothing ever closes
    assert see(core, 1, NEW) == ()
    assert core.due(1.25) == (NAME,)
    assert see(core, 1.25, NEW, held=False) == (Changed(sighting=NEW),)


def test_where_the_system_does_not_tell_it_is_asked_no_more() -> None:
    core = settling()
    core.note(NAME, Mark.BEGAN, 0)
    assert see(core, 0.25, held=None) == ()
    assert core.deadline() == 30


def test_an_unchanged_file_that_somebody_holds_is_of_no_interest() -> None:
    core = settling()
    see(core, 0)
    assert see(core, 60, held=True) == ()
    assert core.deadline() is None


def test_a_file_that_goes_while_it_is_written_was_never_there() -> None:
    core = settling()
    core.note(NAME, Mark.BEGAN, 0)
    see(core, 0)
    assert miss(core, 0.1) == ()
    assert core.deadline() is None


def test_a_problem_is_told_once_until_it_had_gone() -> None:
    core = settling()
    told = Problem(monitor="/v", path=PATH, message="is a directory")
    assert miss(core, 0, "is a directory") == (told,)
    assert miss(core, 1, "is a directory") == ()
    assert see(core, 2) == (Appeared(sighting=OLD),)
    assert miss(core, 3, "is a directory") == (told,)


def test_what_cannot_be_looked_at_is_kept_and_blamed_on_its_directory_once() -> None:
    core = settling()
    see(core, 0)
    other = replace(OLD, name="other.ini", path="/v/other.ini")
    core.observe("other.ini", "/v/other.ini", Seen(sighting=other, linked=False), 0)
    unclear = Unclear(problem="permission denied", path="/v")
    assert core.observe(NAME, PATH, unclear, 1) == (
        Problem(monitor="/v", path="/v", message="permission denied"),
    )
    assert core.observe("other.ini", "/v/other.ini", unclear, 1) == ()
    assert core.deadline() is None
    assert see(core, 2) == ()


def test_an_unclear_look_interrupts_an_absence() -> None:
    core = settling()
    see(core, 0)
    miss(core, 1)
    core.observe(NAME, PATH, Unclear(problem="input/output error", path="/v"), 1.1)
    assert miss(core, 5) == ()
    assert core.due(5.25) == (NAME,)


def test_names_are_due_in_the_order_in_which_they_went() -> None:
    core = settling()
    for name in ("b", "a"):
        sighting = replace(OLD, name=name, path=f"/v/{name}")
        core.observe(name, f"/v/{name}", Seen(sighting=sighting, linked=False), 0)
    core.observe("b", "/v/b", Missing(), 1)
    core.observe("a", "/v/a", Missing(), 2)
    assert core.deadline() == 1.25
    assert core.due(1.3) == ("b",)
    assert core.due(2.25) == ("b", "a")
