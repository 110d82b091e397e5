"""Sinks of captured output: log files that are rotated, and the journal."""

import itertools
import logging
import os
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.marks import needs_root

from emperor.runtime.programs.journal import RETRY_SECONDS as JOURNAL_RETRY_SECONDS
from emperor.runtime.programs.journal import JournalSink
from emperor.runtime.programs.log_file import LOOK_SECONDS, RETRY_SECONDS, LogFile
from emperor.runtime.programs.sinks import MOST_QUEUED_BYTES, FileSink, Writer
from emperor.runtime.tenants.privileges import Owner

pytestmark = pytest.mark.process


PATIENCE_SECONDS = 20.0

TENANT = Owner(uid=20_001, gid=20_001)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def writer() -> Iterator[Writer]:
    made = Writer()
    yield made
    assert made.finish(PATIENCE_SECONDS)


def log_file(
    path: Path, clock: Clock, *, most_bytes: int = 0, keep: int = 2, owner: Owner | None = None
) -> LogFile:
    return LogFile(
        str(path), most_bytes=most_bytes, keep=keep, owner=owner, vassal="app.ini", clock=clock
    )


def texts(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "emperor.log_file"]


# -- a file ------------------------------------------------------------------------------------


def test_it_is_appended_to_and_kept_from_others(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "app.log"
    file = log_file(path, clock)
    umask = os.umask(0)
    try:
        assert file.append(b"one\n") == 4
    finally:
        os.umask(umask)
    file.close()
    assert file.append(b"two\n") == 4
    file.close()
    assert path.read_text() == "one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_full_one_is_renamed(tmp_path: Path, clock: Clock) -> None:
    file = log_file(tmp_path / "a", clock, most_bytes=8)
    for number in range(9):
        assert file.append(b"l%d\n" % number) == 3
    assert texts(tmp_path) == {"a": "l8\n", "a.1": "l6\nl7\n", "a.2": "l4\nl5\n"}
    file.close()


def test_much_at_once_fills_several(tmp_path: Path, clock: Clock) -> None:
    file = log_file(tmp_path / "a", clock, most_bytes=8, keep=9)
    file.append(b"".join(b"l%d\n" % number for number in range(9)))
    names = ("a.4", "a.3", "a.2", "a.1", "a")
    found = texts(tmp_path)
    assert [found[name] for name in names] == [
        "l0\nl1\n", "l2\nl3\n", "l4\nl5\n", "l6\nl7\n", "l8\n",
    ]  # fmt: skip
    file.close()


def test_without_old_ones_it_is_emptied(tmp_path: Path, clock: Clock) -> None:
    file = log_file(tmp_path / "a", clock, most_bytes=8, keep=0)
    for number in range(9):
        file.append(b"l%d\n" % number)
    assert texts(tmp_path) == {"a": "l8\n"}
    file.close()


def test_a_line_that_was_begun_is_ended_in_its_file(tmp_path: Path, clock: Clock) -> None:
    file = log_file(tmp_path / "a", clock, most_bytes=8)
    for part in (b"begin", b"ning of ", b"a line\nnext\n"):
        file.append(part)
    assert texts(tmp_path) == {"a": "next\n", "a.1": "beginning of a line\n"}
    file.close()


def test_an_endless_line_is_cut(tmp_path: Path, clock: Clock) -> None:
    file = log_file(tmp_path / "a", clock, most_bytes=100_000, keep=3)
    for _ in range(5):
        assert file.append(b"x" * 70_000) == 70_000
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes == {"a": 18_928, "a.1": 165_536, "a.2": 165_536}
    file.close()


def test_no_line_is_lost_or_cut_whatever_the_sizes(tmp_path: Path, clock: Clock) -> None:
    lines = b"".join(b"line %d\n" % number * (number % 3 + 1) for number in range(40))
    for most_bytes, chunk in itertools.product((1, 10, 64, 1000), (1, 7, 64, 5000)):
        place = tmp_path / f"{most_bytes}-{chunk}"
        place.mkdir()
        file = log_file(place / "a", clock, most_bytes=most_bytes, keep=100)
        for start in range(0, len(lines), chunk):
            file.append(lines[start : start + chunk])
        file.close()
        count = len(list(place.iterdir()))
        names = [*(f"a.{number}" for number in range(count - 1, 0, -1)), "a"]
        parts = [(place / name).read_bytes() for name in names]
        assert b"".join(parts) == lines
        assert all(part.endswith(b"\n") for part in parts)
        assert all(part[:-1].rfind(b"\n") < most_bytes for part in parts)


def test_it_follows_who_renames_or_removes(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "a"
    file = log_file(path, clock)
    file.append(b"one\n")
    path.rename(tmp_path / "moved")
    file.append(b"two\n")  # too soon to be noticed
    clock.now += LOOK_SECONDS
    file.append(b"three\n")
    path.unlink()
    clock.now += LOOK_SECONDS
    file.append(b"four\n")
    assert texts(tmp_path) == {"moved": "one\ntwo\n", "a": "four\n"}
    file.close()


def test_what_another_has_made_room_in_is_not_renamed_again(
    tmp_path: Path, clock: Clock
) -> None:
    one, two = (log_file(tmp_path / "a", clock, most_bytes=8) for _ in range(2))
    one.append(b"one\n")
    two.append(b"two\n")
    one.append(b"three\n")
    two.append(b"4\n")
    assert texts(tmp_path) == {"a": "three\n4\n", "a.1": "one\ntwo\n"}
    one.close()
    two.close()


@pytest.mark.parametrize("what", ["link", "directory", "fifo", "read fifo", "socket", "NUL"])
def test_nothing_but_a_file_is_written_to(
    tmp_path: Path, clock: Clock, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / ("a\0b" if what == "NUL" else "a")
    reader = -1
    other = socket.socket(socket.AF_UNIX)
    match what:
        case "link":
            path.symlink_to("elsewhere")
        case "directory":
            path.mkdir()
        case "socket":
            other.bind(str(path))
        case "fifo" | "read fifo":
            os.mkfifo(path)
            if what == "read fifo":
                reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        case _:
            pass
    file = log_file(path, clock)
    assert file.append(b"text") == file.append(b"text") == 0
    (said,) = complaints(caplog)
    assert said.startswith(f"log file {path}: ")
    assert not (tmp_path / "elsewhere").exists()
    other.close()
    if reader >= 0:
        os.close(reader)


def test_a_full_one_that_cannot_be_renamed_grows(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    file = log_file(tmp_path / "a", clock, most_bytes=4, keep=1)
    (tmp_path / "a.1").mkdir()
    for _ in range(3):
        assert file.append(b"one\n") == 4
    clock.now += RETRY_SECONDS
    assert file.append(b"two\n") == 4
    assert (tmp_path / "a").read_text() == "one\none\none\ntwo\n"
    assert len(complaints(caplog)) == 1
    (tmp_path / "a.1").rmdir()
    clock.now += RETRY_SECONDS
    assert file.append(b"new\n") == 4
    assert (tmp_path / "a").read_text() == "new\n"
    file.close()


@needs_root
def test_files_are_the_tenants_and_made_with_his_rights(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with tempfile.TemporaryDirectory() as name:
        outer = Path(name)
        outer.chmod(0o755)
        inner = outer / "inner"
        inner.mkdir(mode=0o700)
        os.chown(inner, TENANT.uid, TENANT.gid)
        refused = log_file(outer / "a", clock, owner=TENANT)
        assert refused.append(b"text") == 0
        assert "Permission denied" in complaints(caplog)[0]
        file = log_file(inner / "a", clock, most_bytes=4, keep=1, owner=TENANT)
        assert file.append(b"one\ntwo\n") == 8
        file.close()
        assert texts(inner) == {"a": "two\n", "a.1": "one\n"}
        assert {path.stat().st_uid for path in inner.iterdir()} == {TENANT.uid}
        (inner / "a").unlink()
        (inner / "a").touch(mode=0o600)  # of root
        assert file.append(b"text") == 0


# -- the thread that writes --------------------------------------------------------------------


def sink(path: Path, writer: Writer) -> FileSink:
    return FileSink(str(path), most_bytes=0, keep=1, owner=None, vassal="a", writer=writer)


def test_all_that_is_taken_is_written(tmp_path: Path, writer: Writer) -> None:
    sinks = [sink(tmp_path / str(number), writer) for number in range(5)]
    for number in range(1000):
        assert sinks[number % 5].write(b"%d\n" % number)
    for each in sinks:
        each.close()
        each.close()
        assert not each.write(b"late\n")
    assert writer.finish(PATIENCE_SECONDS)
    for number in range(5):
        wanted = "".join(f"{line}\n" for line in range(number, 1000, 5))
        assert (tmp_path / str(number)).read_text() == wanted
    assert not [name for name in os.listdir("/proc/self/fd") if _is_below(name, tmp_path)]


def _is_below(descriptor: str, directory: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(directory))
    except FileNotFoundError:
        return False


def test_a_writer_can_be_used_again(tmp_path: Path, writer: Writer) -> None:
    one = sink(tmp_path / "a", writer)
    one.write(b"one\n")
    assert writer.finish(PATIENCE_SECONDS)
    one.write(b"two\n")
    one.close()
    assert writer.finish(PATIENCE_SECONDS)
    assert texts(tmp_path) == {"a": "one\ntwo\n"}


class Slow(FileSink):
    """Holds the writer up until it is let go."""

    def __init__(self, path: Path, writer: Writer) -> None:
        super().__init__(str(path), most_bytes=0, keep=1, owner=None, writer=writer)
        self.busy = threading.Event()
        self.go = threading.Event()

    def put(self, data: bytes | None) -> None:
        self.busy.set()
        assert self.go.wait(PATIENCE_SECONDS)
        super().put(data)


def test_a_slow_disk_makes_nobody_wait_and_the_loss_is_told(
    tmp_path: Path, writer: Writer
) -> None:
    slow = Slow(tmp_path / "a", writer)
    chunk = b"x" * (MOST_QUEUED_BYTES // 4 - 1) + b"\n"
    assert slow.write(chunk)
    assert slow.busy.wait(PATIENCE_SECONDS)
    assert [slow.write(chunk) for _ in range(5)] == [True, True, True, False, False]
    assert not writer.finish(0.0)
    slow.go.set()
    assert writer.finish(PATIENCE_SECONDS)
    assert slow.write(b"after\n")
    slow.close()
    assert writer.finish(PATIENCE_SECONDS)
    lines = (tmp_path / "a").read_bytes().splitlines()
    said = f"[emperor] {2 * len(chunk)} bytes of output were dropped".encode()
    assert sorted(len(line) for line in lines if line[:1] == b"x") == [len(chunk) - 1] * 4
    assert lines.count(said) == 1
    assert lines[-1] == b"after"


def test_all_together_have_a_limit_too(tmp_path: Path) -> None:
    writer = Writer(most_bytes=10)
    slow, other = Slow(tmp_path / "a", writer), sink(tmp_path / "b", writer)
    assert slow.write(b"12345\n")
    assert not other.write(b"12345\n")
    assert other.write(b"123\n")
    slow.go.set()
    other.close()
    slow.close()
    assert writer.finish(PATIENCE_SECONDS)
    told = "[emperor] 6 bytes of output were dropped\n123\n"
    assert texts(tmp_path) == {"a": "12345\n", "b": told}


def test_what_could_not_be_written_is_told_later(
    tmp_path: Path, writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    one = sink(tmp_path / "later" / "a", writer)
    assert one.write(b"12345\n")
    assert writer.finish(PATIENCE_SECONDS)
    (tmp_path / "later").mkdir()
    one.write(b"after\n")
    one.close()
    assert writer.finish(PATIENCE_SECONDS)
    told = "[emperor] 6 bytes of output were dropped\nafter\n"
    assert texts(tmp_path / "later") == {"a": told}
    assert len(complaints(caplog)) == 1
    assert caplog.records[0].levelno == logging.WARNING


# -- the journal -------------------------------------------------------------------------------


HEADER = b"app.ini\n\n6\n1\n0\n0\n0\n"


class Journald:
    """Takes one connection after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.settimeout(PATIENCE_SECONDS)
        self._listener.bind(str(path))
        self._listener.listen(5)

    def accept(self) -> socket.socket:
        connection = self._listener.accept()[0]
        connection.settimeout(PATIENCE_SECONDS)
        return connection

    def close(self) -> None:
        self._listener.close()
        self.path.unlink()


def read(connection: socket.socket, wanted: bytes) -> bool:
    found = b""
    while len(found) < len(wanted) and (data := connection.recv(len(wanted) - len(found))):
        found += data
    return found == wanted


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    made = Journald(tmp_path / "stdout")
    yield made
    made.close()


def journal(path: Path, clock: Clock, identifier: str = "app.ini") -> JournalSink:
    return JournalSink(identifier, socket_path=str(path), clock=clock)


def test_the_journal_gets_a_header_and_lines(journald: Journald, clock: Clock) -> None:
    one = journal(journald.path, clock)
    assert one.write(b"one\n")
    assert one.write(b"<3>two\n")
    with journald.accept() as connection:
        assert read(connection, HEADER + b"one\n<3>two\n")
        one.close()
        one.close()
        assert connection.recv(1) == b""
    assert not one.write(b"late\n")


def test_an_identifier_is_one_line(journald: Journald, clock: Clock) -> None:
    one = journal(journald.path, clock, "a\nb\0\ud800")
    assert one.write(b"x\n")
    with journald.accept() as connection:
        assert read(connection, b"a_b_?\n\n6\n1\n0\n0\n0\nx\n")
    one.close()


def test_a_journald_that_does_not_read_makes_nobody_wait(
    journald: Journald, clock: Clock
) -> None:
    one = journal(journald.path, clock)
    chunk = (b"y" * 999 + b"\n") * 60
    count = 0
    while one.write(chunk):
        count += 1
        assert count < 100_000
    assert not one.write(b"lost\n")
    with journald.accept() as connection:
        taken = len(HEADER)
        connection.setblocking(False)
        try:
            while data := connection.recv(1 << 20):
                taken += len(data)
        except BlockingIOError:
            pass
        taken -= 2 * len(HEADER)
        missing = (count + 1) * len(chunk) - taken + len(b"lost\n")
        connection.settimeout(PATIENCE_SECONDS)
        assert one.write(b"after\n")
        told = b"[emperor] %d bytes of output were dropped\nafter\n" % missing
        assert read(connection, told if taken % 1000 == 0 else b"\n" + told)
        assert one.write(b"more\n")
        assert read(connection, b"more\n")
    one.close()


def test_a_new_journald_is_found_again(journald: Journald, clock: Clock) -> None:
    one = journal(journald.path, clock)
    assert one.write(b"one\n")
    journald.accept().close()
    clock.now += JOURNAL_RETRY_SECONDS
    assert one.write(b"two\n")  # at once: nothing is lost that was not on its way
    with journald.accept() as connection:
        assert read(connection, HEADER + b"two\n")
    one.close()


def test_without_journald_it_is_tried_once_a_second(tmp_path: Path, clock: Clock) -> None:
    one = journal(tmp_path / "stdout", clock)
    assert not one.write(b"12345\n")
    journald = Journald(tmp_path / "stdout")
    assert not one.write(b"12345\n")  # too soon
    clock.now += JOURNAL_RETRY_SECONDS
    assert one.write(b"after\n")
    with journald.accept() as connection:
        told = b"[emperor] 12 bytes of output were dropped\nafter\n"
        assert read(connection, HEADER + told)
    one.close()
    journald.close()
