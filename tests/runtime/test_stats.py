"""The document of the stats sockets: its keys, its text, and when it is made."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.package import schema
from tests.support.views import DELAYED, SERVING, many

from emperor.runtime.stats.document import (
    MOST_FINDING_CHARACTERS,
    EmperorFacts,
    document,
    pieces,
    printable,
)
from emperor.runtime.stats.renderer import INTERVAL_SECONDS, Renderer
from emperor.runtime.views import VassalView

FACTS = EmperorFacts(
    version="0.1.0",
    pid=42,
    uid=0,
    gid=0,
    cwd="/srv",
    monitors=("/etc/uwsgi/vassals", "glob:///opt/*/app.ini"),
    is_tyrant=True,
)

#: uWSGI 2.0's, in its order.
TOP = """
version pid uid gid cwd emperor emperor_tyrant throttle_level vassals blacklist
""".split()
VASSAL = """
id pid born last_mod last_heartbeat loyal ready accepting last_loyal last_ready
last_accepting first_run last_run cursed zerg on_demand uid gid monitor respawns
""".split()
ENTRY = "id throttle_level attempt first_attempt last_attempt".split()


def text(views: tuple[VassalView, ...], facts: EmperorFacts = FACTS) -> str:
    return b"".join(pieces(iter(views), facts)).decode("ascii")


def checked(views: tuple[VassalView, ...], facts: EmperorFacts = FACTS) -> dict[str, Any]:
    """The document as its readers get it: valid, and the same by both ways of making it."""
    read: dict[str, Any] = json.loads(text(views, facts))
    assert read == document(views, facts)
    json.dumps(read, ensure_ascii=False).encode("utf-8")
    jsonschema.Draft202012Validator(schema("stats.schema.json")).validate(read)
    return read


@pytest.mark.parametrize("views", [(), (SERVING,), (SERVING, DELAYED), (DELAYED, *many(3))])
def test_the_keys_of_uwsgi_come_first_and_in_its_order(views: tuple[VassalView, ...]) -> None:
    read = checked(views)
    assert list(read) == TOP
    for vassal in read["vassals"]:
        assert list(vassal)[: len(VASSAL)] == VASSAL
    for entry in read["blacklist"]:
        assert list(entry)[: len(ENTRY)] == ENTRY
    assert [vassal["id"] for vassal in read["vassals"]] == [view.id for view in views]


def test_every_value_is_where_it_belongs() -> None:
    read = checked((SERVING, DELAYED))
    assert {key: read[key] for key in TOP[:8]} == {
        "version": "0.1.0",
        "pid": 42,
        "uid": 0,
        "gid": 0,
        "cwd": "/srv",
        "emperor": ["/etc/uwsgi/vassals", "glob:///opt/*/app.ini"],
        "emperor_tyrant": 1,
        "throttle_level": 0,
    }
    serving, delayed = read["vassals"]
    same = [key for key in VASSAL if key != "id"]
    assert {key: serving[key] for key in same} == {key: getattr(SERVING, key) for key in same}
    assert all(type(v) in (int, str) for v in (serving[key] for key in VASSAL))
    own = {key: value for key, value in delayed.items() if key not in VASSAL}
    assert own == {
        "name": "/etc/uwsgi/vassals//broken.ini",
        "state": "delayed",
        "generation": 10,
        "digest": "",
        "last_exit": "exit code 1",
        "last_exit_at": 11,
        "next_try": 14,
        "broken": 1,
        "diagnostics": ["broken.ini:2: error[syntax]: no"],
        "outlook": "is spawned again",
    }
    assert read["blacklist"] == [
        {
            "id": "broken.ini",
            "throttle_level": 6,
            "attempt": 2,
            "first_attempt": 12,
            "last_attempt": 13,
            "name": "/etc/uwsgi/vassals//broken.ini",
        }
    ]


def test_one_line_is_one_vassal() -> None:
    lines = text((SERVING, DELAYED)).splitlines()
    assert [line.startswith('{"id": ') for line in lines].count(True) == 3
    assert text(()).endswith('"vassals": [],\n"blacklist": []}\n')


@given(st.text(st.characters(codec=None, categories=None), min_size=1))
def test_any_name_is_valid_json(name: str) -> None:
    checked(
        (replace(DELAYED, id=name, shown=name, monitor=name, diagnostics=(name,)),),
        replace(FACTS, cwd=name, monitors=(name,)),
    )


def test_names_that_are_not_utf8_stay_apart() -> None:
    assert printable("café €") == "café €"
    assert printable("caf\udce9.ini") == "caf\\xe9.ini"
    assert printable("\ud800\udc00\udfff") == "\N{REPLACEMENT CHARACTER}" * 3
    assert printable('a"b\\c\n\x7f') == 'a"b\\c\n\x7f'


def test_findings_of_one_vassal_do_not_fill_the_document() -> None:
    finding = "x" * (MOST_FINDING_CHARACTERS // 2)
    view = replace(SERVING, diagnostics=(finding, finding, "last", "of all"))
    (shown,) = checked((view,))["vassals"]
    assert shown["diagnostics"] == [finding, finding, "2 more: emperor why shows them"]


class Press:
    """Documents that are numbered, and count their pieces."""

    def __init__(self, count: int = 1) -> None:
        self.begun = 0
        self.count = count

    def pieces(self) -> Iterator[bytes]:
        self.begun += 1
        number = self.begun
        for _ in range(self.count):
            yield b"%d." % number


def test_those_who_ask_together_get_the_same_and_later_ones_a_later_one() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        press = Press()
        renderer = Renderer(loop=loop, pieces=press.pieces)
        got: list[bytes] = []
        all_there = asyncio.Event()

        def take(data: bytes) -> None:
            got.append(data)
            if len(got) < 5:
                renderer.ask(take)
            if len(got) == 7:
                all_there.set()

        begun = loop.time()
        for _ in range(3):
            renderer.ask(take)
        assert got == []
        async with asyncio.timeout(10):
            await all_there.wait()
        # three asked together; each of them asked again, then one of those
        assert got == [b"1."] * 3 + [b"2."] * 3 + [b"3."]
        assert got[0] is got[2]
        assert loop.time() - begun >= 2 * INTERVAL_SECONDS
        renderer.close()

    asyncio.run(story())


def test_the_loop_turns_while_a_document_is_made() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        turns = 0
        is_done = asyncio.Event()
        late: list[bytes] = []

        def slowly() -> Iterator[bytes]:
            until = loop.time()
            for _ in range(10):
                until += 0.005
                while loop.time() < until:
                    pass
                yield b"x"

        def turn() -> None:
            nonlocal turns
            turns += 1
            if turns == 2:
                renderer.ask(late.append)  # too late for the one that is under way
            if not is_done.is_set():
                loop.call_soon(turn)

        renderer = Renderer(loop=loop, pieces=slowly)
        renderer.ask(lambda data: is_done.set() if data == b"x" * 10 else None)
        loop.call_soon(turn)
        async with asyncio.timeout(10):
            await is_done.wait()
        assert turns >= 5
        assert late == []
        renderer.close()

    asyncio.run(story())


def test_a_closed_renderer_makes_nothing() -> None:
    async def story() -> None:
        press = Press(1000)
        renderer = Renderer(loop=asyncio.get_running_loop(), pieces=press.pieces)
        got: list[bytes] = []
        renderer.ask(got.append)
        renderer.close()
        await asyncio.sleep(0)
        assert (press.begun, got) == (0, [])

    asyncio.run(story())
