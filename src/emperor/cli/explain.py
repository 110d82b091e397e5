"""``--explain``: where values come from, as a person would want to read it."""

from __future__ import annotations

from itertools import pairwise

from rich.console import Console
from rich.table import Table
from rich.text import Text

from emperor.compiler.catalogue import canonical, everything, is_repeatable
from emperor.compiler.evaluation import Entry
from emperor.compiler.pipeline import Compiled
from emperor.compiler.render import place, printable
from emperor.compiler.source import Origin

_HOW = {
    "line": "",
    "vassal": "",
    "argument": "command line",
    "environment": "environment",
    "set": "through set",
    "custom": "through a custom option",
    "resolve": "through resolve",
}


def explain(name: str, compiled: Compiled, option: str | None) -> None:
    """Print every option with its place, or the whole life of one option."""
    console = Console(highlight=False, soft_wrap=True)
    if option is None:
        _explain_all(console, name, compiled)
    else:
        _explain_one(console, name, compiled, option)


def where(origin: Origin) -> str:
    """A place and how the option acted there: ``base.ini:3:1, in the for of app.ini:2:1``."""
    text = place(origin.span())
    parent = origin.parent
    how = _HOW.get(origin.how)
    if how:
        text += f", {how}"
    elif how is None and parent is not None:
        text += f", in a block of {origin.how}"
    return text


def chain(origin: Origin) -> list[str]:
    """The lines that brought the file of an origin in, innermost first."""
    return [place(span) for span in origin.included_from()]


def _explain_all(console: Console, name: str, compiled: Compiled) -> None:
    table = Table(title=printable(name), title_justify="left", box=None, pad_edge=False)
    table.add_column("option", overflow="fold")
    table.add_column("from", style="dim", overflow="fold")
    for entry in compiled.entries:
        value = "true" if entry.value is None else entry.value
        shown = f"{entry.key} = {value}".rstrip()
        origin = where(entry.origin)
        outer = chain(entry.origin)
        if outer:
            origin += f" < {' < '.join(outer)}"
        table.add_row(Text(printable(shown)), Text(printable(origin)))
    console.print(table)


def _explain_one(console: Console, name: str, compiled: Compiled, option: str) -> None:
    wanted = canonical(option)
    found = [e for e in compiled.entries if e.key == option or canonical(e.key) == wanted]
    console.print(Text(f"{name}: {option}", style="bold"))
    if not found:
        console.print(Text("  nothing sets it"))
        return
    winner = _winner(found, option)
    for entry in found:
        _explain_entry(console, entry, winner)


def _winner(found: list[Entry], option: str) -> list[Entry]:
    """The entries that count: the last one, or all where each occurrence adds."""
    if option in everything() and is_repeatable(option):
        return found
    return [found[-1]] if option in everything() else [found[0]]


def _explain_entry(console: Console, entry: Entry, winners: list[Entry]) -> None:
    counts = entry in winners
    value = "true" if entry.value is None else entry.value
    line = Text("  ")
    line.append("-> " if counts else "   ", style="green" if counts else "dim")
    line.append(printable(f"{entry.key} = {value}"), style="" if counts else "dim")
    console.print(line)
    console.print(Text(f"       set at {printable(where(entry.origin))}", style="dim"))
    for outer in chain(entry.origin):
        console.print(Text(f"       included from {printable(outer)}", style="dim"))
    if entry.steps:
        texts = [*entry.steps, value]
        for before, after in pairwise(texts):
            console.print(Text(printable(f"       {before}  ->  {after}"), style="cyan"))
