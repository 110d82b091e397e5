"""The control socket itself: who is let in, who costs nothing, and what is left behind."""

import asyncio
import contextlib
import errno
import itertools
import json
import os
import resource
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.support.control_court import (
    DEADLINE_SECONDS,
    READY,
    RELOADING,
    Client,
    MemoryCourt,
    outcomes,
    served,
    view,
)
from tests.support.guardian_court import no_descriptor_leaks

from emperor.runtime.control import server as servers
from emperor.runtime.control.listener import listen_at, open_listener
from emperor.runtime.control.protocol import MOST_REQUEST_BYTES
from emperor.runtime.control.server import ControlServer
from emperor.runtime.views import Verb

pytestmark = pytest.mark.process

Scenario = Callable[[MemoryCourt, Path], Awaitable[None]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control"


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that every user can pass, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o711)
        yield Path(directory)


def play(path: Path, scenario: Scenario, *names: str) -> None:
    """Run a scenario against a served court of these vassals; nothing is left of it."""

    async def run() -> None:
        court = MemoryCourt([view(name) for name in names or ("a.ini", "b.ini")])
        async with served(court, path):
            await scenario(court, path)
        assert court.listeners == 0

    with no_descriptor_leaks():
        asyncio.run(run())
    assert not path.exists()


def busy(court: MemoryCourt) -> None:
    """Let whoever is told something reload until further notice."""
    court.on_command = lambda key, verb: court.change(key[1], **RELOADING)


# -- the file ------------------------------------------------------------------------------


