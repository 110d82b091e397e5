"""``emperor status``, ``reload`` and their kin: from the words to what is printed."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

from emperor.cli import control_text as text
from emperor.runtime.control.client import Unreachable, ask
from emperor.runtime.control.places import VARIABLE, client_path
from emperor.runtime.control.protocol import Answer, Refused, Request
from emperor.runtime.exits import ERRORS_FOUND, SYSTEM_REFUSED

_COLOURS = {
    "ready": "green",
    "listening": "green",
    "parked": "dim",
    "delayed": "red",
    "unknown": "red",
    "gone": "red",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRequest:
    """A request, whom to ask, and how to show the answer: ``table``, ``lines`` or ``why``."""

    request: Request
    socket: str | None
    is_json: bool
    shape: str


def run_control(wanted: ControlRequest) -> int:
    """Ask, and print what is answered as it comes; gives the exit code."""
    path = client_path(wanted.socket, os.environ, os.geteuid())
    try:
        return _print(wanted, ask(path, wanted.request))
    except Unreachable as error:
        name = text.printable(path)
        print(f"emperor: the daemon cannot be reached at {name}: {error}", file=sys.stderr)
        print(
            f"help: is it running? --socket PATH or {VARIABLE} name another socket "
            "(the daemon's option emperor-control)",
            file=sys.stderr,
        )
    except Refused as error:
        print(f"emperor: the daemon refuses: {text.printable(str(error))}", file=sys.stderr)
    return SYSTEM_REFUSED


def _print(wanted: ControlRequest, answers: Iterable[Answer]) -> int:
    if wanted.is_json:
        given = list(answers)
        _write(json.dumps([_data(answer) for answer in given], indent=2) + "\n")
        return _exit_code(given)
    if wanted.shape == "table":
        given = list(answers)
        _print_table(given)
        return _exit_code(given)
    return _exit_code(_printed(wanted, answer) for answer in answers)


def _printed(wanted: ControlRequest, answer: Answer) -> Answer:
    if wanted.shape == "why":
        _write(text.why(answer, time.time()))
    else:
        _write(text.line(answer, wanted.request) + "\n")
    return answer


def _exit_code(answers: Iterable[Answer]) -> int:
    failed = [answer for answer in answers if not answer.outcome.is_fine]
    return ERRORS_FOUND if failed else 0


def _data(answer: Answer) -> dict[str, object]:
    return {key: answer.data[key] for key in ("name", "outcome", "ok", "vassal")}


def _print_table(answers: list[Answer]) -> None:
    now = time.time()
    rows = [text.row(answer, now) for answer in answers]
    if not rows:
        print("no vassals", file=sys.stderr)
        return
    headings, *lines = text.aligned([text.HEADINGS, *rows])
    if sys.stdout.isatty():
        _print_coloured(headings, lines, answers)
    else:
        _write("".join(f"{''.join(cells).rstrip()}\n" for cells in (headings, *lines)))


def _print_coloured(
    headings: tuple[str, ...], lines: list[tuple[str, ...]], answers: list[Answer]
) -> None:
    from rich.console import Console
    from rich.text import Text

    shown = [Text("".join(headings), "bold")]
    for (name, state, *others), answer in zip(lines, answers, strict=True):
        is_broken = answer.view is not None and answer.view.is_broken
        colour = "red" if is_broken else _COLOURS.get(state.strip(), "yellow")
        shown.append(Text.assemble(name, (state, colour), *others))
    console = Console(highlight=False)
    with console.capture() as capture:
        for cells in shown:  # a line each, however narrow the terminal is
            cells.rstrip()
            console.print(cells, no_wrap=True, overflow="ellipsis")
    _write(capture.get())


def _write(words: str) -> None:
    """Print at once: answers are shown as they come, whatever the locale thinks of them."""
    sys.stdout.buffer.write(words.encode())
    sys.stdout.buffer.flush()
