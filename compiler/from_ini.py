"""ini text to directives; ``grammar/ini.lark`` is the reference of the format."""

from __future__ import annotations

from collections.abc import Iterator

from emperor.compiler.directives import DEFAULT_SECTION, Directive, Warn, until_nul
from emperor.compiler.grammars import tokens
from emperor.compiler.source import from_bytes, to_bytes

BLANKS = " \t\r"


def read_ini(text: str, section: str | None, warn: Warn) -> Iterator[Directive]:
    """The entries of all sections of the asked name, in file order; never refuses a text.

    An empty file is no mistake: a vassal may take everything from the Emperor's templates.
    """
    asked = section or DEFAULT_SECTION
    current = ""
    is_found = False
    for token in tokens("ini", text):
        kind = token.type  # one token a line, no subtrees
        if kind == "COMMENT":
            continue
        content = until_nul(token.partition("\n")[0]).rstrip(BLANKS)
        if kind == "HEADER":
            current = _section_name(content)
        elif content and current == asked:
            is_found = True
            yield _entry(content, token.line, token.column)  # type: ignore[arg-type]
    if not is_found and (section is not None or text.strip()):
        warn(
            "missing-section",
            f'nothing to read: there is no entry in a section "{asked}"',
            1,
            1,
            f"start the file with a line [{asked}]",
        )


def _section_name(header: str) -> str:
    """Everything after the bracket but the last byte, whatever that is."""
    name = header[1:]
    if name.isascii():
        return name[:-1]
    return from_bytes(to_bytes(name)[:-1])


def _entry(content: str, line: int, column: int) -> Directive:
    key, _, value = content.partition("=")
    return Directive(key.rstrip(BLANKS), value.strip(BLANKS), line, column, len(content))
