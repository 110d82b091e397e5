"""The compile server and its workers, as processes: they work, die, lie and dawdle."""

import asyncio
import contextlib
import os
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
from tests.e2e.daemon import eventually, state_of

from emperor.compiler.vassal import Templates
from emperor.runtime.compiling import crew
from emperor.runtime.compiling.client import CompileServer
from emperor.runtime.compiling.start import Started, start_server
from emperor.runtime.compiling.wire import MOST_BYTES, encode
from emperor.runtime.launch import CompileAnswer

pytestmark = pytest.mark.process

_SECONDS = 20.0

TARGET: dict[str, object] = {
    "version": "2.0.31",
    "path": "/usr/bin/uwsgi",
    "built_in": [],
    "loadable": [],
    "reads_json": "yajl",
    "interpreter": None,
}

#: A server whose first worker answers with what is in a file, and the others as they should.
LIAR = """
import os, sys
from emperor.runtime.compiling import server, wire

honest, path = server.serve, sys.argv.pop()

def serve(channel, job):
    if not os.path.exists(path):
        return honest(channel, job)
    with open(path, "rb") as file:
        garbage = file.read()
    os.unlink(path)
    wire.receive(channel)
    channel.sendall(garbage)
    if garbage:
        channel.recv(1)

server.serve = serve
server.main()
"""


@dataclass
class Office:
    """A compile server, the vassals that it compiles, and what it complained of."""

    server: CompileServer
    directory: Path
    troubles: list[str] = field(default_factory=list)
    trouble: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, name: str, *lines: str) -> None:
        (self.directory / name).write_text("\n".join(("[uwsgi]", *lines, "")))

    def ask(self, name: str) -> asyncio.Future[CompileAnswer]:
        """The answer to come for one vassal."""
        answer: asyncio.Future[CompileAnswer] = asyncio.get_running_loop().create_future()
        request = {"name": name, "directory": str(self.directory), "monitor": "m"}
        self.server.compile({**request, "section": None}, answer.set_result)
        return answer

    async def compile(self, name: str) -> CompileAnswer:
        return await asyncio.wait_for(self.ask(name), _SECONDS)

    async def text(self, name: str) -> str:
        """What a vassal would be given."""
        answer = await self.compile(name)
        assert answer.spec is not None, answer
        return b"".join(answer.spec.delivered).decode()

    def complain(self, text: str) -> None:
        self.troubles.append(text)
        self.trouble.set()


@contextlib.asynccontextmanager
async def office(
    directory: Path, *, workers: int = 1, start: Callable[[], Started] = start_server
) -> AsyncIterator[Office]:
    """An open office; nobody is left in it afterwards."""
    place: list[Office] = []
    server = CompileServer(
        server=start(), workers=workers, on_trouble=lambda text: place[0].complain(text)
    )
    place.append(Office(server, directory))
    server.settings(
        {
            "templates": asdict(Templates(set=("from-template=yes",))),
            "environment": {"HOME": "/root"},
            "target": TARGET,
            "cwd": "/",
        }
    )
    try:
        yield place[0]
    finally:
        await asyncio.wait_for(server.close(), _SECONDS)
        with pytest.raises(ProcessLookupError):
            os.kill(server.pid, 0)


def run(work: Coroutine[object, object, None]) -> None:
    async def bounded(task: Awaitable[None]) -> None:
        await asyncio.wait_for(task, 2 * _SECONDS)

    asyncio.run(bounded(work))


def test_it_compiles_what_it_is_asked(tmp_path: Path) -> None:
    async def work() -> None:
        async with office(tmp_path, workers=2) as place:
            for number in range(12):
                place.put(f"v{number}.ini", f"greeting = %n {number}", "x = @(/missing)")
            (tmp_path / "broken.ini").write_text("[uwsgi]\nini = missing.ini\n")
            for number in range(0, 12, 2):
                place.put(f"v{number}.ini", f"greeting = %n {number}", "y = %(from-template)")
            answers = await asyncio.gather(*(place.ask(f"v{n}.ini") for n in range(12)))
            for number, answer in enumerate(answers):
                if number % 2:
                    assert answer.spec is None
                    assert "/missing" in answer.diagnostics[0]
                else:
                    assert answer.spec is not None
                    text = answer.spec.delivered[0]
                    assert b"greeting = v%d %d\ny = yes" % (number, number) in text
                    assert answer.spec.cwd == str(tmp_path)
            broken = await place.compile("broken.ini")
            looked = dict(broken.dependencies)
            assert looked[f"{tmp_path}/missing.ini"] is None
            stamp = os.stat(tmp_path / "broken.ini")
            assert looked[f"{tmp_path}/broken.ini"] == (
                stamp.st_mtime_ns,
                stamp.st_size,
                stamp.st_ino,
            )
            assert place.troubles == []

    run(work())


def test_a_worker_is_killed_while_it_is_busy(tmp_path: Path) -> None:
    async def work() -> None:
        async with office(tmp_path) as place:
            place.put("suicide.ini", "x = @(exec://kill -9 $PPID; sleep 10)")
            place.put("a.ini", "x = a")
            asked = [place.ask(name) for name in ("suicide.ini", "a.ini", "a.ini")]
            first, *others = await asyncio.gather(*asked)
            assert first.spec is None
            assert first.diagnostics == ("error: the compile worker died",)
            assert all(answer.spec is not None for answer in others)
            assert place.troubles == ["a compile worker died: starting another"]

    run(work())


