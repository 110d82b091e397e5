"""``emperor status`` and its kin as people and deploy scripts use them."""

import asyncio
import contextlib
import json
import os
import pty
import select
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests.support import command
from tests.support.command import Done
from tests.support.control_court import (
    DEADLINE_SECONDS,
    FAILED,
    PARKED,
    READY,
    RELOADING,
    MemoryCourt,
    emperor,
    served,
    view,
)

from emperor.runtime.views import VassalView, Verb

pytestmark = pytest.mark.process

FINE, FAILURE, USAGE, REFUSED = 0, 1, 2, 111

#: Runs ``emperor`` with these words against the served court.
Emperor = Callable[..., Coroutine[Any, Any, Done]]

BROKEN: dict[str, Any] = {
    "is_broken": True,
    "is_well": False,
    "diagnostics": (
        "shop.ini:2:1: warning[unknown-option]: fooo",
        "shop.ini:3:1: error[missing-file]: cannot read nope.ini\n 3 | include = nope.ini",
    ),
    "outlook": "goes on with its last good config until its file is repaired",
}


def play(
    directory: Path,
    scenario: Callable[[MemoryCourt, Emperor], Awaitable[None]],
    *views: VassalView,
) -> None:
    """Run a scenario with these vassals behind ``EMPEROR_CONTROL``."""

    async def run() -> None:
        court = MemoryCourt(views)
        path = directory / "control"

        async def run_emperor(*words: str) -> Done:
            return await emperor(*words, cwd=directory, EMPEROR_CONTROL=str(path))

        async with served(court, path):
            await scenario(court, run_emperor)
        assert court.listeners == 0

    asyncio.run(run())


# -- status --------------------------------------------------------------------------------


def test_status_is_a_table_with_a_line_for_each_vassal(tmp_path: Path) -> None:
    async def scenario(court: MemoryCourt, run: Emperor) -> None:
        done = await run("status")
        assert (done.code, done.err) == (FAILURE, "")
        assert done.out.splitlines() == [
            "VASSAL           STATE    PID   UP   RESPAWNS  NOTE",
            "api.ini          delayed  -     -    3         "
            "exit code 1; is spawned again in 2.0 s",
            "shop.ini         ready    4711  2 h  0         "
            "shop.ini:3:1: error[missing-file]: cannot read nope.ini; "
            "goes on with its last good config until its file is repaired",
            "w\\n\\xff\\x1b.ini  parked   -     -    0",
        ]
        assert (await run("status", "w\n\udcff\x1b.ini")).code == FINE

    play(
        tmp_path,
        scenario,
        view("api.ini", respawns=3, **FAILED),
        view("shop.ini", last_run=int(time.time()) - 7300, **BROKEN),
        view("w\n\udcff\x1b.ini", **PARKED),
    )


def test_status_of_some_names_and_of_none(tmp_path: Path) -> None:
    async def scenario(court: MemoryCourt, run: Emperor) -> None:
        done = await run("status", "b.ini", "nope.ini")
        assert done.code == FAILURE
        assert [line.split()[:2] for line in done.out.splitlines()[1:]] == [
            ["nope.ini", "unknown"],
            ["b.ini", "ready"],
        ]
        court.remove("a.ini")
        court.remove("b.ini")
        empty = await run("status")
        assert (empty.code, empty.out) == (FINE, "")
        assert (await run("status", "--json")).data == []

    play(tmp_path, scenario, view("a.ini"), view("b.ini"))


def test_json_is_the_whole_view(tmp_path: Path) -> None:
    shown = view("\udcff.ini", output="x" * 9000, diagnostics=("one", "two"))

    async def scenario(court: MemoryCourt, run: Emperor) -> None:
        done = await run("status", "--json", "\udcff.ini", "nope")
        assert done.code == FAILURE
        nope, found = done.data
        assert nope == {"name": "nope", "outcome": "unknown", "ok": False, "vassal": None}
        assert found == {
            "name": "\udcff.ini",
            "outcome": "well",
            "ok": True,
            "vassal": json.loads(json.dumps(asdict(shown))),
        }

    play(tmp_path, scenario, shown)


def test_on_a_terminal_the_table_is_coloured_and_keeps_one_line_a_vassal(
    tmp_path: Path,
) -> None:
    async def scenario(court: MemoryCourt, _: Emperor) -> None:
        text = await asyncio.to_thread(on_terminal, tmp_path / "control")
        lines = text.replace("\r\n", "\n").splitlines()
        assert len(lines) == 3
        assert "\x1b[32mready" in lines[1]
        assert "\x1b[31mdelayed" in lines[2]
        assert lines[2].rstrip().endswith("\N{HORIZONTAL ELLIPSIS}")

    play(tmp_path, scenario, view("a.ini"), view("b.ini", **FAILED))


