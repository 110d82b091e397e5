"""Lark parsers for the grammars in ``grammar/``, loaded from tables that were built before.

Building a parser from its grammar costs 6 to 13 ms each; loading its table costs about one.
``python -m emperor.compiler.grammars`` (``just grammars``) writes the tables; a test says when
they are older than the grammars.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Iterator
from functools import cache

import lark
from lark import Lark, Token

HERE = os.path.join(os.path.dirname(__file__), os.pardir, "grammar")

#: Name of a parser -> (its grammar, what to replace in the grammar's text).
VARIANTS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "ini": ("ini", ()),
    "json": ("json", ()),
    "expression": ("expression", ()),
    "hooks": ("hooks", ()),
    "value-percent": ("value", ()),
    "value-dollar": ("value", (('"%', '"$'), ("[^%", "[^$"))),
    "value-at": ("value", (('"%', '"@'), ("[^%", "[^@"))),
}


def stamp() -> bytes:
    """The first line of a table, up to the digest: which library wrote it."""
    return f"lark {lark.__version__} ".encode()


def grammar_text(name: str) -> str:
    """The grammar that the parser ``name`` is built from, without its comments."""
    grammar, replacements = VARIANTS[name]
    with open(os.path.join(HERE, f"{grammar}.lark"), encoding="utf-8") as file:
        text = "\n".join(line for line in file.read().splitlines() if not line.startswith("//"))
    for old, new in replacements:
        text = text.replace(old, new)
    return text


def digest(name: str) -> bytes:
    """A hash of the grammar; tables themselves differ from run to run."""
    return hashlib.sha256(grammar_text(name).encode()).hexdigest().encode()


def build(name: str) -> bytes:
    """What ``Lark.save`` writes for the parser ``name``."""
    buffer = io.BytesIO()
    Lark(grammar_text(name), parser="lalr", maybe_placeholders=False).save(buffer)
    return buffer.getvalue()


def table_path(name: str) -> str:
    """Where the table of the parser ``name`` lies."""
    return os.path.join(HERE, f"{name}.tables")


@cache
def parser(name: str) -> Lark:
    """The parser ``name``; from its table, or from its grammar if another lark wrote that."""
    with open(table_path(name), "rb") as file:
        if file.readline().startswith(stamp()):
            return Lark.load(file)
    return Lark.load(io.BytesIO(build(name)))


def tokens(name: str, text: str) -> Iterator[Token]:
    """The tokens of a text whose grammar is a mere list of tokens: half the price of a tree."""
    interactive = parser(name).parse_interactive(text)
    found: Iterator[Token] = interactive.lexer_thread.lex(  # type: ignore[no-untyped-call]
        interactive.parser_state
    )
    return found


def main() -> None:
    """Write all tables."""
    for name in VARIANTS:
        with open(table_path(name), "wb") as file:
            file.write(stamp() + digest(name) + b"\n" + build(name))
        sys.stdout.write(f"{os.path.normpath(table_path(name))}\n")


if __name__ == "__main__":
    main()
