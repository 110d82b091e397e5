"""Names by pattern, as glob(3) with GLOB_MARK finds them: ``*``, ``?`` and ``[..]`` only."""

from __future__ import annotations

import os
import re
from functools import cache

_MAGIC = re.compile(r"[*?\[\\]")


@cache
def _matcher(pattern: str) -> re.Pattern[str]:
    """One component of a pattern as a regular expression, with the rules of fnmatch(3)."""
    result, i = "", 0
    while i < len(pattern):
        character = pattern[i]
        i += 1
        if character == "*":
            result += ".*"
        elif character == "?":
            result += "."
        elif character == "\\" and i < len(pattern):
            result += re.escape(pattern[i])
            i += 1
        elif character == "[" and (end := _class_end(pattern, i)) >= 0:
            result += _character_class(pattern[i:end])
            i = end + 1
        else:
            result += re.escape(character)
    return re.compile(result, re.DOTALL)


def _class_end(pattern: str, start: int) -> int:
    """Where the bracket expression that begins at ``start`` is closed."""
    first = start + 1 if pattern[start : start + 1] in {"!", "^"} else start
    return pattern.find("]", first + 1)


def _character_class(body: str) -> str:
    is_negated = body[:1] in {"!", "^"}
    body = body[1:] if is_negated else body
    escaped = body.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    escaped = "\\^" + escaped[1:] if escaped.startswith("^") else escaped
    return f"[{'^' if is_negated else ''}{escaped}]"


def glob3(pattern: str, directory: str | None = None) -> tuple[list[str], list[str]]:
    """What a pattern finds, sorted by bytes, directories with a slash at the end; and the
    directories that were looked into.

    ``directory`` is where relative patterns begin (the working directory if none is given);
    relative patterns give relative names. Names that begin with a dot only match patterns
    that do.
    """
    searched: list[str] = []
    parts = re.split(r"(/+)", pattern)
    found = [""]
    for index in range(0, len(parts), 2):
        slash = parts[index + 1] if index + 1 < len(parts) else ""
        found = [
            name + slash
            for base in found
            for name in _step(base, parts[index], directory, searched)
            if not slash or not base + parts[index] or os.path.isdir(_full(name, directory))
        ]
    marked = [
        name + "/" if not name.endswith("/") and os.path.isdir(_full(name, directory)) else name
        for name in found
        if name
    ]
    return sorted(marked, key=os.fsencode), searched


def _full(name: str, directory: str | None) -> str:
    return name if directory is None or name.startswith("/") else f"{directory}/{name}"


def _step(base: str, part: str, directory: str | None, searched: list[str]) -> list[str]:
    """The names that one component adds to ``base``."""
    if not part:
        return [base]
    if not _MAGIC.search(part):
        return [base + part] if os.path.lexists(_full(base + part, directory)) else []
    looked = _full(base, directory) or "."
    searched.append(looked)
    try:
        names = os.listdir(looked)
    except OSError:
        return []
    matches = _matcher(part).fullmatch
    return [
        base + name
        for name in names
        if matches(name) and (not name.startswith(".") or part.startswith("."))
    ]
