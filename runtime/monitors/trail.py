"""Which directory entries decide what a path leads to, and who cares about each of them."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

Step = tuple[str, str]  # a real directory and a name in it; "" stands for every name
EVERY_NAME = ""
_HOP_LIMIT = 40  # the kernel's own


def trail(path: str, *, start: str = "/") -> tuple[Step, ...]:
    """Give the links that a path goes through, and at last the entry it ends at.

    ``start`` is a real directory that a relative path begins at. Where something is missing
    the trail ends with the entry that would have to be made first.
    """
    steps: dict[Step, None] = {}
    here = "/" if path.startswith("/") else start
    ahead = path.split("/")[::-1]
    hops = 0
    while ahead:
        name = ahead.pop()
        if name in ("", "."):
            continue
        if name == "..":
            here = os.path.dirname(here)
            continue
        full = f"{here.rstrip('/')}/{name}"
        link = _read_link(full)
        if link is None:
            if ahead and os.path.isdir(full):
                here = full
                continue
            steps[here, name] = None
            break
        steps[here, name] = None
        hops += 1
        if hops > _HOP_LIMIT:
            break
        here = "/" if link.startswith("/") else here
        ahead += link.split("/")[::-1]
    return tuple(steps)


def _read_link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:  # not a link, not there, or not ours to see: the trail goes on without it
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turnover:
    """Directories that somebody now cares about and nobody did before, and the reverse."""

    added: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


class Steps:
    """Who depends on which directory entries; a key may depend on many."""

    def __init__(self) -> None:
        self._steps: dict[str, tuple[Step, ...]] = {}
        self._directories: dict[str, dict[str, dict[str, None]]] = {}

    def __contains__(self, directory: str) -> bool:
        return directory in self._directories

    def directories(self) -> tuple[str, ...]:
        """Give every directory that somebody cares about."""
        return tuple(self._directories)

    def put(self, key: str, steps: Iterable[Step]) -> Turnover:
        """Say what a key depends on from now on; nothing at all forgets it."""
        after = tuple(dict.fromkeys(steps))
        before = self._steps.get(key, ())
        if after == before:
            return Turnover()
        gained = [step for step in after if step not in before]
        lost = [step for step in before if step not in after]
        if after:
            self._steps[key] = after
        else:
            del self._steps[key]
        added = dict.fromkeys(d for d, _ in gained if d not in self._directories)
        for directory, name in gained:
            self._directories.setdefault(directory, {}).setdefault(name, {})[key] = None
        return Turnover(added=tuple(added), dropped=self._remove(key, lost))

    def keys(self, directory: str, name: str) -> tuple[str, ...]:
        """Give the keys that depend on an entry."""
        names = self._directories.get(directory)
        if names is None:
            return ()
        return (*names.get(name, ()), *names.get(EVERY_NAME, ()))

    def lose(self, directory: str) -> tuple[str, ...]:
        """Forget a directory that is not what it was; give the keys that went through it."""
        names = self._directories.pop(directory, {})
        keys = dict.fromkeys(key for keys in names.values() for key in keys)
        for key in keys:
            left = tuple(step for step in self._steps.pop(key) if step[0] != directory)
            if left:
                self._steps[key] = left
        return tuple(keys)

    def _remove(self, key: str, steps: list[Step]) -> tuple[str, ...]:
        dropped = []
        for directory, name in steps:
            names = self._directories[directory]
            del names[name][key]
            if not names[name]:
                del names[name]
            if not names:
                del self._directories[directory]
                dropped.append(directory)
        return tuple(dropped)