def on_terminal(path: Path) -> str:
    """What ``emperor status`` prints on a terminal of 60 columns."""
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "60"}
    process = subprocess.Popen(
        [sys.executable, "-m", "emperor", "status", "--socket", str(path)],
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    text = b""
    with process, contextlib.suppress(OSError):  # EIO: everybody has closed the terminal
        while select.select([ours], [], [], DEADLINE_SECONDS)[0]:
            text += os.read(ours, 65_536)
    os.close(ours)
    return text.decode()


# -- commands ------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", Verb)
def test_a_command_is_given_and_said_on_a_line_each(tmp_path: Path, verb: Verb) -> None:
    async def scenario(court: MemoryCourt, run: Emperor) -> None:
        done = await run(verb.value, "b.ini", "a.ini")
        assert done.code == FINE
        assert done.out.splitlines() == [
            f"b.ini: asked to {verb.value}",
            f"a.ini: asked to {verb.value}",
        ]
        assert court.told == [("b.ini", verb), ("a.ini", verb)]
        unknown = await run(verb.value, "nope.ini")
        assert (unknown.code, unknown.out) == (FAILURE, "nope.ini: no such vassal\n")

    play(tmp_path, scenario, view("a.ini"), view("b.ini"), view("c.ini"))


def test_a_reload_waits_until_the_vassals_have_reported_in(tmp_path: Path) -> None:
    async def scenario(court: MemoryCourt, run: Emperor) -> None:
        court.on_command = lambda key, verb: court.change(key[1], **RELOADING)
        running = asyncio.create_task(run("reload", "--all", "--wait"))
        await court.until_told(("a.ini", Verb.RELOAD), ("b.ini", Verb.RELOAD))
        court.change("b.ini", **READY, pid=4712)
        court.change("a.ini", **READY)
        done = await running
        assert done.code == FINE
        assert sorted(done.out.splitlines()) == [
            "a.ini: ready (pid 4711)",
            "b.ini: ready (pid 4712)",
        ]

    play(tmp_path, scenario, view("a.ini"), view("b.ini"))


def test_failures_are_told_with_reason_and_outlook(tmp_path: Path) -> None:
    async def scenario(court: MemoryCourt, run: Emperor) -> None:
        done = await run("reload", "--wait", "--timeout", "0.1", "a.ini", "b.ini", "c.ini")
        assert done.code == FAILURE
        assert done.out.splitlines() == [
            "a.ini: failed: exit code 1; is spawned again in 2.0 s",
            "b.ini: failed: shop.ini:3:1: error[missing-file]: cannot read nope.ini; "
            "goes on with its last good config until its file is repaired",
            "c.ini: still reloading after 0.1 s; is expected to accept requests again",
        ]

    play(
        tmp_path,
        scenario,
        view("a.ini", **FAILED),
        view("b.ini", **BROKEN),
        view("c.ini", **RELOADING),
    )


def test_a_stop_waits_for_the_end(tmp_path: Path) -> None:
    async def scenario(court: MemoryCourt, run: Emperor) -> None:
        court.on_command = lambda key, verb: court.change(
            key[1], state="stopping", is_settled=False, is_well=False
        )
        running = asyncio.create_task(run("stop", "--wait", "a.ini"))
        await court.until_told(("a.ini", Verb.STOP))
        court.change("a.ini", **PARKED)
        done = await running
        assert (done.code, done.out) == (FINE, "a.ini: stopped\n")

    play(tmp_path, scenario, view("a.ini"))


def test_a_rolling_reload_stops_at_the_first_failure(tmp_path: Path) -> None:
    async def scenario(court: MemoryCourt, run: Emperor) -> None:
        becomes = {"a.ini": READY, "b.ini": FAILED}
        court.on_command = lambda key, verb: court.change(key[1], **becomes[key[1]])
        done = await run("reload", "--rolling", "--all")
        assert done.code == FAILURE
        assert done.out.splitlines() == [
            "a.ini: ready (pid 4711)",
            "b.ini: failed: exit code 1; is spawned again in 2.0 s",
            "c.ini: left alone, as another one failed",
        ]
        assert len(court.told) == 2

    play(tmp_path, scenario, view("a.ini"), view("b.ini"), view("c.ini"))


def test_an_interrupted_command_leaves_nobody_waiting(tmp_path: Path) -> None:
    async def scenario(court: MemoryCourt, run: Emperor) -> None:
        court.on_command = lambda key, verb: court.change(key[1], **RELOADING)
        running = asyncio.create_task(run("reload", "--wait", "a.ini"))
        await court.until_told(("a.ini", Verb.RELOAD))
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await court.until(lambda: court.listeners == 0)

    play(tmp_path, scenario, view("a.ini"))


# -- why -----------------------------------------------------------------------------------


def test_why_of_a_crash_loop(tmp_path: Path) -> None:
    async def scenario(court: MemoryCourt, run: Emperor) -> None:
        done = await run("why", "api.ini", "nope.ini")
        assert done.code == FAILURE
        assert done.out.startswith("nope.ini: no such vassal\n")
        text = done.out.partition("\n")[2]
        for number in range(1, 8):
            text = text.replace(f"{number} d ago", "N d ago")
        lines = [" ".join(line.split()) for line in text.splitlines()]
        assert lines[0] == "api.ini: delayed"
        assert lines[1] == "monitor dir:///vassals"
        assert lines[2].startswith("phase spawned 2023-11-14 22:13:20 (")
        assert lines[2].endswith("ago), not accepting, not loyal")
        assert lines[3].startswith("last exit exit code 1, 2023-11-14 22:15:00 (")
        assert lines[4:] == [
            "blacklist 4 deaths before it was loyal, throttled by 12 ms",
            "next is spawned again in 2.0 s (2023-11-14 22:15:04)",
            "findings api.ini:2:1: warning[unknown-option]: fooo",
            "2 | fooo = 1",
            "output Traceback (most recent call last):",
            "ImportError: \\x1b[31mno module",
        ]

    play(
        tmp_path,
        scenario,
        view(
            "api.ini",
            **FAILED,
            attempts=4,
            throttle_milliseconds=12,
            next_try=1_700_000_104,
            last_accepting=1_600_000_000,
            diagnostics=("api.ini:2:1: warning[unknown-option]: fooo\n 2 | fooo = 1",),
            output="Traceback (most recent call last):\n  ImportError: \x1b[31mno module\n",
        ),
    )


def test_why_of_one_that_is_well(tmp_path: Path) -> None:
    async def scenario(court: MemoryCourt, run: Emperor) -> None:
        done = await run("why", "a.ini")
        assert done.code == FINE
        lines = [" ".join(line.split()) for line in done.out.splitlines()]
        assert lines[0] == "a.ini: ready (pid 4711)"
        assert "accepting 2023-11-14 22:13:21" in lines[2]
        assert lines[3:] == [
            "last exit none",
            "next serves; reloads when its file changes",
            "findings none",
            "output none, or not captured (emperor-capture-output)",
        ]

    play(tmp_path, scenario, view("a.ini"))


# -- usage and reach -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("reload",),
        ("stop",),
        ("why",),
        ("reload", ""),
        ("status", ""),
        ("stop", "--all", "a.ini"),
        ("start", "--all", "--timeout", "-1"),
        ("retry", "--all", "--timeout", "soon"),
        ("stop", "--all", "--rolling"),
        ("status", "--all"),
        ("why", "--wait", "a.ini"),
    ],
)
def test_a_command_line_without_sense_is_exit_code_2(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = command.emperor(*words, cwd=tmp_path)
    assert (done.code, done.out) == (USAGE, "")
    assert done.err
    assert "Traceback" not in done.err


def test_without_a_daemon_it_says_where_it_looked(tmp_path: Path) -> None:
    done = command.emperor("status", "--socket", "here", cwd=tmp_path)
    assert (done.code, done.out) == (REFUSED, "")
    assert "cannot be reached at here: No such file or directory" in done.err
    assert "--socket PATH or EMPEROR_CONTROL" in done.err
    (tmp_path / "here").touch()
    assert command.emperor("status", "--socket", "here", cwd=tmp_path).code == REFUSED
    long = command.emperor("status", "--socket", "x" * 200, cwd=tmp_path)
    assert (long.code, "Traceback" in long.err) == (REFUSED, False)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b'{"version":1,"kind":"vass',
        b"HTTP/1.0 400 Bad Request\r\n\r\n",
        b'{"version":2,"kind":"end","ok":true}\n',
        b'{"version":1,"kind":"error","error":"no, \\u001b thanks"}\n',
    ],
)
def test_a_daemon_that_makes_no_sense_is_not_reached(tmp_path: Path, said: bytes) -> None:
    async def run() -> Done:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(said)
            writer.close()
            await writer.wait_closed()

        path = str(tmp_path / "control")
        async with await asyncio.start_unix_server(answer, path):
            return await emperor("stop", "--all", "--socket", path, cwd=tmp_path)

    done = asyncio.run(run())
    assert (done.code, done.out) == (REFUSED, "")
    assert "Traceback" not in done.err
    assert "\x1b" not in done.err


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    async def scenario(court: MemoryCourt, _: Emperor) -> None:
        ours, theirs = socket.socketpair()
        ours.close()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "emperor", "status", "--socket"),
            str(tmp_path / "control"),
            stdout=theirs.fileno(),
            stderr=subprocess.PIPE,
        )
        theirs.close()
        async with asyncio.timeout(DEADLINE_SECONDS):
            said = await process.communicate()
        assert b"Traceback" not in said[1]

    play(tmp_path, scenario, view("a.ini"))


def test_the_commands_import_little(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv[1:] = ['status', '--socket', 'nowhere']\n"
        "from emperor.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'rich', 'asyncio', 'ssl', 'lark', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True, text=True
    )
    assert done.stdout == "[]\n"
