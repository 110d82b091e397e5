"""What plugins tell, and what the controller is told for it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from emperor.runtime.monitors.ledger import MOST_TEXT, Ledger
from emperor.runtime.monitors.plugins import Absent, Change, Found, Present, Snapshot
from emperor.runtime.monitors.sightings import (
    Appeared,
    AttributesChanged,
    Changed,
    Event,
    Problem,
    Sighting,
    Vanished,
)

A = Found(name="a.ini", text="[uwsgi]\n")
B = Found(name="b.json", text="{}", mtime=1.5)


@dataclass(kw_only=True)
class Book:
    """A ledger in a world of known files."""

    files: Mapping[str, os.stat_result] = field(default_factory=dict)
    now_ns: int = 1000

    def __post_init__(self) -> None:
        self.ledger = Ledger(
            monitor="lines://x",
            cwd="/srv",
            extra_extensions=(".conf",),
            now_ns=lambda: self.now_ns,
            stat=self.files.get,
        )

    def hears(self, change: Change) -> tuple[Event, ...]:
        return self.ledger.take(change)

    def present(self, **words: Any) -> list[str]:
        return [brief(event) for event in self.hears(Present(vassal=Found(**words)))]

    def all(self, *vassals: Found) -> list[str]:
        return [brief(event) for event in self.hears(Snapshot(vassals=vassals))]

    def sighting(self, found: Found) -> Sighting:
        (event,) = self.hears(Present(vassal=found))
        assert isinstance(event, Appeared | Changed | AttributesChanged)
        return event.sighting


def brief(event: Event) -> str:
    match event:
        case Appeared(sighting=sighting):
            return f"+{sighting.name}"
        case Changed(sighting=sighting):
            return f"~{sighting.name}"
        case AttributesChanged(sighting=sighting):
            return f"%{sighting.name}"
        case Vanished(name=name):
            return f"-{name}"
        case Problem(path=path):
            return f"!{path}"


def status(*, mtime_ns: int, inode: int = 7, size: int = 3) -> os.stat_result:
    seconds, nanoseconds = divmod(mtime_ns, 10**9)
    times = {"st_mtime_ns": mtime_ns, "st_ctime_ns": 5}
    fields = (0o100644, inode, 1, 1, 33, 44, size, 0, seconds, 0, 0, nanoseconds, 0)
    return os.stat_result(fields, times)


def test_a_snapshot_is_the_whole_truth() -> None:
    book = Book()
    assert book.all(A, B) == ["+a.ini", "+b.json"]
    assert book.all(A, B) == []
    assert book.all(B) == ["-a.ini"]
    assert book.all(A) == ["-b.json", "+a.ini"]
    assert book.all() == ["-a.ini"]


def test_of_what_is_not_named_nothing_is_said() -> None:
    book = Book()
    assert book.all(A) == ["+a.ini"]
    assert [brief(e) for e in book.hears(Present(vassal=B))] == ["+b.json"]
    assert [brief(e) for e in book.hears(Absent(name="a.ini"))] == ["-a.ini"]
    assert book.hears(Absent(name="a.ini")) == ()
    assert book.hears(Absent(name="never.ini")) == ()


def test_a_new_text_or_a_new_time_is_a_change() -> None:
    book = Book()
    assert book.present(name="a.ini", text="1", mtime=5) == ["+a.ini"]
    assert book.present(name="a.ini", text="1", mtime=5) == []
    assert book.present(name="a.ini", text="1", mtime=4) == ["~a.ini"]
    assert book.present(name="a.ini", text="2", mtime=4) == ["~a.ini"]


def test_without_a_time_the_text_decides() -> None:
    book = Book()
    assert book.sighting(A).stamp.mtime_ns == 1000
    book.now_ns = 2000
    assert book.hears(Present(vassal=A)) == ()
    changed = book.sighting(Found(name="a.ini", text="[uwsgi]\nx = 1\n"))
    assert (changed.stamp.mtime_ns, changed.stamp.size) == (2000, 14)


def test_what_else_is_told_changes_attributes_only() -> None:
    book = Book()
    words: dict[str, Any] = {"name": "a.ini", "text": "1"}
    assert book.present(**words) == ["+a.ini"]
    for more in ({"uid": 5}, {"gid": 6}, {"socket": "/s"}, {"attributes": {"b": "2"}}):
        words |= more
        assert book.present(**words) == ["%a.ini"]
        assert book.present(**words) == []
    sighting = book.sighting(Found(**words | {"attributes": {"b": "2", "a": "1"}}))
    assert (sighting.attributes.uid, sighting.attributes.gid) == (5, 6)
    assert (sighting.socket, sighting.extra) == ("/s", (("a", "1"), ("b", "2")))


def test_a_text_has_no_file_and_no_directory() -> None:
    sighting = Book().sighting(A)
    assert (sighting.path, sighting.directory, sighting.text) == ("", None, A.text)
    assert (sighting.compiled_as, sighting.attributes.uid) == ("a.ini", 0)


def test_a_file_is_asked_for_what_the_plugin_does_not_say() -> None:
    book = Book(files={"/srv/conf/x.xml": status(mtime_ns=9)})
    found = book.sighting(Found(name="shop", path="conf/x.xml"))
    assert (found.name, found.path, found.directory) == ("shop", "/srv/conf/x.xml", None)
    assert found.compiled_as == "/srv/conf/x.xml"
    assert (found.stamp.mtime_ns, found.stamp.size, found.stamp.inode) == (9, 3, 7)
    assert (found.attributes.uid, found.attributes.gid) == (33, 44)
    told = book.sighting(Found(name="shop", path="conf/x.xml", mtime=2, uid=5))
    assert (told.stamp.mtime_ns, told.attributes.uid) == (2_000_000_000, 5)
    missing = book.sighting(Found(name="gone", path="/gone.ini"))
    assert (missing.stamp.mtime_ns, missing.path) == (0, "/gone.ini")


def test_a_vassal_may_move_from_a_file_into_a_text() -> None:
    book = Book()
    assert book.present(name="a.ini", path="/etc/a.ini") == ["+a.ini"]
    assert book.present(name="a.ini", text="") == ["~a.ini"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"name": "", "text": ""}, "empty name"),
        ({"name": "a\0.ini", "text": ""}, "NUL"),
        ({"name": "a.ini", "path": "/a\0.ini"}, "NUL"),
        ({"name": "a.ini", "text": "", "socket": "\0s"}, "NUL"),
        ({"name": "a", "text": ""}, "ends in none of .ini"),
        ({"name": "a.ini", "path": "/a.txt"}, "ends in none of .ini"),
        ({"name": "ä" * 126 + ".ini", "text": ""}, "more than 254 bytes"),
        ({"name": "\ud800.ini", "text": ""}, "characters that are none"),
        ({"name": "a.ini", "text": "\ud800"}, "characters that are none"),
        ({"name": "a.ini", "text": "x" * (MOST_TEXT + 1)}, "more than 524,288 bytes"),
    ],
)
def test_what_cannot_be_a_vassal_is_named(words: dict[str, str], complaint: str) -> None:
    book = Book()
    (event,) = book.hears(Present(vassal=Found(**words)))  # type: ignore[arg-type]
    assert isinstance(event, Problem)
    assert complaint in event.message
    assert event.message.isprintable()
    assert "left out" in event.message


def test_endings_that_users_added_and_odd_bytes_are_fine() -> None:
    book = Book()
    assert book.present(name="a.conf", text="\udcff") == ["+a.conf"]
    assert book.present(name="dir/\udcff.ini", text="") == ["+dir/\udcff.ini"]


def test_a_vassal_that_becomes_impossible_is_left_as_it_was() -> None:
    book = Book()
    large = Found(name="a.ini", text="x" * (MOST_TEXT + 1))
    assert book.all(A, B) == ["+a.ini", "+b.json"]
    (problem,) = book.hears(Snapshot(vassals=(large, B)))
    assert isinstance(problem, Problem)
    assert "what runs is kept" in problem.message
    assert book.all(large, B) == []  # said already
    assert book.all(A, B) == []  # it is what it was
    assert book.all(large, B) == ["!a.ini"]
    assert book.all(B) == ["-a.ini"]
    assert book.all(large, B) == ["!a.ini"]


@pytest.mark.parametrize(
    "words",
    [
        {"name": "a.ini"},
        {"name": "a.ini", "text": "", "path": ""},
        {"name": b"a.ini", "text": ""},
        {"name": "a.ini", "text": b""},
        {"name": "a.ini", "text": "", "mtime": "1"},
        {"name": "a.ini", "text": "", "mtime": float("nan")},
        {"name": "a.ini", "text": "", "uid": "root"},
        {"name": "a.ini", "text": "", "attributes": {"a": 1}},
    ],
)
def test_a_plugin_that_makes_no_sense_hears_so_itself(words: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Found(**words)


def test_changes_hold_what_they_should() -> None:
    wrong: Any = "a.ini"
    with pytest.raises(TypeError):
        Snapshot(vassals=(wrong,))
    with pytest.raises(TypeError):
        Present(vassal=wrong)
    nameless: Any = b"a.ini"
    with pytest.raises(TypeError):
        Absent(name=nameless)
