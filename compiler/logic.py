"""``for`` and ``if``: which lines of a block count, and what ``%(_)`` stands for in them.

A block's test is made again for every line of its body. Rules: uWSGI documentation
"Configuration logic"; the order of things was observed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emperor.compiler.evaluation import leading_number
from emperor.compiler.reader import Unreadable
from emperor.compiler.source import from_bytes

if TYPE_CHECKING:
    from emperor.compiler.evaluation import Evaluation
    from emperor.compiler.source import Origin

#: Beyond this a loop is a mistake or an attack.
MOST_ROUNDS = 1_000_000

#: The texts for ``%(_)``, one for each time the line is added (``None``: ``%(_)`` stays);
#: nothing at all if the test failed.
Texts = Iterable["str | None"] | None

Test = Callable[["Evaluation", str, "Origin"], Texts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """An open block: its option, the raw argument, where it was opened."""

    option: str
    argument: str
    test: Test
    origin: Origin
    is_else: bool = False

    def texts(self, run: Evaluation, value: str | None) -> Texts:
        """What the block makes of one body line, given the state at this moment."""
        return self.test(run, self.argument, self.origin)


def else_block(*, is_active: bool, origin: Origin) -> Block:
    """The part after ``else`` (2.1): its lines are taken as they are, or not at all."""

    def test(run: Evaluation, argument: str, origin: Origin) -> Texts:
        return (None,) if is_active else None

    return Block(option="else", argument="", test=test, origin=origin, is_else=True)


def open_block(
    run: Evaluation, key: str, value: str | None, origin: Origin, entry: object
) -> None:
    """The handler of every logic option."""
    if key == "else" and run.target.has_else:
        if not run.is_in_body:
            run.block = else_block(is_active=run.last_test is False, origin=origin)
        return
    if run.block is not None:
        raise run.diagnostics.stop(
            "nested-logic",
            f'"{key}" stands inside the block of "{run.block.option}": blocks do not nest',
            origin,
            f'close "{run.block.option}" first (line {run.block.origin.span().line})',
        )
    run.block = Block(option=key, argument=value or "", test=TESTS[key], origin=origin)


def _for(run: Evaluation, argument: str, origin: Origin) -> Texts:
    return [word for word in argument.split(" ") if word]


def _for_glob(run: Evaluation, argument: str, origin: Origin) -> Texts:
    return run.reader.glob(argument) or [argument]


def _for_times(run: Evaluation, argument: str, origin: Origin) -> Texts:
    times = leading_number(argument)
    if times > MOST_ROUNDS:
        raise run.diagnostics.stop(
            "too-large",
            f"for-times = {times} is more than {MOST_ROUNDS:,} rounds",
            origin,
            "correct the number",
        )
    return [str(number) for number in range(1, times + 1)]


def _for_readline(run: Evaluation, argument: str, origin: Origin) -> Texts:
    try:
        data = run.reader.read(argument)
    except Unreadable as error:
        run.diagnostics.warn(
            error.code,
            f'for-readline cannot read "{argument}": {error.reason}',
            origin,
            "create the file, or take the loop out",
        )
        return None
    lines = []
    for line in data.splitlines(keepends=True) if b"\r" not in data else _lf_lines(data):
        for start in range(0, len(line), 1023):
            chunk = line[start : start + 1023].partition(b"\0")[0]
            lines.append(from_bytes(chunk.rstrip(b"\r\n")))
    return lines


def _lf_lines(data: bytes) -> list[bytes]:
    parts = data.split(b"\n")
    lines = [part + b"\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines


def _condition(
    holds: Callable[[Evaluation, str, Origin], bool], *, is_negated: bool = False
) -> Test:
    """A test whose ``%(_)`` is its own argument."""

    def test(run: Evaluation, argument: str, origin: Origin) -> Texts:
        return [argument] if holds(run, argument, origin) != is_negated else None

    return test


def _lookup(find: Callable[[Evaluation, str], str | None], *, is_negated: bool = False) -> Test:
    """``NAME`` or ``NAME=VALUE``: a test whose ``%(_)`` is the value that was found."""

    def test(run: Evaluation, argument: str, origin: Origin) -> Texts:
        name, equals, wanted = argument.partition("=")
        found = find(run, name)
        holds = found is not None and (not equals or found == wanted)
        return [found] if holds != is_negated else None

    return test


def _reload(*, is_negated: bool) -> Test:
    def test(run: Evaluation, argument: str, origin: Origin) -> Texts:
        return (None,) if run.is_reload != is_negated else None

    return test


def _hostname_matches(run: Evaluation, argument: str, origin: Origin) -> bool:
    try:
        return re.search(argument, run.reader.host().hostname) is not None
    except re.error as error:
        run.diagnostics.warn(
            "invalid-value", f"no regular expression: {error}", origin, "correct the pattern"
        )
        return False


def _pair(name: str, make: Callable[[bool], Test]) -> dict[str, Test]:
    return {f"if-{name}": make(False), f"if-not-{name}": make(True)}


def _conditions(name: str, holds: Callable[[Evaluation, str, Origin], bool]) -> dict[str, Test]:
    return _pair(name, lambda negated: _condition(holds, is_negated=negated))


TESTS: dict[str, Test] = {
    "for": _for,
    "for-glob": _for_glob,
    "for-times": _for_times,
    "for-readline": _for_readline,
    **_pair("opt", lambda n: _lookup(lambda run, name: run.value_of(name), is_negated=n)),
    **_pair(
        "env", lambda n: _lookup(lambda run, name: run.environment.get(name), is_negated=n)
    ),
    **_pair("reload", lambda negated: _reload(is_negated=negated)),
    **_conditions("exists", lambda run, path, _: run.reader.is_readable(path)),
    **_conditions("file", lambda run, path, _: run.reader.is_file(path)),
    **_conditions("dir", lambda run, path, _: run.reader.is_directory(path)),
    **_conditions("plugin", lambda run, name, _: name in run.plugins),
    **_conditions("hostname", lambda run, name, _: name == run.reader.host().hostname),
    **_conditions("hostname-match", _hostname_matches),
}
TESTS |= {
    "ifenv": TESTS["if-env"],
    "ifexists": TESTS["if-exists"],
    "ifplugin": TESTS["if-plugin"],
    "ifdir": TESTS["if-dir"],
    "if-directory": TESTS["if-dir"],
}
