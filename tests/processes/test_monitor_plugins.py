"""The example plugin, installed as a package: found by its scheme, fed through its socket."""

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.plugins.install import HERE, install
from tests.processes.test_monitor_watch import Post, vassals

from emperor.runtime.monitors.plugins import Found, installed, load
from emperor.runtime.monitors.settings import Settings
from emperor.runtime.monitors.sightings import Appeared, Problem
from emperor.runtime.monitors.sources import PluginSource, UnknownMonitorError, parse_source

pytestmark = pytest.mark.process

PAGE = Path(__file__).parents[2] / "docs" / "monitors.md"


@pytest.fixture
def place() -> Iterator[str]:
    """A directory with a path that is short enough for sockets."""
    made = tempfile.mkdtemp(prefix="emp-")
    yield made
    shutil.rmtree(made)


@pytest.fixture
def packages(place: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A directory on the path with the example in it."""
    directory = f"{place}/packages"
    os.mkdir(directory)
    install("emperor-lines", directory)
    monkeypatch.syspath_prepend(directory)
    yield directory
    sys.modules.pop("emperor_lines", None)


class Registry:
    """The other side of the plugin's socket."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.connections = 0
        self._news = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.connections += 1
        self._news.set()

    async def has_connections(self, count: int) -> None:
        async with asyncio.timeout(20):
            while self.connections < count:
                self._news.clear()
                await self._news.wait()

    def say(self, line: Any) -> None:
        self._writers[-1].write(json.dumps(line).encode() + b"\n")

    def say_all(self, *vassals: dict[str, Any]) -> None:
        self.say({"vassals": vassals})

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers.clear()


@asynccontextmanager
async def registry(path: str) -> AsyncIterator[Registry]:
    made = Registry(path)
    server = await asyncio.start_unix_server(made.connected, path)
    try:
        yield made
    finally:
        made.hang_up()
        server.close()
        await server.wait_closed()


def test_a_package_brings_a_scheme(packages: str) -> None:
    assert "lines" in installed()
    assert "emperor_lines" not in sys.modules
    found = parse_source("lines:///run/x.sock", cwd="/", is_directory=os.path.isdir)
    assert found == PluginSource(
        id="lines:///run/x.sock", scheme="lines", url="lines:///run/x.sock"
    )
    assert "emperor_lines" not in sys.modules  # nothing is imported before it is started
    load("lines")
    assert sys.modules["emperor_lines"].__file__ == f"{packages}/emperor_lines.py"
    with pytest.raises(
        UnknownMonitorError, match=r"no monitor line://; .*\(installed: .*lines://"
    ):
        parse_source("line://x", cwd="/", is_directory=os.path.isdir)
    with pytest.raises(LookupError, match="line://"):
        load("line")


def test_vassals_come_and_go_beside_those_of_a_directory(packages: str, place: str) -> None:
    async def story() -> None:
        vassals(place, "a.ini")
        async with registry(f"{place}/s") as other:
            post = Post((f"lines://{place}/s", f"{place}/vassals"), Settings())
            try:
                post.tower.start()
                await post.hears("+a.ini")
                await other.has_connections(1)
                other.say_all({"name": "a.ini", "text": "[uwsgi]\n", "socket": "/run/a"})
                await post.until(lambda: post.events)
                (event,) = post.events
                assert isinstance(event, Appeared)
                assert event.sighting.monitor == f"lines://{place}/s"
                assert (event.sighting.text, event.sighting.socket) == ("[uwsgi]\n", "/run/a")
                assert post.tower.first_look_is_over
                post.events.clear()
                other.say({"present": {"name": "b.ini", "text": "one", "mtime": 1}})
                other.say({"present": {"name": "b.ini", "text": "one", "mtime": 2}})
                other.say({"present": {"name": "b.ini", "text": "one", "mtime": 2}})
                other.say({"absent": "a.ini"})
                await post.hears("+b.ini", "~b.ini", "-a.ini")
                other.say_all({"name": "b.ini", "text": "two", "mtime": 2}, {"name": "c.ini"})
                await post.until(lambda: post.events)
                (problem,) = post.events
                assert isinstance(problem, Problem)
                assert "c.ini: give either a text or a path (plugins.py" in problem.message
            finally:
                post.tower.close()

    asyncio.run(story())


def test_its_vassals_stay_while_the_other_side_is_away(packages: str, place: str) -> None:
    async def story() -> None:
        post = Post((f"lines://{place}/s",), Settings())
        try:
            post.tower.start()
            await post.until(lambda: post.events)
            (problem,) = post.events
            assert isinstance(problem, Problem)
            assert "its monitor failed: FileNotFoundError" in problem.message
            post.events.clear()
            async with registry(f"{place}/s") as other:
                await other.has_connections(1)
                other.say_all({"name": "a.ini", "text": ""}, {"name": "b.ini", "text": ""})
                await post.hears("+a.ini", "+b.ini")
                other.hang_up()
                await other.has_connections(2)
                other.say_all({"name": "b.ini", "text": ""}, {"name": "c.ini", "text": ""})
                await post.until(lambda: len(post.events) >= 3)
                assert isinstance(post.events[0], Problem)
                assert "hung up" in post.events[0].message
                assert post.told()[1:] == ["-a.ini", "+c.ini"]
        finally:
            post.tower.close()

    asyncio.run(story())


def test_closing_closes_what_the_plugin_holds(packages: str, place: str) -> None:
    async def story() -> None:
        async with registry(f"{place}/s") as other:
            before = len(os.listdir("/proc/self/fd"))
            post = Post((f"lines://{place}/s",), Settings())
            post.tower.start()
            await other.has_connections(1)
            other.say_all()
            await post.until(lambda: True)
            tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            post.tower.close()
            other.hang_up()
            await asyncio.gather(*tasks, return_exceptions=True)
            for _ in range(1000):  # turns of the loop in which both sides are put away
                if len(os.listdir("/proc/self/fd")) == before:
                    break
                await asyncio.sleep(0)
            assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(story())


def test_the_page_shows_the_example_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in ("emperor_lines.py", "pyproject.toml"):
        with open(f"{HERE}/emperor-lines/{name}", encoding="utf-8") as file:
            text = file.read().partition("\n[tool.")[0].rstrip("\n")
        indented = "\n".join(f"    {line}" if line else "" for line in text.split("\n"))
        assert indented in page, name


def test_what_a_vassal_may_say_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in Found.__slots__ if f"| `{name}` " not in page] == []
