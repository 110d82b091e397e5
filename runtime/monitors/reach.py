"""Which directories one listener has watched, and for the sake of which paths."""

from emperor.runtime.monitors.trail import Step, Steps, trail
from emperor.runtime.monitors.watch import Listener, Watches

_TRIES = 3  # links may be switched while we follow them


class Reach:
    """Directories watched for themselves, and those that a key's path goes through."""

    def __init__(self, *, watches: Watches, listener: Listener) -> None:
        self._watches = watches
        self._listener = listener
        self._own: dict[str, None] = {}
        self._steps = Steps()
        self._doubts: dict[str, str] = {}
        self._said: set[str] = set()
        self._unsaid: list[tuple[str, str]] = []

    @property
    def is_complete(self) -> bool:
        """Whether events tell of every change, so that nothing has to be polled."""
        return not self._doubts

    def new_doubts(self) -> tuple[tuple[str, str], ...]:
        """Give a directory and a reason for each new reason to poll, every reason only once."""
        unsaid, self._unsaid = self._unsaid, []
        return tuple(unsaid)

    def watch(self, directory: str, *, writes: bool) -> None:
        """Watch a directory for itself; again: make sure that it still is the right one."""
        self._own[directory] = None
        self._arm(directory, writes=writes)

    def unwatch(self, directory: str) -> None:
        """Watch a directory no longer for itself."""
        self._own.pop(directory, None)
        self._release(directory)

    def follow(
        self,
        key: str,
        path: str,
        *,
        start: str = "/",
        skip_first: bool = False,
        writes: bool = False,
        also: tuple[Step, ...] = (),
    ) -> bool:
        """Watch every directory on the way of a path; say whether any of them is new.

        After a True whatever was seen at the end of the way before has to be looked at again.
        ``skip_first`` leaves out the entry of ``start`` itself, which the listener lists.
        ``writes``: hear of every write, too, which in a busy directory is a lot.
        """
        fresh = False
        for _ in range(_TRIES):
            steps = trail(path, start=start)[1 if skip_first else 0 :]
            if not self._put(key, (*steps, *also), writes=writes):
                return fresh
            fresh = True
        return fresh

    def forget(self, key: str) -> None:
        """Follow a key's path no longer."""
        self._put(key, (), writes=False)

    def keys(self, directory: str, name: str) -> tuple[str, ...]:
        """Give the keys whose paths go through a directory entry."""
        return self._steps.keys(directory, name)

    def lose(self, directory: str) -> tuple[str, ...]:
        """Take in that a watch has gone; give the keys that have to be followed again."""
        self._doubts.pop(directory, None)
        return self._steps.lose(directory)

    def directories(self) -> tuple[str, ...]:
        """Give the directories on the way of some path, for ``renew``."""
        return self._steps.directories()

    def renew(self, directory: str) -> bool:
        """Make sure that a directory on the way is the one we watch; say if it is there."""
        return directory not in self._steps or self._arm(directory, writes=False)

    def close(self) -> None:
        """Watch nothing any more."""
        for directory in (*self._own, *self._steps.directories()):
            self._watches.unwatch(directory, self._listener)

    def _put(self, key: str, steps: tuple[Step, ...], *, writes: bool) -> bool:
        turnover = self._steps.put(key, steps)
        for directory in turnover.dropped:
            self._release(directory)
        for directory in turnover.added:
            self._arm(directory, writes=writes)
        return bool(turnover.added)

    def _arm(self, directory: str, *, writes: bool) -> bool:
        outcome = self._watches.watch(directory, self._listener, writes=writes)
        reason = outcome.why_polled
        if reason is None:
            self._doubts.pop(directory, None)
            return outcome.armed
        self._doubts[directory] = reason
        if reason not in self._said:
            self._said.add(reason)
            self._unsaid.append((directory, reason))
        return True

    def _release(self, directory: str) -> None:
        if directory not in self._own and directory not in self._steps:
            self._doubts.pop(directory, None)
            self._watches.unwatch(directory, self._listener)
