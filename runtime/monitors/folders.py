"""The directories that a monitor lists: for ``dir://`` one, for ``glob://`` a tree of them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from emperor.runtime.monitors.sources import Kind, Source


@dataclass(slots=True, kw_only=True, eq=False)
class Folder:
    """One directory: what is in it is matched against the source's component ``level``."""

    path: str  # as the source spells it; events name it so
    real: str  # where its links led when it was last listed
    prefix: str  # what makes an entry's name a vassal's name
    level: int
    parent: "Folder | None" = None
    names: set[str] = field(default_factory=set)  # vassals in it, of the last level only
    children: dict[str, "Folder"] = field(default_factory=dict)  # by entry


class Folders:
    """The tree of folders of one source, and the folder of each vassal's name."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._last = len(source.components) - 1
        self.root = Folder(
            path=source.root, real=os.path.realpath(source.root), prefix=source.prefix, level=0
        )
        self._by_path = {source.root: self.root}
        self._homes: dict[str, Folder] = {}

    def get(self, path: str) -> Folder | None:
        """Give the folder with a path."""
        return self._by_path.get(path)

    def home(self, name: str) -> Folder | None:
        """Give the folder that a vassal's name is in, if the name has been entered."""
        return self._homes.get(name)

    def paths(self) -> tuple[str, ...]:
        """Give the paths of all folders."""
        return tuple(self._by_path)

    def is_last(self, folder: Folder) -> bool:
        """Say whether a folder's entries are vassals and not folders."""
        return folder.level == self._last

    def matches(self, folder: Folder, entry: str) -> bool:
        """Say whether the source means an entry of a folder."""
        return self._source.components[folder.level].matches(entry)

    def entry(self, name: str) -> str:
        """Give the base name of a vassal's file."""
        return name[len(self._homes[name].prefix) :]

    def place(self, name: str) -> tuple[str, str | None]:
        """Give the path of a vassal's file and the directory it starts in (None: ours)."""
        folder = self._homes[name]
        if self._source.kind is Kind.DIRECTORY:
            return _join(folder.real, self.entry(name)), folder.real
        return _join(folder.path, self.entry(name)), None

    def enter(self, folder: Folder, entry: str) -> str:
        """Take in a vassal; give its name."""
        name = folder.prefix + entry
        folder.names.add(name)
        self._homes[name] = folder
        return name

    def forget(self, name: str) -> None:
        """Leave a vassal out."""
        folder = self._homes.pop(name, None)
        if folder is not None:
            folder.names.discard(name)

    def grow(self, folder: Folder, entry: str) -> Folder:
        """Give the folder below another one, new or known."""
        child = folder.children.get(entry)
        if child is None:
            path = _join(folder.path, entry)
            child = Folder(
                path=path,
                real=path,
                prefix=f"{folder.prefix}{entry}/",
                level=folder.level + 1,
                parent=folder,
            )
            folder.children[entry] = self._by_path[path] = child
        return child

    def resolve(self, folder: Folder) -> None:
        """Find out where a folder's links lead now."""
        if folder.parent is None or os.path.islink(folder.path):
            folder.real = os.path.realpath(folder.path)
        else:
            folder.real = _join(folder.parent.real, os.path.basename(folder.path))

    def cut(self, folder: Folder) -> Iterator[Folder]:
        """Take a folder and all below it out of the tree, and give each."""
        for child in tuple(folder.children.values()):
            yield from self.cut(child)
        if folder.parent is not None:
            folder.parent.children.pop(os.path.basename(folder.path), None)
        self._by_path.pop(folder.path, None)
        yield folder


def _join(directory: str, entry: str) -> str:
    return f"{directory.rstrip('/')}/{entry}"
