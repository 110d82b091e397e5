"""Where the Emperor's own options stand: ``[uwsgi]`` of its file, then ``[emperor]``."""

from __future__ import annotations

from collections.abc import Iterable

from emperor.compiler.diagnostics import Diagnostic


def emperor_arguments(path: str) -> list[str]:
    """uWSGI arguments that read an emperor file: its default section, then ``[emperor]``.

    Only ini files have the second one: uWSGI reads further sections there alone.
    """
    if path.endswith(".ini"):
        return ["--include", path, "--ini", f"{path}:emperor"]
    return ["--include", path]


def without_missing_sections(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """The findings, less the warning for one of the two sections if the other is there."""
    found = list(diagnostics)
    missing = [d for d in found if d.code == "missing-section"]
    if len(missing) > 1:
        return [d for d in found if d not in missing[1:]]
    return [d for d in found if d not in missing]