def test_the_server_is_killed_while_a_worker_is_busy(tmp_path: Path) -> None:
    async def work() -> None:
        async with office(tmp_path) as place:
            mark, gate = tmp_path / "mark", tmp_path / "gate"
            os.mkfifo(gate)
            place.put("slow.ini", f"x = @(exec://echo $$ > {mark}; exec cat {gate})")
            answer = place.ask("slow.ini")
            orphan = await asyncio.to_thread(noted_pid, mark)
            os.kill(place.server.pid, signal.SIGKILL)
            await asyncio.wait_for(place.trouble.wait(), _SECONDS)
            os.kill(orphan, signal.SIGKILL)  # as the daemon, being a subreaper, would
            mark.unlink(missing_ok=True)
            await asyncio.to_thread(noted_pid, mark)  # asked again, of the next server's worker
            await asyncio.to_thread(gate.write_text, "done")
            found = (await asyncio.wait_for(answer, _SECONDS)).spec
            assert found is not None
            assert b"x = done" in found.delivered[0]
            assert place.troubles == ["the compile server is gone: starting another"]
            place.put("a.ini", "x = %(from-template)")  # the settings are known again
            assert "x = yes" in await place.text("a.ini")

    run(work())


def noted_pid(path: Path) -> int:
    """The pid that a command writes down when it runs."""
    eventually(lambda: path.exists() and path.read_text().endswith("\n"), _SECONDS)
    return int(path.read_text())


def frame(body: bytes) -> bytes:
    return struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("garbage", "is_blamed"),
    [
        (b"", "died"),
        (b"\xff" * 64, "gives answers that are none"),
        (frame(b"{"), "gives answers that are none"),
        (frame(b"[" * 100_000), "gives answers that are none"),
        (frame(b"[1]"), "gives answers that are none"),
        (encode({"id": 999}), "answers what nobody asked"),
        (encode({}), "answers what nobody asked"),
        (encode({"id": 1}), None),
        (encode({"id": 1, "spec": {}, "diagnostics": [], "dependencies": []}), None),
    ],
    ids=[
        "hangs up",
        "noise",
        "half a message",
        "too deep",
        "no object",
        "another number",
        "no number",
        "no answer",
        "a spec that is none",
    ],
)
def test_a_worker_that_lies_is_replaced(
    tmp_path: Path, garbage: bytes, is_blamed: str | None
) -> None:
    lie = tmp_path / "lie"
    lie.write_bytes(garbage)

    async def work() -> None:
        async with office(tmp_path, start=lambda: start_liar(lie)) as place:
            place.put("a.ini", "x = a")
            place.put("b.ini", "x = b")
            asked = place.ask("a.ini"), place.ask("b.ini")
            first = await asyncio.wait_for(asked[0], _SECONDS)
            assert first.spec is None
            if is_blamed is None:  # a lie about one vassal: the worker is kept
                assert "an answer that is none" in first.diagnostics[0]
                return
            second = await asyncio.wait_for(asked[1], _SECONDS)
            assert first.diagnostics == (f"error: the compile worker {is_blamed}",)
            assert second.spec is not None
            assert len(place.troubles) == 1
            assert "x = a" in await place.text("a.ini")

    run(work())


def start_liar(lie: Path) -> Started:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-c", LIAR, "3", str(lie)],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 3)],
            setsid=True,
        )
    return Started(pid, ours)


def test_an_endless_command_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "REQUEST_SECONDS", 1.0)

    async def work() -> None:
        async with office(tmp_path) as place:
            place.put("endless.ini", f"x = @(exec://echo $$ > {tmp_path}/pid; exec sleep 1000)")
            place.put("loud.ini", "x = @(exec://yes)")
            place.put("a.ini", "x = a")
            asked = [place.ask(name) for name in ("endless.ini", "loud.ini", "a.ini")]
            endless, loud, honest = await asyncio.gather(*asked)
            assert endless.diagnostics == (
                "error: the compile worker took longer than 1 seconds",
            )
            assert loud.spec is None
            assert "prints more than" in loud.diagnostics[0]
            assert honest.spec is not None
            pid = noted_pid(tmp_path / "pid")
            await asyncio.to_thread(eventually, lambda: state_of(pid) == "", _SECONDS)

    run(work())


def test_an_answer_that_is_too_long_is_an_error_of_its_vassal(tmp_path: Path) -> None:
    async def work() -> None:
        async with office(tmp_path) as place:
            lines = [f"x{n} = {'y' * 60_000}" for n in range(MOST_BYTES // 60_000 + 1)]
            place.put("long.ini", *lines)
            place.put("a.ini", "x = a")
            long = await place.compile("long.ini")
            assert long.spec is None
            assert "too long" in long.diagnostics[0]
            assert "x = a" in await place.text("a.ini")
            assert place.troubles == []

    run(work())
