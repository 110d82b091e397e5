"""Who waits for which vassals: one subscription at the court serves all of them."""

from __future__ import annotations

from collections.abc import Callable

from emperor.runtime.views import Court, Key

#: Is told that a vassal has changed; may stop waiting there and then.
OnChange = Callable[[Key], None]


class Waiting:
    """Tells those who wait of the changes of their vassals, and of no others."""

    def __init__(self, court: Court) -> None:
        self._court = court
        self._waiters: dict[Key, list[OnChange]] = {}
        self._unsubscribe: Callable[[], None] | None = None

    def add(self, key: Key, on_change: OnChange) -> None:
        """Tell of every change of this vassal from now on."""
        self._waiters.setdefault(key, []).append(on_change)
        if self._unsubscribe is None:
            self._unsubscribe = self._court.subscribe(self._tell)

    def remove(self, key: Key, on_change: OnChange) -> None:
        """Tell no more of it."""
        waiters = self._waiters[key]
        waiters.remove(on_change)
        if not waiters:
            del self._waiters[key]
        if not self._waiters and self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def _tell(self, key: Key) -> None:
        for on_change in tuple(self._waiters.get(key, ())):
            on_change(key)
