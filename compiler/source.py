"""Texts that options are read from, and the places in them that people are pointed at.

Bytes that are not UTF-8 are kept as lone surrogates (surrogateescape) everywhere in the
compiler, so every text can be turned back into the bytes it came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


def from_bytes(data: bytes) -> str:
    """Bytes as text that keeps every byte."""
    return data.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """The bytes that ``text`` was made from."""
    return text.encode("utf-8", "surrogateescape")


def is_utf8(text: str) -> bool:
    """Whether the bytes behind ``text`` are valid UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A place in a source; lines and columns count from 1, columns and width in characters."""

    file: str
    line: int
    column: int
    width: int = 1


class Edit(NamedTuple):
    """One replacement made in a text before it was parsed; offsets in characters."""

    start: int
    end: int
    original_start: int
    original_end: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """One text that options were read from.

    ``text`` is what the user wrote; ``edits`` say how the parsed text differs from it (magic
    variables); ``lines_before`` counts the lines that ``inject-before`` put in front;
    ``parent`` is the option that made uWSGI read it, if one did.
    """

    name: str
    text: str
    parent: Origin | None = None
    parsed: str = ""
    edits: tuple[Edit, ...] = ()
    lines_before: int = 0

    def place(self, line: int, column: int) -> tuple[int, int]:
        """Line and column in ``text`` of a line and column of the parsed text."""
        if self.edits:
            offset = self._original(_offset(self.parsed, line, column))
            start = self.text.rfind("\n", 0, offset) + 1
            line, column = self.text.count("\n", 0, offset) + 1, offset - start + 1
        return max(1, line - self.lines_before), column

    def _original(self, offset: int) -> int:
        """The offset in ``text`` of an offset in ``parsed``."""
        shift = 0
        for edit in self.edits:
            if edit.start > offset:
                break
            if offset < edit.end:
                return edit.original_start
            shift = edit.original_end - edit.end
        return min(offset + shift, len(self.text))

    def line(self, number: int) -> str:
        """The line's text without its end, or nothing if there is no such line."""
        lines = self.text.split("\n")
        index = number - 1 + self.lines_before
        return lines[index].rstrip("\r") if 0 <= index < len(lines) else ""


def _offset(text: str, line: int, column: int) -> int:
    start = 0
    for _ in range(line - 1):
        start = text.find("\n", start) + 1
    return start + column - 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Origin:
    """Where an option came from: a place, how it acted there, and what led to it.

    ``how`` is "line" for an option written there; "set", "for", "if", "custom", "resolve" for
    one produced by the option of that name, which ``parent`` then is; "argument" and
    "environment"; "vassal" for the argument that names the vassal's own file.
    """

    source: Source
    line: int
    column: int = 1
    width: int = 1
    how: str = "line"
    parent: Origin | None = None

    def span(self) -> Span:
        """The place as people count it."""
        line, column = self.source.place(self.line, self.column)
        return Span(file=self.source.name, line=line, column=column, width=max(1, self.width))

    def included_from(self) -> tuple[Span, ...]:
        """The lines that brought this file in, innermost first."""
        spans: list[Span] = []
        origin = self.source.parent
        while origin is not None and origin.how != "vassal":
            span = origin.span()
            if span in spans:
                break  # a cycle: one round of it says all
            spans.append(span)
            origin = origin.source.parent
        return tuple(spans)

    def made_by(self, how: str) -> Origin:
        """An origin at the same place for what the option here produces."""
        return Origin(
            source=self.source,
            line=self.line,
            column=self.column,
            width=self.width,
            how=how,
            parent=self,
        )
