"""Stamps of paths: how it is known whether compiling again could give something else."""

from __future__ import annotations

import os
from collections.abc import Iterable

#: (mtime_ns, size, inode) of what a path leads to, or nothing if it leads nowhere.
PathStamp = tuple[int, int, int] | None


def path_stamp(path: str) -> PathStamp:
    """The stamp of what a path leads to."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def is_fresh(dependencies: Iterable[tuple[str, PathStamp]]) -> bool:
    """Whether nothing that a compile looked at has changed since."""
    return all(path_stamp(path) == stamp for path, stamp in dependencies)
