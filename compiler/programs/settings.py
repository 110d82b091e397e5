"""The options of one vassal that is a program, and which of them somebody has asked for."""

from __future__ import annotations

from collections.abc import Iterable

from emperor.compiler.delivered import Acting
from emperor.compiler.diagnostics import Diagnostics
from emperor.compiler.evaluation import boolean, leading_number


class Settings:
    """What a vassal sets, by option, in the order in which it acts.

    Every option that is asked for by name counts as understood; ``unasked`` are the others, so
    what is forgotten here is named to the user and never skipped in silence.
    """

    def __init__(self, options: Iterable[Acting], diagnostics: Diagnostics) -> None:
        self._options = tuple(options)
        self._diagnostics = diagnostics
        self._asked: set[str] = set()

    def every(self, *names: str) -> list[Acting]:
        """All occurrences of options that add up, in order."""
        self._asked.update(names)
        return [option for option in self._options if option.key in names]

    def last(self, *names: str) -> Acting | None:
        """The occurrence that counts of an option with a single value, and its aliases."""
        found = self.every(*names)
        return found[-1] if found else None

    def text(self, *names: str) -> str | None:
        """The value that counts."""
        found = self.last(*names)
        return None if found is None else found.value

    def number(self, *names: str) -> int | None:
        """The value that counts as uWSGI reads numbers: what is none is 0."""
        found = self.last(*names)
        return None if found is None else leading_number(found.value)

    def flag(self, name: str) -> bool:
        """Whether a flag is given that does not say no."""
        found = self.last(name)
        return found is not None and boolean(found.value)

    def has(self, *names: str) -> bool:
        """Whether one of these options is given."""
        return bool(self.every(*names))

    def unasked(self) -> list[Acting]:
        """What nobody has asked for until now."""
        return [option for option in self._options if option.key not in self._asked]

    def wrong(self, option: Acting, reason: str, remedy: str) -> None:
        """Record a value that cannot be meant: ``reason`` goes on a sentence after it."""
        self._diagnostics.stop(
            "invalid-value", f'"{option.key} = {option.value}": {reason}', option.origin, remedy
        )

    def bad_hook(self, option: Acting, reason: str, remedy: str) -> None:
        """Record a hook that cannot be done."""
        self._diagnostics.stop("bad-hook", reason, option.origin, remedy)

    def idle(self, names: Iterable[str], reason: str, remedy: str) -> None:
        """Warn of each of these options that is given: it changes nothing."""
        for option in self.every(*names):
            self._diagnostics.warn(
                "no-effect", f'"{option.key}" has no effect: {reason}', option.origin, remedy
            )

    def cannot(self, names: Iterable[str], reason: str, remedy: str) -> None:
        """Refuse each of these options that is given: without it the vassal is less confined
        than its owner means."""
        for option in self.every(*names):
            self.wrong(option, reason, remedy)

    def warn(self, code: str, message: str, option: Acting, remedy: str) -> None:
        """Warn of something at the place of an option."""
        self._diagnostics.warn(code, message, option.origin, remedy)
