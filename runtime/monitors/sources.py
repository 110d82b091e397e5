"""Where vassals are looked for (``dir://``, ``glob://``, bare paths, plugins), and which names
count."""

import enum
import os
from collections.abc import Callable
from dataclasses import dataclass

from emperor.compiler.directives import EXTENSIONS
from emperor.runtime.monitors.plugins import installed
from emperor.runtime.patterns import ANY, Component, component, has_magic

NAME_LIMIT = 254  # bytes: the most that uWSGI's own Emperor takes


class Kind(enum.Enum):
    """How a source names its vassals and where they start."""

    DIRECTORY = "dir"
    GLOB = "glob"


class UnknownMonitorError(ValueError):
    """The scheme of a source is none of ours, and no plugin has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One place to look: entries of ``root`` that match the components, level by level."""

    id: str  # as the user gave it
    kind: Kind
    root: str  # absolute, links not resolved
    prefix: str  # what stands before an entry of root to make a vassal's name
    components: tuple[Component, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSource:
    """One place where a plugin looks; only the plugin knows what its URL means."""

    id: str  # as the user gave it
    scheme: str  # the name of the entry point
    url: str  # with the scheme


AnySource = Source | PluginSource


def parse_source(
    text: str, *, cwd: str, is_directory: Callable[[str], bool]
) -> Source | PluginSource:
    """Read a source as the user gave it; relative ones are below ``cwd`` (absolute).

    A bare path is a directory if ``is_directory`` says so now, else a glob pattern.
    Raises UnknownMonitorError for a scheme that neither we nor an installed plugin have.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or "/" in scheme:
        scheme, rest = ("dir" if is_directory(os.path.join(cwd, text)) else "glob"), text
    if scheme == "dir":
        root = os.path.join(cwd, rest).rstrip("/") or "/"
        return Source(id=text, kind=Kind.DIRECTORY, root=root, prefix="", components=(ANY,))
    if scheme == "glob":
        return _glob_source(text, rest, cwd)
    plugins = installed()
    if scheme in plugins:
        return PluginSource(id=text, scheme=scheme, url=text)
    known = ", ".join(f"{name}://" for name in plugins) or "none"
    raise UnknownMonitorError(
        f"{text}: there is no monitor {scheme}://; use dir:// or glob://, or install a package"
        f" that brings it (installed: {known})"
    )


def _glob_source(text: str, pattern: str, cwd: str) -> Source:
    parts = pattern.split("/")
    # Components before the first wildcard are the place to start from; the last is never one.
    magic = (index for index, part in enumerate(parts[:-1]) if has_magic(part))
    split = next(magic, len(parts) - 1)
    prefix = "".join(f"{part}/" for part in parts[:split])
    return Source(
        id=text,
        kind=Kind.GLOB,
        root=os.path.join(cwd, prefix).rstrip("/") or "/",
        prefix=prefix,
        components=tuple(component(part) for part in parts[split:] if part),
    )


def is_vassal_name(name: str, extra_extensions: tuple[str, ...]) -> bool:
    """Say whether the ending of a name makes it a vassal."""
    return name.endswith(EXTENSIONS) or name.endswith(extra_extensions)


def is_too_long(name: str) -> bool:
    """Say whether a vassal's name has more bytes than it may have."""
    return len(os.fsencode(name)) > NAME_LIMIT
