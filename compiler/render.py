"""Diagnostics as people read them: place, message, the source line with carets, the remedy."""

from __future__ import annotations

from typing import Any

from emperor.compiler.diagnostics import Diagnostic
from emperor.compiler.source import Span

#: A source line is shown around the place, at most this many characters of it.
MOST_SHOWN = 100


def place(span: Span) -> str:
    """``file:line:column``."""
    return f"{span.file}:{span.line}:{span.column}"


def render(diagnostic: Diagnostic) -> str:
    """One finding as text of a few lines, without colours and without a final line end."""
    severity = diagnostic.severity.value
    head = f"{severity}[{diagnostic.code}]: {diagnostic.message}"
    lines = []
    span = diagnostic.span
    if span is None:
        lines.append(head)
    else:
        lines.append(f"{place(span)}: {head}")
        lines += _source_lines(diagnostic.source_line, span)
    lines += [f"  = included from {place(outer)}" for outer in diagnostic.included_from]
    if diagnostic.help:
        lines.append(f"  = help: {diagnostic.help}")
    return printable("\n".join(lines))


def printable(text: str) -> str:
    """Text for a terminal: control characters and lone surrogates as escapes."""
    if text.isprintable():
        return text
    return "".join(
        c
        if c.isprintable() or c == "\n"
        else c.encode("unicode_escape", "surrogatepass").decode()
        for c in text
    )


def _source_lines(text: str, span: Span) -> list[str]:
    if not text.strip():
        return []
    start = max(0, span.column - 1 - MOST_SHOWN // 2) if len(text) > MOST_SHOWN else 0
    shown = text[start : start + MOST_SHOWN].replace("\t", " ")
    width = max(1, min(span.width, len(shown) - (span.column - 1 - start)))
    number = str(span.line)
    margin = " " * len(number)
    return [
        f" {number} | {shown}",
        f" {margin} | {' ' * (span.column - 1 - start)}{'^' * width}",
    ]


def as_data(diagnostic: Diagnostic) -> dict[str, Any]:
    """One finding as JSON has it."""
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity.value,
        "message": diagnostic.message,
        "help": diagnostic.help,
        "span": _span_data(diagnostic.span),
        "included_from": [_span_data(span) for span in diagnostic.included_from],
    }


def _span_data(span: Span | None) -> dict[str, Any] | None:
    if span is None:
        return None
    return {"file": span.file, "line": span.line, "column": span.column, "width": span.width}
