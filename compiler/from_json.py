"""JSON text to directives; ``grammar/json.lark`` is the reference of the format."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

from lark import Token, Tree, UnexpectedInput

from emperor.compiler.directives import (
    DEFAULT_SECTION,
    BadFormat,
    Directive,
    Warn,
    until_nul,
)
from emperor.compiler.grammars import parser
from emperor.compiler.source import is_utf8

Node: TypeAlias = Tree[Token] | Token

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})(\\u([0-9a-fA-F]{4}))?|(.))", re.DOTALL)
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def read_json(text: str, section: str | None, warn: Warn) -> Iterator[Directive]:
    """The options of the object under the asked name; raises ``BadFormat``."""
    asked = section or DEFAULT_SECTION
    root = _parse(until_nul(text))
    found = _pairs(root) if isinstance(root, Tree) and root.data == "object" else []
    _warn_of_duplicates(found, warn)
    value = next((value for key, value in found if _text(key) == asked), None)
    if value is None:
        raise _no_section(asked, root)
    if not isinstance(value, Tree) or value.data != "object":
        raise _no_section(asked, value)
    options = _pairs(value)
    _warn_of_duplicates(options, warn)
    for key, value in options:
        yield from _option(key, value)


def _parse(text: str) -> Node:
    try:
        tree = parser("json").parse(text)
    except UnexpectedInput as error:
        line = error.line if error.line > 0 else text.count("\n") + 1
        column = error.column if error.line > 0 else len(text) - text.rfind("\n")
        raise BadFormat("syntax", _what_is_wrong(error), line, column, _remedy(text)) from None
    if not is_utf8(text):
        _refuse_bad_strings(tree)
    return tree.children[0]


def _refuse_bad_strings(tree: Tree[Token]) -> None:
    """yajl wants UTF-8 in strings; what comments hold does not matter to it."""
    for token in tree.scan_values(lambda token: isinstance(token, Token)):
        if not is_utf8(token):
            remedy = "save the file in UTF-8"
            before = next(i for i, c in enumerate(token) if 0xDC80 <= ord(c) <= 0xDCFF)
            line, column = token.line or 1, (token.column or 1) + before
            raise BadFormat("syntax", "JSON must be UTF-8", line, column, remedy)


def _what_is_wrong(error: UnexpectedInput) -> str:
    token = getattr(error, "token", None)
    if token is not None and token.type == "$END":
        return "the JSON text ends too early"
    found = str(token) if token is not None else getattr(error, "char", "")
    return f"this is not valid JSON: {found!r} is not expected here"


def _remedy(text: str) -> str:
    if text.startswith("\ufeff"):
        return "save the file without a byte order mark"
    return "JSON wants double quotes, no comma after the last item, and one document"


def _no_section(asked: str, node: Node) -> BadFormat:
    token = next(node.scan_values(lambda _: True), None) if isinstance(node, Tree) else node
    line, column = (token.line or 1, token.column or 1) if token is not None else (1, 1)
    return BadFormat(
        "missing-section",
        f'there is no object named "{asked}" at the top of this JSON',
        line,
        column,
        f'wrap the options: {{"{asked}": {{...}}}}',
    )


def _pairs(node: Tree[Token]) -> list[tuple[Token, Node]]:
    return [(pair.children[0], pair.children[1]) for pair in node.children]  # type: ignore[union-attr,misc]


def _warn_of_duplicates(pairs: list[tuple[Token, Node]], warn: Warn) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        name = _text(key)
        if name in seen:
            warn(
                "json-duplicate",
                f'the key "{name}" stands here again',
                key.line or 1,
                key.column or 1,
                "give all its values in one array: other readers keep only one of them",
            )
        seen.add(name)


def _option(key: Token, value: Node) -> Iterator[Directive]:
    if isinstance(value, Token):
        yield _directive(key, value)
    elif value.data == "array":
        for item in value.children:
            if isinstance(item, Token):
                yield _directive(key, item)


def _directive(key: Token, value: Token) -> Directive:
    return Directive(_text(key), _scalar(value), value.line or 1, key.column or 1, len(key))


def _scalar(token: Token) -> str:
    match token.type:
        case "STRING":
            return _text(token)
        case "TRUE":
            return "1"
        case "NUMBER":
            return str(token)
        case _:
            return "0"


def _text(token: Token) -> str:
    """The text of a string: escapes resolved, cut at a NUL as a C string is."""
    raw = token[1:-1]
    if "\\" not in raw:
        return until_nul(raw)
    return until_nul(_ESCAPE.sub(_unescape, raw))


def _unescape(match: re.Match[str]) -> str:
    first, pair, second, letter = match.groups()
    if letter is not None:
        return _LETTERS.get(letter, letter)
    code = int(first, 16)
    if code & 0xFC00 != 0xD800:
        text = chr(code) if not 0xDC00 <= code <= 0xDFFF else "?"
        return text + (_ESCAPE.sub(_unescape, pair) if pair else "")
    if not pair:
        return "?"  # half of a surrogate pair
    low = int(second, 16)
    return chr(((code & 0x3FF) << 10 | low & 0x3FF) + 0x10000)
