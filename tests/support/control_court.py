"""A court in memory, served over a real control socket: what the tests of it share."""

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.command import Done
from tests.support.views import SERVING

from emperor.runtime.control.listener import listen_at
from emperor.runtime.control.server import ControlServer
from emperor.runtime.sockets import Listener
from emperor.runtime.views import Key, VassalView, Verb

DEADLINE_SECONDS = 30.0

_MOMENT = 1_700_000_000

_BLANK = replace(
    SERVING,
    monitor="dir:///vassals",
    born=_MOMENT,
    last_mod=_MOMENT,
    first_run=_MOMENT,
    last_run=_MOMENT,
    last_ready=_MOMENT + 1,
    last_accepting=_MOMENT + 1,
    last_loyal=0,
    last_heartbeat=0,
    uid=0,
    gid=0,
    respawns=0,
    generation=1,
    digest="d1",
    output="",
    outlook="serves; reloads when its file changes",
)

#: Changes of a view that tests ask for often.
RELOADING: dict[str, Any] = {
    "state": "reloading",
    "is_settled": False,
    "is_well": False,
    "outlook": "is expected to accept requests again",
}
READY: dict[str, Any] = {"state": "ready", "is_settled": True, "is_well": True}
PARKED: dict[str, Any] = {"state": "parked", "pid": -1, "is_settled": True, "is_well": True}
FAILED: dict[str, Any] = {
    "state": "delayed",
    "pid": -1,
    "last_exit": "exit code 1",
    "last_exit_at": 1_700_000_100,
    "outlook": "is spawned again in 2.0 s",
    "is_settled": True,
    "is_well": False,
}


def view(name: str, **facts: Any) -> VassalView:
    """A vassal that serves, but for these facts."""
    return replace(_BLANK, id=name, **{"shown": name, **facts})


class MemoryCourt:
    """A ``Court`` whose vassals do what the test says, and remember what they were told."""

    def __init__(self, views: Iterable[VassalView] = ()) -> None:
        self._views = {(v.monitor, v.id): v for v in views}
        self._listeners: list[Callable[[Key], None]] = []
        self.told: list[tuple[str, Verb]] = []
        #: What becomes of a vassal the moment it is told something.
        self.on_command: Callable[[Key, Verb], None] = lambda key, verb: None
        self._moved = asyncio.Event()

    def views(self) -> list[VassalView]:
        return list(self._views.values())

    def find(self, name: str) -> tuple[Key, ...]:
        return tuple(key for key in self._views if name in (key[1], "//".join(key)))

    def view(self, key: Key) -> VassalView | None:
        return self._views.get(key)

    def command(self, key: Key, verb: Verb) -> None:
        if key in self._views:
            self.told.append((key[1], verb))
            self.on_command(key, verb)
        self._moved.set()

    def subscribe(self, on_change: Callable[[Key], None]) -> Callable[[], None]:
        self._listeners.append(on_change)
        self._moved.set()

        def unsubscribe() -> None:
            self._listeners.remove(on_change)
            self._moved.set()

        return unsubscribe

    @property
    def listeners(self) -> int:
        """How many are told of changes."""
        return len(self._listeners)

    def change(self, name: str, **facts: Any) -> None:
        """Something happens to every vassal of that name."""
        for key in self.find(name):
            self._views[key] = replace(self._views[key], **facts)
            self._announce(key)

    def remove(self, name: str) -> None:
        """The vassals of that name are gone."""
        for key in self.find(name):
            del self._views[key]
            self._announce(key)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until commands or subscriptions have made something true."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not is_so():
                self._moved.clear()
                await self._moved.wait()

    async def until_told(self, *told: tuple[str, Verb]) -> None:
        """Wait until the vassals have been told exactly this."""
        await self.until(lambda: self.told == list(told))

    def _announce(self, key: Key) -> None:
        for listener in tuple(self._listeners):
            listener(key)


@contextlib.asynccontextmanager
async def served(court: MemoryCourt, path: Path | str) -> AsyncIterator[Listener]:
    """The court behind a control socket at ``path``."""
    listener = listen_at(str(path))
    server = ControlServer(listener=listener, court=court)
    try:
        yield listener
    finally:
        server.close()


class Client:
    """A client that says what the test wants, byte by byte if need be."""

    def __init__(self, path: Path | str) -> None:
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.channel.setblocking(False)
        try:
            self.channel.connect(str(path))
        except OSError:
            self.channel.close()
            raise
        self._text = b""

    async def say(self, data: object) -> None:
        """Send an object as a line, or bytes as they are."""
        raw = data if isinstance(data, bytes) else json.dumps(data).encode() + b"\n"
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await loop.sock_sendall(self.channel, raw)

    async def line(self) -> Any:
        """The next object that the server says; nothing at the end."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(DEADLINE_SECONDS):
            while b"\n" not in self._text:
                data = await loop.sock_recv(self.channel, 65_536)
                if not data:
                    assert self._text == b""
                    return None
                self._text += data
        line, _, self._text = self._text.partition(b"\n")
        return json.loads(line)

    async def answer(self) -> list[Any]:
        """All lines up to the last of an answer."""
        lines = [await self.line()]
        while lines[-1] is not None and lines[-1]["kind"] == "vassal":
            lines.append(await self.line())
        return lines

    async def ask(self, **request: Any) -> list[Any]:
        """A request of this version, and its answer."""
        await self.say({"version": 1, **request})
        return await self.answer()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()


def outcomes(lines: list[Any]) -> list[tuple[str, str]]:
    """Name and outcome of each vassal in an answer that is complete."""
    assert lines[-1]["kind"] == "end"
    return [(line["name"], line["outcome"]) for line in lines[:-1]]


async def emperor(*words: str, cwd: Path, **environment: str) -> Done:
    """Run ``emperor WORDS`` as users do, while the loop goes on."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "emperor", *words),
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), "TZ": "UTC", **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Done(code=process.returncode, out=out.decode(), err=err.decode())
