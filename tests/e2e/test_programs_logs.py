"""Where a program's output goes.

The journal's turn is in ``tests/processes/test_sinks.py``: where it listens is the machine's.
"""

import os
from collections.abc import Iterator
from functools import partial

import pytest
from tests.e2e.daemon import OUTPUT, reign
from tests.e2e.programs import A_TENANT, Yard, ready, until, yard
from tests.e2e.sites import get
from tests.support.marks import needs_root

pytestmark = pytest.mark.process


@pytest.fixture
def place() -> Iterator[Yard]:
    with yard() as found:
        yield found


def text(path: str) -> str:
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()


def has_line_of(letter: str, path: str) -> bool:
    return f"{letter}\n" in text(path)


def test_a_log_of_its_own_with_rotation(place: Yard) -> None:
    log = f"{place.root}/one.log"
    options = (
        ("vassal-log", "../one.log"),
        ("vassal-log-size", "64K"),
        ("vassal-log-keep", "2"),
    )
    place.put_program("one.ini", *options)
    with reign(*place.words) as daemon:
        ready(daemon, "one.ini")
        for letter in "abcd":  # 40,000 of each, a line
            place.ask("one.ini", f"/write?40000:{letter}")
            until(partial(has_line_of, letter, log), daemon)
        found = text(f"{log}.2") + text(f"{log}.1") + text(log)
        assert [line[0] for line in found.splitlines()] == ["b", "c", "d"]  # two are kept
        assert not os.path.exists(f"{log}.3")
        assert daemon.said(OUTPUT) == []
        # with another process it goes on where it was
        os.utime(place.path("one.ini"))
        ready(daemon, "one.ini")
        place.ask("one.ini", "/write?3:e")
        until(lambda: text(log).endswith("d\neee\n"), daemon)


def test_a_program_that_is_not_there(place: Yard) -> None:
    place.put("one.ini", ("vassal-exec", "no-such-program"))
    place.put("two.ini", ("vassal-exec", "no-such-program"), ("chdir", "/"))
    with reign(*place.words) as daemon:
        daemon.expect("cannot be spawned: no-such-program: No such file", "one.ini")
        daemon.expect("died (exit code 127)", "two.ini")
        daemon.expect("no-such-program: not found", OUTPUT)


def test_captured_output_is_shown_by_why(place: Yard) -> None:
    place.put("one.ini", ("vassal-exec", "echo 'no database' >&2; exit 4"))
    place.put_program("two.ini", ("vassal-log", "../two.log"))
    with reign(*place.words, "--emperor-capture-output") as daemon:
        daemon.expect("died (exit code 4)", "one.ini")
        assert "no database" in place.control("why", "one.ini").out
        ready(daemon, "two.ini")
        place.ask("two.ini", "/write?9:y")
        until(lambda: "yyyy" in place.control("why", "two.ini").out, daemon)
        until(lambda: "yyyy" in text(f"{place.root}/two.log"), daemon)


def test_the_log_that_uwsgi_would_have(place: Yard) -> None:
    place.put_program("one.ini", ("logto", f"{place.root}/one.log"))
    with reign(*place.words) as daemon:
        ready(daemon, "one.ini")
        place.ask("one.ini", "/write?9:x")
        until(lambda: "xxx\n" in text(f"{place.root}/one.log"), daemon)
        assert os.stat(f"{place.root}/one.log").st_mode & 0o777 == 0o640


@needs_root
def test_a_tenants_log_is_written_with_the_tenants_rights(place: Yard) -> None:
    for directory, owner in (("his", A_TENANT), ("not-his", 0)):
        os.mkdir(f"{place.root}/{directory}")
        os.chown(f"{place.root}/{directory}", owner, owner)
        socket = ("socket", f"{place.root}/his/{directory}.http")
        log = ("vassal-log", f"{place.root}/{directory}/log")
        program = ("vassal-exec", place.command())
        place.put(f"{directory}.ini", program, socket, log, owner=A_TENANT)
    os.chmod(place.root, 0o755)
    with reign(*place.words, "--emperor-tyrant") as daemon:
        for directory in ("his", "not-his"):
            daemon.expect("is ready", f"{directory}.ini")
            get(f"{place.root}/his/{directory}.http", "/write?9:x")
        daemon.expect("not-his/log: Permission denied", "not-his.ini", level="warning")
        until(lambda: "xxx\n" in text(f"{place.root}/his/log"), daemon)
        assert os.stat(f"{place.root}/his/log").st_uid == A_TENANT
        assert os.listdir(f"{place.root}/not-his") == []
