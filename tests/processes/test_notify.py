"""Notify sockets: what is understood, who is heard, and that nobody can hold the loop up."""

import array
import asyncio
import logging
import os
import random
import signal
import socket
import stat
import struct
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.marks import needs_root

from emperor.runtime.programs.notify import (
    MOST_BYTES,
    MOST_EARLY,
    Notice,
    NotifySocket,
    parse,
    remove_directory,
    runtime_directory,
)
from emperor.runtime.tenants.privileges import Owner

pytestmark = pytest.mark.process


PATIENCE_SECONDS = 20.0

READY = Notice(is_ready=True)
TENANT = Owner(uid=20_001, gid=20_001)


class Court:
    """Hears one vassal, inside a running loop."""

    def __init__(self, directory: str, owner: Owner | None = None) -> None:
        self.heard: list[Notice] = []
        self.socket = NotifySocket(
            directory, owner=owner, on_word=self.heard.append, vassal="app.ini"
        )

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_so():  # noqa: ASYNC110 - nothing tells of what is refused
                await asyncio.sleep(0.002)


class Children:
    """Processes that the test forks, each in a session of its own unless it is said."""

    def __init__(self) -> None:
        self.pids: set[int] = set()

    def start(
        self, work: Callable[[], None], *, uid: int | None = None, has_session: bool = True
    ) -> int:
        """Have it done in a child; gives its pid once it has its session and its user."""
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            _be_a_child(work, tell, uid, has_session=has_session)
        os.close(tell)
        self.pids.add(pid)
        assert os.read(told, 1) == b"."
        os.close(told)
        return pid

    def wait(self, pid: int) -> int:
        self.pids.discard(pid)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def kill(self) -> None:
        for pid in tuple(self.pids):
            os.kill(pid, signal.SIGKILL)
            self.wait(pid)


def _be_a_child(
    work: Callable[[], None], tell: int, uid: int | None, *, has_session: bool
) -> None:
    status = 70
    try:
        if has_session:
            os.setsid()
        if uid is not None:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        os.write(tell, b".")
        work()
        status = 0
    except PermissionError:
        status = 13
    finally:
        os._exit(status)


@pytest.fixture
def children() -> Iterator[Children]:
    started = Children()
    yield started
    started.kill()


@pytest.fixture
def directory() -> Iterator[str]:
    made = runtime_directory()
    yield made
    remove_directory(made)
    assert not os.path.exists(made)


def send(path: str, *messages: bytes, descriptors: tuple[int, ...] = ()) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MOST_BYTES)
        rights = array.array("i", descriptors)
        for message in messages:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
            sender.sendmsg([message], ancillary, 0, path)


def sender(path: str, *messages: bytes) -> Callable[[], None]:
    """Sends, and stays until it is killed."""

    def work() -> None:
        send(path, *messages)
        signal.pause()

    return work


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def test_messages() -> None:
    assert parse(b"READY=1") == parse(b"\nREADY=1\nMAINPID=7\n") == READY
    assert parse(b"STOPPING=1\nSTATUS=going") == Notice(is_stopping=True, status="going")
    assert parse(b"WATCHDOG=1") == Notice(is_watchdog=True)
    assert parse(b"RELOADING=1\nMONOTONIC_USEC=5") == Notice(is_reloading=True)
    for nothing in (b"", b"\n", b"READY=0", b"READY=11", b"XREADY=1", b"WATCHDOG=trigger"):
        assert parse(nothing) == Notice()


def test_a_status_is_one_printable_line() -> None:
    assert parse(b"STATUS=").status == ""
    assert parse(b"STATUS=a\nSTATUS=b").status == "b"
    assert parse(b"STATUS=\x1b[31mred\x00\xff\xe2\x80\xae").status == "[31mred \ufffd"
    assert parse(b"STATUS=" + "é".encode() * 70_000).status == "é" * 200


def test_any_bytes_are_a_message() -> None:
    chance = random.Random(4)
    for _ in range(500):
        words = [chance.choice((b"READY=", b"STATUS=", b"1", b"\n", chance.randbytes(5)))]
        parse(b"".join(words * chance.randrange(5)) + chance.randbytes(chance.randrange(40)))


def test_the_directory_may_be_passed_and_not_listed(directory: str) -> None:
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o711
    Path(directory, "left-over").touch()


