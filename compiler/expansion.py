"""The three passes over the list: ``$(..)``, then ``@(..)``, then ``%(..)``.

``grammar/value.lark`` says what a placeholder is. A replaced text is read again from its second
character on, so a sign that lands at the very start of a value stays (observed).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from lark import Token, Tree

from emperor.compiler import arithmetic
from emperor.compiler.directives import until_nul
from emperor.compiler.evaluation import Entry, Evaluation
from emperor.compiler.grammars import parser
from emperor.compiler.loading import read_source
from emperor.compiler.reader import Unreadable
from emperor.compiler.source import from_bytes

#: A value that is replaced more often, or grows beyond this, never stops growing.
MOST_REPLACEMENTS = 2_000
MOST_CHARACTERS = 16 * 1024 * 1024

#: How many openings of placeholders are read for one value, all replacements together.
MOST_OPENINGS = 100_000

#: The placeholders of longer texts are not remembered: they would only fill the memory.
MOST_REMEMBERED = 500

#: Text for the name inside the parentheses, or nothing: the placeholder stays.
Lookup = Callable[[str, Entry], "str | None"]


def expand_all(run: Evaluation) -> None:
    """Run the passes. Options that are done (immediate, set-placeholder) keep their text."""

    def environment(name: str, entry: Entry) -> str | None:
        return run.environment.get(name)

    def content(url: str, entry: Entry) -> str | None:
        return _content(run, url, entry)

    def option(name: str, entry: Entry) -> str | None:
        return _option(run, name, entry)

    _pass(run, "$(", "value-dollar", environment)
    _pass(run, "@(", "value-at", content)
    _pass(run, "%(", "value-percent", option)


def _pass(run: Evaluation, opening: str, grammar: str, lookup: Lookup) -> None:
    for entry in run.entries:
        if not entry.done and entry.value is not None and opening in entry.value:
            _expand(run, entry, opening, grammar, lookup)


def _expand(run: Evaluation, entry: Entry, opening: str, grammar: str, lookup: Lookup) -> None:
    """Replace what can be replaced in one value, from left to right."""
    text, skipped, count, openings = entry.value or "", 0, 0, 0
    steps = list(entry.steps)
    while opening in text[skipped:]:
        replaced = _replace_first(text, skipped, grammar, lambda name: lookup(name, entry))
        if replaced is None:
            break
        if len(steps) < 20:
            steps.append(text)
        text, skipped, count = replaced, 1, count + 1
        openings += text.count(opening)
        entry.value = text
        if count > MOST_REPLACEMENTS or len(text) > MOST_CHARACTERS or openings > MOST_OPENINGS:
            entry.value = entry.steps[0] if entry.steps else steps[0]
            raise run.diagnostics.stop(
                "placeholder-cycle",
                f'the value of "{entry.key}" grows without an end while it is expanded',
                entry.origin,
                "a placeholder leads back to itself: rename one of the options",
            )
    entry.steps = tuple(steps)


def _replace_first(
    text: str, skipped: int, grammar: str, lookup: Callable[[str], str | None]
) -> str | None:
    """The text with its first known placeholder replaced; nothing if there is none."""
    rest = text[skipped:]
    find = _parsed if len(rest) <= MOST_REMEMBERED else _parsed.__wrapped__
    for name, start, end in find(rest, grammar):
        found = lookup(name)
        if found is not None:
            return text[: skipped + start] + found + rest[end:]
    return None


@lru_cache(maxsize=1024)
def _parsed(text: str, grammar: str) -> tuple[tuple[str, int, int], ...]:
    """The placeholders of a text, each with its offsets.

    Remembered, for the vassals of one host have most of their texts in common.
    """
    placeholders = []
    for node in parser(grammar).parse(text).children:
        if not isinstance(node, Tree) or node.data != "placeholder":
            continue
        tokens = [token for token in node.children if isinstance(token, Token)]
        name = "".join(tokens[1:-1])
        if name:
            start, end = tokens[0].start_pos or 0, tokens[-1].end_pos or 0
            placeholders.append((name, start, end))
    return tuple(placeholders)


def _content(run: Evaluation, url: str, entry: Entry) -> str:
    """What ``@(URL)`` stands for: the content without one final line end."""
    try:
        text = from_bytes(read_source(run, url))
    except Unreadable as error:
        raise run.diagnostics.stop(
            error.code,
            f'cannot read "@({url})" for "{entry.key}": {error.reason}',
            entry.origin,
            error.remedy,
        ) from None
    return until_nul(text[:-1] if text.endswith(("\n", "\r")) else text)


def _option(run: Evaluation, name: str, entry: Entry) -> str | None:
    """What ``%(NAME)`` stands for; a name with a space in it is computed."""
    if " " not in name:
        return run.placeholder(name)
    try:
        return arithmetic.evaluate(name, run.value_of)
    except arithmetic.Crash:
        raise run.diagnostics.stop(
            "arithmetic",
            f'"%({name})" divides the lowest 64 bit number by -1: uWSGI crashes on it',
            entry.origin,
            "correct the numbers",
        ) from None
