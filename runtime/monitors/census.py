"""Lists the folders of a source, and says which names are to be looked at for it."""

import os
from collections.abc import Callable

from emperor.compiler.directives import EXTENSIONS
from emperor.runtime.monitors.folders import Folder, Folders
from emperor.runtime.monitors.reach import Reach
from emperor.runtime.monitors.scan import is_absence
from emperor.runtime.monitors.sources import (
    NAME_LIMIT,
    Kind,
    Source,
    is_too_long,
    is_vassal_name,
)

_NO_SOURCE = (
    f"is no directory, and no vassal as it ends in none of {' '.join(EXTENSIONS)};"
    " write dir://PATH if it is to become a directory"
)


class Census:
    """What is still to be listed, and the names that listing brought up.

    A name that a listing does not show any more comes up too: whether a vassal is gone is for
    a look at its file to say, as a folder that cannot be read says nothing about what is in it.
    ``report`` takes a path and what is wrong with it.
    """

    def __init__(
        self,
        *,
        source: Source,
        folders: Folders,
        reach: Reach,
        extra_extensions: tuple[str, ...],
        report: Callable[[str, str], None],
    ) -> None:
        self._source = source
        self._folders = folders
        self._reach = reach
        self._extra_extensions = extra_extensions
        self._report = report
        self._folders_ahead: dict[str, None] = {}
        self._names: dict[str, None] = {}
        self._problems: dict[str, str] = {}
        self._unlisted: set[str] = set()

    @property
    def is_complete(self) -> bool:
        """Whether every folder that there is could be listed."""
        return not self._unlisted

    def expect(self, folder: Folder) -> None:
        """Have a folder listed, and with it all that is below."""
        self._folders_ahead[folder.path] = None

    def sort(self) -> None:
        """Bring the names that wait into the order of their bytes."""
        self._names = dict.fromkeys(sorted(self._names, key=os.fsencode))

    def next_name(self) -> str | None:
        """Give a name to look at, if there is one."""
        name = next(iter(self._names), None)
        if name is not None:
            del self._names[name]
        return name

    def list_next(self) -> bool:
        """List the next folder; say whether there was one."""
        path = next(iter(self._folders_ahead), None)
        if path is None:
            return False
        del self._folders_ahead[path]
        folder = self._folders.get(path)
        if folder is not None:
            self._list(folder)
        return True

    def take_entry(self, folder: Folder, entry: str) -> str | None:
        """Take in what an event named: give the vassal it is about, if it is about one."""
        if not self._folders.matches(folder, entry):
            return None
        if self._folders.is_last(folder):
            return self._enter(folder, entry)
        self.expect(self._folders.grow(folder, entry))
        return None

    def _list(self, folder: Folder) -> None:
        self._watch(folder)
        self._folders.resolve(folder)
        try:
            entries = self._entries(folder)
        except OSError as error:
            self._take_refusal(folder, error)
            return
        self._unlisted.discard(folder.path)
        self._problems.pop(folder.path, None)
        if self._folders.is_last(folder):
            self._take_names(folder, entries)
        else:
            self._take_children(folder, entries)

    def _watch(self, folder: Folder) -> None:
        """Watch a folder and all on its way, before anything is read from it."""
        self._reach.watch(folder.path, writes=self._folders.is_last(folder))
        if folder.parent is None:
            self._reach.follow(folder.path, folder.path)
        else:
            entry = os.path.basename(folder.path)
            self._reach.follow(folder.path, entry, start=folder.parent.real, skip_first=True)

    def _entries(self, folder: Folder) -> list[str]:
        component = self._source.components[folder.level]
        if component.literal is not None:
            os.stat(folder.path)
            return [component.literal]
        return [entry for entry in os.listdir(folder.path) if component.matches(entry)]

    def _take_names(self, folder: Folder, entries: list[str]) -> None:
        literal = self._source.components[-1].literal
        if literal is not None and not is_vassal_name(literal, self._extra_extensions):
            self._complain(f"{folder.path}/{literal}", _NO_SOURCE)
        listed = {folder.prefix + entry: entry for entry in entries}
        for name, entry in listed.items():
            if name in folder.names or self._enter(folder, entry) is not None:
                self._names[name] = None
        self._names.update(dict.fromkeys(folder.names.difference(listed)))

    def _take_children(self, folder: Folder, entries: list[str]) -> None:
        for entry in folder.children.keys() - set(entries):
            self._cut(folder.children[entry])
        for entry in entries:
            self.expect(self._folders.grow(folder, entry))

    def _take_refusal(self, folder: Folder, error: OSError) -> None:
        self._names.update(dict.fromkeys(folder.names))
        self._unlisted.discard(folder.path)
        if not is_absence(error):
            self._unlisted.add(folder.path)
            for child in folder.children.values():
                self.expect(child)
            reason = os.strerror(error.errno or 0)
            self._complain(folder.path, f"cannot be listed ({reason}); make it readable")
        elif folder.parent is not None:
            self._cut(folder)
        else:
            self._take_absence(folder)

    def _take_absence(self, root: Folder) -> None:
        for child in tuple(root.children.values()):
            self._cut(child)
        if self._source.kind is Kind.DIRECTORY:
            self._complain(root.path, "is not a directory; make it, and it is noticed")

    def _cut(self, folder: Folder) -> None:
        for gone in self._folders.cut(folder):
            self._names.update(dict.fromkeys(gone.names))
            self._unlisted.discard(gone.path)
            self._reach.forget(gone.path)
            self._reach.unwatch(gone.path)

    def _enter(self, folder: Folder, entry: str) -> str | None:
        if not is_vassal_name(entry, self._extra_extensions):
            return None
        if is_too_long(folder.prefix + entry):
            path = f"{folder.path}/{entry}"
            self._complain(path, f"has a name of more than {NAME_LIMIT} bytes; shorten it")
            return None
        return self._folders.enter(folder, entry)

    def _complain(self, path: str, complaint: str) -> None:
        """Report what is wrong with a path once, until it was right again."""
        if self._problems.get(path) != complaint:
            self._problems[path] = complaint
            self._report(path, complaint)
