"""Names by pattern, as glob(3) with GLOB_MARK finds them; ``patterns.py`` has the rules."""

from __future__ import annotations

import os
import re
from functools import cache

from emperor.runtime.patterns import Component, component, has_magic

_component = cache(component)


def glob3(pattern: str, directory: str | None = None) -> tuple[list[str], list[str]]:
    """What a pattern finds, sorted by bytes, directories with a slash at the end; and the
    directories that were looked into.

    ``directory`` is where relative patterns begin (the working directory if none is given);
    relative patterns give relative names.
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
            if not slash or not name or os.path.isdir(_full(name, directory))
        ]
    marked = [
        name + "/" if not name.endswith("/") and os.path.isdir(_full(name, directory)) else name
        for name in found
        if name
    ]
    if pattern.endswith("/") and pattern.rstrip("/") in {"*", "?"}:
        marked = [name.rstrip("/") + "//" for name in marked]  # so glibc marks "*/"
    elif pattern.endswith("//") and not has_magic(pattern):
        marked = [name.rstrip("/") + "/" for name in marked]
    return sorted(marked, key=os.fsencode), searched


def _full(name: str, directory: str | None) -> str:
    return name if directory is None or name.startswith("/") else f"{directory}/{name}"


def _step(base: str, part: str, directory: str | None, searched: list[str]) -> list[str]:
    """The names that one component adds to ``base``."""
    if not part:
        return [base]
    wanted = _component(part)
    if wanted.literal is not None:
        name = base + wanted.literal
        return [name] if os.path.lexists(_full(name, directory)) else []
    return _matching(base, wanted, _full(base, directory) or ".", searched)


def _matching(base: str, wanted: Component, looked: str, searched: list[str]) -> list[str]:
    searched.append(looked)
    try:
        names = [*os.listdir(looked), ".", ".."]  # the latter match patterns like ".*" only
    except OSError:
        return []
    return [base + name for name in names if wanted.matches(name)]
