"""Monitors that other packages bring: what they are given, what they tell, how they are found.

A package has an entry point in the group ``emperor.monitors`` whose name is the scheme of its
sources (``consul`` for ``--emperor consul://...``) and which leads to a ``Factory``: anything
that can be called with the source and a ``Context`` and gives a ``Monitor``. It runs inside the
daemon's event loop and must not block it. docs/monitors.md has a complete example.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

#: The group of entry points that schemes are looked for in.
GROUP = "emperor.monitors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One vassal. Exactly one of ``text`` and ``path`` is given.

    The ending of the name of a text, or of the path of a file, says the format, as everywhere.
    Raises TypeError or ValueError for what is none.
    """

    name: str
    text: str | None = None  # the config itself
    path: str | None = None  # a file; relative: below the daemon's directory
    mtime: float | None = None  # epoch seconds; None: the text or the file itself decides
    uid: int | None = None  # None: the owner of the file, 0 for a text
    gid: int | None = None
    socket: str | None = None  # where an on-demand vassal is to be listened for
    attributes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Types are looked at because the plugin is others' code, and its own traceback is the
        # best place to say so.
        name: object = self.name
        texts = (name, self.text, self.path, self.socket)
        if name is None or not all(_is(str, text) for text in texts):
            raise TypeError(f"{self.name!r}: name, text, path and socket are of type str")
        if (self.text is None) == (self.path is None):
            raise ValueError(f"{self.name}: give either a text or a path")
        if not _is(int, self.uid) or not _is(int, self.gid):
            raise TypeError(f"{self.name}: uid and gid are numbers")
        if not _is((int, float), self.mtime) or not math.isfinite(self.mtime or 0):
            raise TypeError(f"{self.name}: mtime is a number of seconds")
        if not all(isinstance(t, str) for item in self.attributes.items() for t in item):
            raise TypeError(f"{self.name}: attributes are texts by name")


def _is(kind: type | tuple[type, ...], value: object) -> bool:
    return value is None or isinstance(value, kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The whole truth: what is not in it is gone."""

    vassals: tuple[Found, ...]

    def __post_init__(self) -> None:
        if not all(isinstance(vassal, Found) for vassal in self.vassals):
            raise TypeError("a snapshot holds vassals of type Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """A vassal is new, or has changed; of the others nothing is said."""

    vassal: Found

    def __post_init__(self) -> None:
        if not isinstance(self.vassal, Found):
            raise TypeError("what is present is a vassal of type Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A vassal is gone."""

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError("what is absent is a name")


Change = Snapshot | Present | Absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a plugin is told of the Emperor."""

    monitor: str  # the source as the user wrote it
    cwd: str  # the daemon's directory: what relative paths begin at
    extensions: tuple[str, ...]  # the endings that names may have
    frequency_seconds: float  # emperor-freq: how often to ask, where nothing tells of changes
    report: Callable[[str], None]  # has a sentence logged, once


class Monitor(Protocol):
    """Follows one source."""

    def changes(self) -> AsyncGenerator[Change, None]:
        """Tell first of all that is there, then of each change as it comes, for ever.

        What it raises is logged, its vassals stay, and it is made and started again after a
        second, then two, at most sixty. At the end it is cancelled where it waits.
        """


Factory = Callable[[str, Context], Monitor]


def installed() -> tuple[str, ...]:
    """Name the schemes that installed packages have monitors for, sorted."""
    # Costs time and memory that only people with plugins are to pay.
    from importlib.metadata import entry_points

    return tuple(sorted(entry_points(group=GROUP).names))


def load(scheme: str) -> Factory:
    """Import the plugin of a scheme. Raises LookupError if there is none, else what it raises
    itself."""
    from importlib.metadata import entry_points

    for entry in entry_points(group=GROUP, name=scheme):
        factory: Factory = entry.load()
        return factory
    raise LookupError(f"no installed package has a monitor for {scheme}://")
