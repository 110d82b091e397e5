"""What the four formats have in common: each gives a stream of directives with places."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple


class Directive(NamedTuple):
    """One key and its value, with the line and column (from 1) of the parsed text."""

    key: str
    value: str
    line: int
    column: int
    width: int


class BadFormat(Exception):
    """A text that its format's reader refuses.

    ``code`` is a diagnostic code; line and column count from 1 in the parsed text.
    """

    def __init__(
        self, code: str, message: str, line: int = 1, column: int = 1, remedy: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.line = line
        self.column = column
        self.remedy = remedy


#: Reports what uWSGI accepts but nobody means: code, message, line, column, remedy.
Warn = Callable[[str, str, int, int, str | None], None]

#: A format's reader: (text, section asked for or nothing, warn) to directives.
FormatReader = Callable[[str, str | None, Warn], Iterator[Directive]]

#: Endings by which a file's format is known, as uWSGI tests them.
FORMATS = {
    ".ini": "ini",
    ".xml": "xml",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".json": "json",
    ".js": "json",
}

#: Endings that make a file a vassal.
EXTENSIONS = tuple(FORMATS)

#: The section that is read when none is asked for.
DEFAULT_SECTION = "uwsgi"


def until_nul(text: str) -> str:
    """A C string ends at its first NUL."""
    return text.partition("\0")[0] if "\0" in text else text
