"""CDATA directly in an element: lxml does not tell it from text, so expat reads again."""

from __future__ import annotations

from typing import NamedTuple
from xml.parsers import expat


class Cdata(NamedTuple):
    """A section's text, its line, and how many child elements stand before it."""

    before: int
    text: str
    line: int


def direct_cdata(element: bytes, first_line: int) -> list[Cdata]:
    """The CDATA sections that are children of a serialised element, in order.

    The element must be well-formed. Sections that follow one another count as one, as
    libxml2 has them.
    """
    if b"<![CDATA[" not in element:
        return []
    finder = _Finder(first_line)
    finder.read(element)
    return finder.found


class _Finder:
    def __init__(self, first_line: int) -> None:
        self.found: list[Cdata] = []
        self.first_line = first_line
        self.depth = 0
        self.before = 0
        self.parts: list[str] | None = None
        self.is_adjacent = False
        self.reader = expat.ParserCreate()

    def read(self, element: bytes) -> None:
        reader = self.reader
        reader.UseForeignDTD(True)  # entities of a DTD that is not there are skipped
        reader.StartElementHandler = self._start
        reader.EndElementHandler = self._end
        reader.StartCdataSectionHandler = self._open
        reader.EndCdataSectionHandler = self._close
        reader.CharacterDataHandler = self._characters
        try:
            reader.Parse(element, True)
        except expat.ExpatError:
            return  # libxml2 takes it all the same; what was found until here counts

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.before += self.depth == 1
        self.depth += 1
        self.is_adjacent = False

    def _end(self, name: str) -> None:
        self.depth -= 1

    def _open(self) -> None:
        if self.depth == 1:
            self.parts = []

    def _characters(self, data: str) -> None:
        if self.parts is None:
            self.is_adjacent = False
        else:
            self.parts.append(data)

    def _close(self) -> None:
        if self.parts is None:
            return
        text = "".join(self.parts)
        line = self.first_line + self.reader.CurrentLineNumber - 1
        if self.is_adjacent:
            last = self.found.pop()
            text, line = last.text + text, last.line
        self.found.append(Cdata(self.before, text, line))
        self.parts, self.is_adjacent = None, True
