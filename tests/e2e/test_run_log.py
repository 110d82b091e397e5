"""The daemon's log: for people, for programs, and for nobody."""

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest
from tests.e2e.daemon import emperor_program, eventually, reign
from tests.e2e.sites import Town, broken
from tests.support.uwsgi import ENVIRONMENT

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

#: A line for people: time, level, vassal or not, text.
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \[emperor\] (\w+) (.+)")


@contextlib.contextmanager
def started(*words: str, stderr: int) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon whose standard error goes where the test says; dead at the end."""
    process = subprocess.Popen(
        [emperor_program(), "run", *words],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def put_quiet(town: Town, name: str, greeting: str) -> None:
    """A vassal that soon writes to a file of its own."""
    town.put(name, greeting, ("logto", f"{town.root}/{name}.log"))


def test_people_get_one_line_for_each_event(one_town: Town) -> None:
    town = one_town
    put_quiet(town, "site.ini", "one")
    town.write("bad.ini", broken("ini"))
    path = f"{town.root}/log"
    words = (*town.words, "--emperor-control", "none")
    with open(path, "wb") as log, started(*words, stderr=log.fileno()) as process:
        eventually(lambda: "accepts requests" in read(path) and "missing" in read(path))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    found = [LINE.fullmatch(line) for line in read(path).splitlines()]
    lines = [match.groups() for match in found if match]
    assert lines[0] == ("info", f"the Emperor governs {town.vassals}")
    assert ("info", "site.ini: accepts requests") in lines
    assert ("error", "bad.ini: does not compile; it cannot be started") in lines
    assert lines[-1] == ("info", "all vassals are gone: the Emperor leaves")
    assert "\n    bad.ini:2:" in read(path)  # further lines are indented
    assert "\x1b" not in read(path)


@pytest.mark.parametrize("level", ["debug", "warning", "error"])
def test_a_level_hides_what_is_below_it(one_town: Town, level: str) -> None:
    town = one_town
    put_quiet(town, "site.ini", "one")
    town.write("bad.ini", broken("ini"))
    with reign(*town.words, "--log-level", level) as daemon:
        daemon.expect("does not compile", "bad.ini", level="error")
        eventually(lambda: _says(town, "one"))
        if level == "debug":
            daemon.expect("is loyal", "site.ini", level="debug")  # after the first answer
        daemon.stop()
        levels = {line.level for line in daemon.lines if line.level}
        assert levels <= set(("debug", "info", "warning", "error")[_rank(level) :])
        assert ("debug" in levels) == (level == "debug")


def _rank(level: str) -> int:
    return ("debug", "info", "warning", "error").index(level)


def _says(town: Town, greeting: str) -> bool:
    """Whether it says that by now. A uWSGI that reloads may drop what it has just accepted."""
    try:
        return town.get("site.ini") == greeting
    except OSError:
        return False


def test_programs_get_an_object_a_line(one_town: Town) -> None:
    town = one_town
    put_quiet(town, "site.ini", "one")
    town.write("bad.ini", broken("ini"))
    path = f"{town.root}/log"
    words = (*town.words, "--log-format=json")
    with open(path, "wb") as log, started(*words, stderr=log.fileno()) as process:
        eventually(lambda: "accepts requests" in read(path) and "missing" in read(path))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    lines = [json.loads(line) for line in read(path).splitlines() if line.startswith("{")]
    assert {"time", "level", "message"} == set(lines[0])
    assert {"site.ini", "bad.ini"} == {line["vassal"] for line in lines if "vassal" in line}
    assert all(isinstance(line["time"], float) for line in lines)


def test_a_reader_that_never_reads_holds_nobody_up(one_town: Town) -> None:
    town = one_town
    put_quiet(town, "site.ini", "one")
    ours, theirs = os.pipe()
    try:
        with started(*town.words, stderr=theirs) as process:
            eventually(lambda: _says(town, "one"))
            fcntl.fcntl(theirs, fcntl.F_SETFL, os.O_NONBLOCK)  # of this pipe's whole end
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(theirs, b"x" * 4096)
            fcntl.fcntl(theirs, fcntl.F_SETFL, 0)
            put_quiet(town, "site.ini", "two")
            town.write("bad.ini", broken("ini"))
            eventually(lambda: _says(town, "two"))
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_reader_that_has_gone_kills_nobody(one_town: Town) -> None:
    town = one_town
    put_quiet(town, "site.ini", "one")
    ours, theirs = os.pipe()
    with started(*town.words, stderr=theirs) as process:
        os.close(theirs)
        eventually(lambda: _says(town, "one"))
        os.close(ours)
        put_quiet(town, "site.ini", "two")
        eventually(lambda: town.get("site.ini") == "two")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
