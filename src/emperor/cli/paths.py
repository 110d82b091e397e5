"""What the PATHs of a command line mean: which vassals, of which monitor."""

from __future__ import annotations

import glob
import os

from emperor.compiler.directives import EXTENSIONS
from emperor.compiler.vassal import VassalFile
from emperor.runtime.globbing import glob3


class NoSuchPath(Exception):
    """A PATH that leads to no vassal; the text names it."""


def vassal_files(
    path: str, monitors: tuple[str, ...] = (), extra_extensions: tuple[str, ...] = ()
) -> list[VassalFile]:
    """The vassals that a PATH means, sorted by name; raises ``NoSuchPath``.

    ``monitors`` are the Emperor's own, if it is known: a file that one of its globs finds is
    that glob's vassal.
    """
    if path == "-":
        return [VassalFile(name="-", directory=os.getcwd(), monitor="-")]
    if path.startswith("glob://"):
        return _of_glob(path.removeprefix("glob://"), path, extra_extensions)
    path = path.removeprefix("dir://")
    if os.path.isdir(path) and not path.endswith(EXTENSIONS):
        return _of_directory(path, extra_extensions)
    if os.path.lexists(path):
        return [_of_file(path, None, monitors)]
    base, colon, section = path.rpartition(":")
    if colon and os.path.isfile(base):
        return [_of_file(base, section, monitors)]
    if glob.has_magic(path):
        return _of_glob(path, path, extra_extensions)
    return [_of_file(path, None, ())]  # the compile says that it is not there


def is_single(path: str) -> bool:
    """Whether a PATH can only mean one vassal: no directory, no pattern."""
    if path.startswith(("glob://", "dir://")):
        return False
    if os.path.lexists(path):
        return not os.path.isdir(path) or path.endswith(EXTENSIONS)
    return not glob.has_magic(path) or os.path.isfile(path.rpartition(":")[0])


def _of_file(path: str, section: str | None, monitors: tuple[str, ...]) -> VassalFile:
    for monitor in monitors:
        pattern = monitor.removeprefix("glob://")
        if monitor.startswith("dir://") or os.path.isdir(pattern):
            continue
        for found in glob3(pattern)[0]:
            if os.path.exists(path) and os.path.samefile(found, path):
                return VassalFile(
                    name=found, directory=os.getcwd(), monitor=monitor, section=section
                )
    directory = os.path.realpath(os.path.dirname(path) or ".")
    monitor = next((m for m in monitors if _is_directory(m, directory)), directory)
    return VassalFile(
        name=os.path.basename(path), directory=directory, monitor=monitor, section=section
    )


def _is_directory(monitor: str, directory: str) -> bool:
    return os.path.realpath(monitor.removeprefix("dir://")) == directory


def _of_directory(path: str, extra_extensions: tuple[str, ...]) -> list[VassalFile]:
    directory = os.path.realpath(path)
    names = sorted(n for n in os.listdir(path) if n.endswith((*EXTENSIONS, *extra_extensions)))
    return [VassalFile(name=name, directory=directory, monitor=path) for name in names]


def _of_glob(pattern: str, monitor: str, extra_extensions: tuple[str, ...]) -> list[VassalFile]:
    names = [n for n in glob3(pattern)[0] if n.endswith((*EXTENSIONS, *extra_extensions))]
    if not names:
        raise NoSuchPath(f'the pattern "{pattern}" finds no vassal')
    return [VassalFile(name=name, directory=os.getcwd(), monitor=monitor) for name in names]