def test_the_socket_is_its_owners_alone_from_the_first_moment(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        listener = listen_at(str(tmp_path / "run" / "control"))
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    with contextlib.closing(listener):
        assert stat.S_IMODE(os.stat(listener.address.name).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(tmp_path / "run").st_mode) == 0o700
        assert not os.get_inheritable(listener.socket.fileno())
    assert os.listdir(tmp_path / "run") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_socket_belongs_to_whom_the_daemon_becomes(tmp_path: Path) -> None:
    listener = listen_at(str(tmp_path / "run" / "control"), uid=1234, gid=2345)
    with contextlib.closing(listener):
        for there in (tmp_path / "run", tmp_path / "run" / "control"):
            assert (there.stat().st_uid, there.stat().st_gid) == (1234, 2345)
    existing = listen_at(str(tmp_path / "control"), uid=1234)
    with contextlib.closing(existing):
        assert tmp_path.stat().st_uid == os.getuid()


def test_what_a_dead_daemon_left_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listen_at(str(path)).close()
    assert not path.exists()


def test_a_living_daemon_keeps_its_socket(path: Path) -> None:
    with contextlib.closing(listen_at(str(path))) as listener:
        with pytest.raises(OSError, match="listens there"):
            listen_at(str(path))
        assert listener.file == (str(path), os.stat(path).st_dev, os.stat(path).st_ino)


def test_what_is_no_socket_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(OSError, match="no socket") as caught:
        listen_at(str(path))
    assert caught.value.errno == errno.EEXIST
    assert path.read_text() == "precious"


@pytest.mark.parametrize("name", ["x" * 200, "no/such/directory/control"])
def test_a_place_that_cannot_be_is_said_by_name(tmp_path: Path, name: str) -> None:
    with no_descriptor_leaks(), pytest.raises(OSError, match=name[:16]):
        listen_at(str(tmp_path / name))


def test_a_successors_socket_is_not_removed(path: Path) -> None:
    first = listen_at(str(path))
    path.unlink()
    second = listen_at(str(path))
    first.close()
    assert path.exists()
    second.close()
    assert not path.exists()


def test_the_option_names_a_place_or_none(tmp_path: Path) -> None:
    assert open_listener("none", environ={"RUNTIME_DIRECTORY": str(tmp_path)}) is None
    listener = open_listener(str(tmp_path / "x"), environ={})
    assert listener is not None
    with contextlib.closing(listener):
        assert listener.address.name == str(tmp_path / "x")
        with pytest.raises(OSError, match="listens there"):
            open_listener(str(tmp_path / "x"), environ={})


def test_without_a_word_the_default_place_is_tried(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environ = {"RUNTIME_DIRECTORY": str(tmp_path)}
    listener = open_listener(None, environ=environ)
    assert listener is not None
    with contextlib.closing(listener), caplog.at_level("INFO", "emperor.control"):
        assert listener.address.name == str(tmp_path / "control")
        assert open_listener(None, environ=environ) is None  # two Emperors, one place
    assert "no control socket: cannot listen on" in caplog.text
    assert "listens there" in caplog.text


# -- who is let in -------------------------------------------------------------------------

ASK_AS = """
import json, os, socket, sys
path, uid = sys.argv[1], int(sys.argv[2])
channel = socket.socket(socket.AF_UNIX)
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
channel.connect(path)
try:
    channel.sendall(b'{"version":1,"verb":"stop","all":true}\\n')
except OSError:
    pass
channel.settimeout(30)
sys.stdout.write(channel.makefile().readline())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become others")
def test_other_users_are_turned_away_with_a_word(open_place: Path) -> None:
    async def scenario(court: MemoryCourt, path: Path) -> None:
        os.chmod(path, 0o666)  # as if the mode were not enough
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", ASK_AS, str(path), "1234"),
            stdout=subprocess.PIPE,
        )
        async with asyncio.timeout(DEADLINE_SECONDS):
            out, _ = await process.communicate()
        answer = json.loads(out)
        assert answer["kind"] == "error"
        assert "user 1234" in answer["error"]
        assert court.told == []

    play(open_place / "control", scenario)


DAEMON = """
import asyncio, os, sys
from tests.support.control_court import MemoryCourt, view
from emperor.runtime.control.listener import listen_at
from emperor.runtime.control.server import ControlServer

async def main():
    listener = listen_at(sys.argv[1], uid=1234, gid=1234)
    os.setgroups([])
    os.setresgid(1234, 1234, 1234)
    os.setresuid(1234, 1234, 1234)
    loop = asyncio.get_running_loop()
    server = ControlServer(listener=listener, court=MemoryCourt([view("a.ini")]))
    print("ready", flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    server.close()

asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become others")
def test_a_daemon_that_gave_up_its_rights_serves_root_and_its_own_user(
    open_place: Path,
) -> None:
    path = open_place / "run" / "control"
    daemon = subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(path)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with daemon:
        assert daemon.stdout is not None
        assert daemon.stdin is not None
        assert daemon.stdout.readline() == b"ready\n"
        for uid in (1234, 0):
            said = subprocess.run(
                [sys.executable, "-I", "-S", "-c", ASK_AS, str(path), str(uid)],
                stdout=subprocess.PIPE,
                timeout=DEADLINE_SECONDS,
                check=True,
            )
            assert json.loads(said.stdout)["outcome"] == "asked"
        daemon.stdin.close()
        assert daemon.wait(DEADLINE_SECONDS) == 0
    assert not path.exists()  # the directory is the lesser user's, too


# -- talking -------------------------------------------------------------------------------


def test_requests_are_answered_one_after_the_other(path: Path) -> None:
    async def scenario(court: MemoryCourt, path: Path) -> None:
        with Client(path) as client:
            assert outcomes(await client.ask(verb="status")) == [
                ("a.ini", "well"),
                ("b.ini", "well"),
            ]
            look = b'{"version":1,"verb":"status","names":["%s.ini"]}\n'
            await client.say(look % b"a" + b"\n" + look % b"b" + b"nonsense\n" + look % b"a")
            assert outcomes(await client.answer()) == [("a.ini", "well")]
            assert outcomes(await client.answer()) == [("b.ini", "well")]
            assert (await client.line())["kind"] == "error"
            assert outcomes(await client.answer()) == [("a.ini", "well")]

    play(path, scenario)


def test_a_name_that_is_not_utf8_survives_both_ways(path: Path) -> None:
    async def scenario(court: MemoryCourt, path: Path) -> None:
        with Client(path) as client:
            lines = await client.ask(verb="stop", names=["\udcff\N{SNOWMAN}.ini"])
            assert outcomes(lines) == [("\udcff\N{SNOWMAN}.ini", "asked")]
            assert lines[0]["vassal"]["id"] == "\udcff\N{SNOWMAN}.ini"

    play(path, scenario, "\udcff\N{SNOWMAN}.ini")


def test_a_request_may_come_byte_by_byte_and_end_with_the_line(path: Path) -> None:
    async def scenario(court: MemoryCourt, path: Path) -> None:
        with Client(path) as client:
            for byte in b'{"version":1,"verb":"stop","names":["a.ini"],"wait":true}':
                await client.say(bytes((byte,)))
            court.on_command = lambda key, verb: court.change(
                key[1], state="stopping", is_settled=False
            )
            client.channel.shutdown(socket.SHUT_WR)  # and it listens still
            await court.until_told(("a.ini", Verb.STOP))
            court.change("a.ini", state="parked", is_settled=True)
            assert outcomes(await client.answer()) == [("a.ini", "stopped")]
            assert await client.line() is None

    play(path, scenario)


@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_a_request_has_a_greatest_length(path: Path, ending: bytes) -> None:
    async def scenario(court: MemoryCourt, path: Path) -> None:
        with Client(path) as client:
            with contextlib.suppress(ConnectionError):
                await client.say(b"x" * (MOST_REQUEST_BYTES + 1) + ending)
            assert "at most 1,048,576 bytes" in (await client.line())["error"]
            with contextlib.suppress(ConnectionError):
                assert await client.line() is None
        with Client(path) as client:
            names = ["x" * 1000] * 1000
            assert len(await client.ask(verb="status", names=names)) == 2

    play(path, scenario)


def test_the_end_of_the_daemon_answers_what_can_be_answered(path: Path) -> None:
    names = [f"{number}.ini" for number in range(300)]

    async def scenario() -> None:
        court = MemoryCourt([view(name) for name in names])
        busy(court)
        with contextlib.ExitStack() as stack:
            async with served(court, path):
                stopping = stack.enter_context(Client(path))
                reloading = stack.enter_context(Client(path))
                await stopping.say({"version": 1, "verb": "stop", "all": True, "wait": True})
                await court.until(lambda: len(court.told) == 300)
                await reloading.say({"version": 1, "verb": "status", "wait": True})
                await court.until(lambda: court.listeners == 1)
                for name in names[1:]:
                    court.remove(name)
            for _ in names[1:]:
                assert (await stopping.line())["outcome"] == "stopped"
            assert await stopping.line() is None  # no end: the first one was not settled

    with no_descriptor_leaks():
        asyncio.run(scenario())


# -- who costs nothing ---------------------------------------------------------------------


def test_a_client_that_leaves_ends_its_wait(path: Path) -> None:
    async def scenario(court: MemoryCourt, path: Path) -> None:
        busy(court)
        with Client(path) as client:
            await client.say({"version": 1, "verb": "reload", "all": True, "wait": True})
            await court.until(lambda: court.listeners == 1)
        await court.until(lambda: court.listeners == 0)
        assert len(court.told) == 2

    play(path, scenario)


def test_a_command_is_done_though_nobody_waits_for_the_answer(path: Path) -> None:
    async def scenario(court: MemoryCourt, path: Path) -> None:
        with Client(path) as client:
            await client.say({"version": 1, "verb": "retry", "all": True})
        await court.until_told(("a.ini", Verb.RETRY), ("b.ini", Verb.RETRY))

    play(path, scenario)


def test_a_client_that_does_not_read_holds_nobody_up(path: Path) -> None:
    names = [f"{number}.ini" for number in range(2_000)]

    async def scenario(court: MemoryCourt, path: Path) -> None:
        with Client(path) as deaf, Client(path) as client:
            await deaf.say(b'{"version":1,"verb":"status"}\n' * 3)
            for _ in range(3):
                assert len(await client.ask(verb="status", names=["7.ini"])) == 2
            for _ in range(3):  # and it gets all of it when it reads
                assert outcomes(await deaf.answer()) == [(name, "well") for name in names]

    play(path, scenario, *names)


def test_errors_are_not_piled_up_for_a_client_that_does_not_read(path: Path) -> None:
    async def scenario(court: MemoryCourt, path: Path) -> None:
        with Client(path) as deaf, pytest.raises(ConnectionError):
            # far more than both sides' buffers take: it ends by being cut off
            await deaf.say(b"x\n" * 4_000_000)
        with Client(path) as client:
            assert len(await client.ask(verb="status")) == 3

    play(path, scenario)


def test_the_client_that_is_idle_for_longest_makes_room(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "MOST_IDLE", 3)

    async def scenario(court: MemoryCourt, path: Path) -> None:
        busy(court)
        with contextlib.ExitStack() as stack:
            waiting, *silent = [stack.enter_context(Client(path)) for _ in range(4)]
            await waiting.say(
                {"version": 1, "verb": "reload", "names": ["a.ini"], "wait": True}
            )
            await court.until(lambda: court.listeners == 1)
            for client in (silent[1], silent[0], silent[2]):
                await client.ask(verb="status")
            newcomer = stack.enter_context(Client(path))
            assert len(await newcomer.ask(verb="status")) == 3
            assert await silent[1].line() is None
            for client in (silent[0], silent[2], newcomer):
                assert len(await client.ask(verb="status")) == 3
            court.change("a.ini", **READY)
            assert outcomes(await waiting.answer()) == [("a.ini", "well")]

    play(path, scenario)


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Every further descriptor is refused by the system."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fillers: list[int] = []
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                fillers.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            os.close(filler)


def test_without_descriptors_nobody_is_let_in_for_a_while(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_PAUSE_SECONDS", 0.05)
    attempts: asyncio.Queue[float] = asyncio.Queue()

    class Attentive(ControlServer):
        def _accept(self) -> None:
            attempts.put_nowait(asyncio.get_running_loop().time())
            super()._accept()

    async def scenario() -> None:
        listener = listen_at(str(path))
        with Client(path) as client:
            server = Attentive(listener=listener, court=MemoryCourt([view("a.ini")]))
            async with asyncio.timeout(DEADLINE_SECONDS):
                with no_descriptor_left():
                    times = [await attempts.get() for _ in range(3)]
                assert len(await client.ask(verb="status")) == 2
            assert all(b - a > 0.04 for a, b in itertools.pairwise(times))
            server.close()

    with no_descriptor_leaks():
        asyncio.run(scenario())


def test_at_the_limit_of_descriptors_an_idle_client_makes_room(path: Path) -> None:
    async def scenario(court: MemoryCourt, path: Path) -> None:
        with Client(path) as idle:
            await idle.ask(verb="status")
            with Client(path) as newcomer:
                with no_descriptor_left():
                    assert len(await newcomer.ask(verb="status")) == 3
                assert await idle.line() is None

    play(path, scenario)