def test_the_vassal_and_its_children_are_heard(directory: str, children: Children) -> None:
    async def main() -> None:
        court = Court(directory)

        def work() -> None:
            if os.fork() == 0:
                send(court.socket.path, b"STATUS=child")
                os._exit(0)
            os.wait()
            sender(court.socket.path, b"READY=1")()

        court.socket.set_leader(children.start(work))
        await court.until(lambda: READY in court.heard)
        assert Notice(status="child") in court.heard
        assert court.socket.refused == 0
        court.socket.close()

    run(main())


def test_others_are_refused_and_that_is_said_once(
    directory: str, children: Children, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        court = Court(directory)
        leader = children.start(signal.pause)
        court.socket.set_leader(leader)
        stranger = children.start(sender(court.socket.path, b"READY=1", b"STATUS=me"))
        await court.until(lambda: court.socket.refused == 2)
        assert court.heard == []
        (record,) = [r for r in caplog.records if r.name == "emperor.notify"]
        assert f"process {stranger} of user {os.geteuid()} is refused" in record.message
        assert record.__dict__["vassal"] == "app.ini"
        court.socket.close()

    with caplog.at_level(logging.WARNING, "emperor.notify"):
        run(main())


def test_who_is_gone_is_judged_by_his_user(directory: str, children: Children) -> None:
    async def main() -> None:
        court = Court(directory)
        court.socket.set_leader(children.start(signal.pause))
        short = children.start(lambda: send(court.socket.path, b"READY=1"))
        assert children.wait(short) == 0  # before the loop has turned
        await court.until(lambda: court.heard == [READY])
        court.socket.close()

    run(main())


def test_what_comes_too_early_is_judged_later(directory: str, children: Children) -> None:
    async def main() -> None:
        court = Court(directory)
        stranger = children.start(sender(court.socket.path, b"STATUS=no"))
        await court.until(lambda: len(court.socket._early) == 1)
        messages = [b"STATUS=%d" % number for number in range(MOST_EARLY)]
        leader = children.start(sender(court.socket.path, *messages))
        await court.until(lambda: court.socket.refused == 1)
        assert court.heard == []
        court.socket.set_leader(leader)
        texts = [str(number) for number in range(MOST_EARLY - 1)]
        assert [notice.status for notice in court.heard] == texts
        assert court.socket.refused == 2
        assert stranger != leader
        court.socket.close()

    run(main())


def test_a_flood_lets_the_loop_turn(directory: str, children: Children) -> None:
    async def main() -> None:
        court = Court(directory)
        loop = asyncio.get_running_loop()
        most = last = 0

        def tick() -> None:
            nonlocal most, last
            most = max(most, len(court.heard) - last)
            last = len(court.heard)
            if READY not in court.heard:
                loop.call_soon(tick)

        tick()
        flood = [b"WATCHDOG=1"] * 3000
        court.socket.set_leader(children.start(sender(court.socket.path, *flood, b"READY=1")))
        await court.until(lambda: READY in court.heard)
        assert len(court.heard) == 3001
        assert most <= 64
        court.socket.close()

    run(main())


def test_sizes_and_garbage(directory: str, children: Children) -> None:
    async def main() -> None:
        court = Court(directory)
        longest = b"READY=1\n".ljust(MOST_BYTES, b"x")
        messages = (b"", b"\xff\x00\n\n=", longest, longest + b"x", b"STOPPING=1")
        court.socket.set_leader(children.start(sender(court.socket.path, *messages)))
        await court.until(lambda: Notice(is_stopping=True) in court.heard)
        assert court.heard == [READY, Notice(is_stopping=True)]
        assert court.socket.refused == 1
        court.socket.close()

    run(main())


def test_descriptors_are_closed(directory: str, children: Children) -> None:
    async def main() -> None:
        court = Court(directory)
        before = len(os.listdir("/proc/self/fd"))

        def work() -> None:
            # an ordinary user may have as many on the way as it may have open
            store = [b"FDSTORE=1\nFDNAME=x"] * 3
            send(court.socket.path, *store, descriptors=tuple([0] * 200))
            heard, ours = os.pipe()
            send(court.socket.path, b"BARRIER=1", descriptors=(ours,))
            os.close(ours)
            assert os.read(heard, 1) == b""  # the answer
            sender(court.socket.path, b"READY=1")()

        court.socket.set_leader(children.start(work))
        await court.until(lambda: READY in court.heard)
        assert court.heard == [READY]
        assert len(os.listdir("/proc/self/fd")) == before
        court.socket.close()

    run(main())


def lingering(path: str, port: int) -> None:
    """Send a connection along whose last close lasts as long as its peer does not read."""
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.setblocking(False)
        try:
            while True:
                slow.send(bytes(65_536))
        except BlockingIOError:
            pass
        linger = struct.pack("ii", 1, 600)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        send(path, b"READY=1", descriptors=(slow.fileno(),))


def test_a_descriptor_that_takes_long_to_close_holds_up_its_sender_alone(
    directory: str, children: Children
) -> None:
    async def main() -> None:
        court, other = Court(directory), Court(directory)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            told, tell = os.pipe()

            def work() -> None:
                lingering(court.socket.path, port)
                os.write(tell, b".")
                send(court.socket.path, b"STOPPING=1")
                sender(other.socket.path, b"READY=1")()

            leader = children.start(work)
            assert os.read(told, 1) == b"."  # before the loop turns: ours is the last close
            os.close(told)
            os.close(tell)
            court.socket.set_leader(leader)
            other.socket.set_leader(leader)
            peer, _ = server.accept()
            with peer:
                await other.until(lambda: other.heard == [READY])
                assert court.heard == [READY]
        await court.until(lambda: court.heard == [READY, Notice(is_stopping=True)])
        court.socket.close()
        other.socket.close()

    run(main())


def test_closing_does_not_wait_for_what_is_unread(directory: str, children: Children) -> None:
    async def main() -> None:
        court = Court(directory)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            child = children.start(lambda: lingering(court.socket.path, port))
            peer, _ = server.accept()
            with peer:
                assert children.wait(child) == 0
                started = time.monotonic()
                court.socket.close()
                assert time.monotonic() - started < PATIENCE_SECONDS
        assert court.heard == []

    run(main())


def test_it_may_be_closed_by_who_hears(directory: str, children: Children) -> None:
    async def main() -> None:
        court = Court(directory)
        path = court.socket.path
        court.socket._on_word = lambda notice: court.socket.close()
        court.socket.set_leader(children.start(sender(path, b"READY=1", b"READY=1")))
        await court.until(lambda: not os.path.exists(path))
        court.socket.close()
        assert os.listdir(directory) == []

    run(main())


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            NotifySocket(str(tmp_path / "no"), owner=None, on_word=lambda notice: None)

    run(main())


@needs_root
def test_a_tenant_is_heard_and_no_other_can_send(directory: str, children: Children) -> None:
    async def main() -> None:
        court = Court(directory, TENANT)
        path = court.socket.path
        status = os.stat(path)
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (TENANT.uid, 0o600)
        other = children.start(lambda: send(path, b"READY=1"), uid=20_002)
        assert children.wait(other) == 13
        court.socket.set_leader(children.start(sender(path, b"READY=1"), uid=TENANT.uid))
        await court.until(lambda: court.heard == [READY])
        court.socket.close()

    run(main())


@needs_root
def test_of_those_that_are_gone_the_tenant_alone_is_heard(
    directory: str, children: Children
) -> None:
    async def main() -> None:
        court = Court(directory, TENANT)
        path = court.socket.path
        os.chmod(path, 0o666)
        court.socket.set_leader(children.start(signal.pause, uid=TENANT.uid))
        for uid, status in ((20_002, b"STATUS=2"), (0, b"STATUS=0"), (20_001, b"STATUS=1")):

            def work(status: bytes = status) -> None:
                send(path, status)

            assert children.wait(children.start(work, uid=uid)) == 0
        await court.until(lambda: court.heard == [Notice(status="1")])
        assert court.socket.refused == 2
        court.socket.close()

    run(main())


@needs_root
def test_without_an_owner_a_program_may_have_become_anybody(
    directory: str, children: Children
) -> None:
    async def main() -> None:
        court = Court(directory)
        work = sender(court.socket.path, b"READY=1")
        court.socket.set_leader(children.start(work, uid=20_003))
        await court.until(lambda: court.heard == [READY])
        court.socket.close()

    run(main())


@needs_root
def test_an_emperor_that_cannot_give_files_away(children: Children) -> None:
    with tempfile.TemporaryDirectory() as outer:
        os.chmod(outer, 0o711)
        inner = os.path.join(outer, "inner")
        os.mkdir(inner)
        os.chown(inner, 20_004, 20_004)

        async def main() -> None:
            court = Court(inner, TENANT)
            mode = stat.S_IMODE(os.stat(court.socket.path).st_mode)
            court.socket.close()
            assert mode == 0o666
            assert os.listdir(inner) == []

        child = children.start(lambda: run(main()), uid=20_004)
        assert children.wait(child) == 0
