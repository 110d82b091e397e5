"""A storm of operations on many vassals, and what there must be after it. Pure.

A storm with the same seed is the same storm.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.e2e.sites import FORMATS, broken, in_format

#: What ``storm_vassal.c`` can be.
TEMPERS = ("calm", "calm", "slow", "beating", "forking", "stubborn", "deaf", "crashing")

#: How many operations come at once, at most.
MOST_AT_ONCE = 80


class Kind(enum.Enum):
    """What is done."""

    WRITE = "write"  # a new config, as an editor saves it
    SCRIBBLE = "scribble"  # a new config, in two halves over the old one
    SWAP = "swap"  # a new config, for a moment there is none
    BREAK = "break"  # a text that does not compile
    TOUCH = "touch"
    REMOVE = "remove"
    KILL = "kill"  # SIGKILL for the main process
    FLOOD = "flood"  # the process says thousands of bytes of nonsense
    ASK = "ask"  # the process asks for its config
    DEPART = "depart"  # the process leaves of its own will
    STOP = "stop"  # an operator's word
    START = "start"
    RELOAD = "reload"
    RETRY = "retry"
    RELOAD_ALL = "reload all"  # SIGHUP
    RETRY_ALL = "retry all"  # SIGURG


_OF_FILES = (Kind.WRITE, Kind.SCRIBBLE, Kind.SWAP, Kind.BREAK, Kind.TOUCH, Kind.REMOVE)
_OF_ALL = (Kind.RELOAD_ALL, Kind.RETRY_ALL)
_OF_OTHERS = tuple(kind for kind in Kind if kind not in (*_OF_FILES, *_OF_ALL))

#: How often each kind is drawn. A vassal that is not there is given a file instead.
_WEIGHTS = {
    Kind.WRITE: 24,
    Kind.SCRIBBLE: 8,
    Kind.SWAP: 5,
    Kind.BREAK: 7,
    Kind.TOUCH: 13,
    Kind.REMOVE: 8,
    Kind.KILL: 13,
    Kind.FLOOD: 5,
    Kind.ASK: 4,
    Kind.DEPART: 1,
    Kind.STOP: 4,
    Kind.START: 3,
    Kind.RELOAD: 3,
    Kind.RETRY: 1,
    Kind.RELOAD_ALL: 1,
    Kind.RETRY_ALL: 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that is done, to one vassal or (without a name) to the daemon."""

    kind: Kind
    name: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is wanted of one vassal. ``serials`` number all its good configs so far.

    If it ``may_rest`` it depends on the moment whether it runs. It ``has_been_away`` if its
    file was, which perhaps nobody has noticed.
    """

    has_file: bool = False
    is_broken: bool = False
    is_stopped: bool = False
    may_rest: bool = False
    has_been_away: bool = False
    temper: str = "calm"
    serials: tuple[int, ...] = ()

    @property
    def must_run(self) -> bool:
        """Whether it is to run, with the config that is in its file now."""
        is_well = self.has_file and not self.is_broken and self.temper != "crashing"
        return is_well and not self.is_stopped and not self.may_rest


class Storm:
    """Operations, drawn one after the other, and what they should lead to: ``wishes``."""

    def __init__(self, *, seed: int, vassals: int) -> None:
        self._dice = random.Random(seed)
        self._serial = 0
        self.wishes = {f"v{n:03}.{FORMATS[n % len(FORMATS)]}": Wish() for n in range(vassals)}

    def population(self) -> list[Operation]:
        """Every vassal comes, and is calm."""
        return self.resettling()

    def bursts(self, operations: int) -> Iterator[list[Operation]]:
        """So many operations, in bursts of any size."""
        left = operations
        while left:
            size = min(left, self._dice.randint(1, MOST_AT_ONCE))
            left -= size
            yield [self._any() for _ in range(size)]

    def clearing(self) -> list[Operation]:
        """Every vassal goes that is not calm, or of which one cannot know."""
        return [
            self._noted(Operation(kind=Kind.REMOVE, name=name))
            for name, wish in self.wishes.items()
            if wish.has_file and not (wish.must_run and wish.temper == "calm")
        ]

    def resettling(self) -> list[Operation]:
        """After the clearing, when they are gone indeed: every vassal that is not there comes,
        and is calm."""
        self.wishes = {
            name: wish if wish.has_file else Wish() for name, wish in self.wishes.items()
        }
        return [
            *(self._write(Kind.WRITE, name, "calm") for name in self._absent()),
            Operation(kind=Kind.RETRY_ALL),
        ]

    def somebody(self) -> str:
        """Any vassal, there or not."""
        return self._dice.choice(tuple(self.wishes))

    def _absent(self) -> list[str]:
        return [name for name, wish in self.wishes.items() if not wish.has_file]

    # -- what is drawn -----------------------------------------------------------------------

    def _any(self) -> Operation:
        kind = self._dice.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()))[0]
        if kind in _OF_ALL:
            return Operation(kind=kind)
        name = self.somebody()
        wish = self.wishes[name]
        if not wish.has_file and kind not in (*_OF_OTHERS, Kind.BREAK):
            kind = Kind.WRITE
        if kind is Kind.STOP and wish.has_been_away:
            kind = Kind.RELOAD  # one could not say whether it was heard
        if kind is Kind.REMOVE and wish.is_stopped:
            kind = Kind.TOUCH  # nor whether one who comes back at once rests still
        if kind is Kind.BREAK:
            text = broken(name.rpartition(".")[2])
            return self._noted(Operation(kind=kind, name=name, text=text))
        if kind in (Kind.WRITE, Kind.SCRIBBLE, Kind.SWAP):
            return self._write(kind, name, self._dice.choice(TEMPERS))
        return self._noted(Operation(kind=kind, name=name))

    def _write(self, kind: Kind, name: str, temper: str) -> Operation:
        self._serial += 1
        options = (
            ("master", "false" if temper == "deaf" else "true"),
            ("socket", "127.0.0.1:0"),  # nobody binds it
            ("temper", temper),
            ("serial", str(self._serial)),
        )
        text = in_format(name.rpartition(".")[2], options)
        wish = self.wishes[name]
        self.wishes[name] = replace(
            wish,
            has_file=True,
            is_broken=False,
            temper=temper,
            serials=(*wish.serials, self._serial),
        )
        return Operation(kind=kind, name=name, text=text)

    def _noted(self, operation: Operation) -> Operation:
        name = operation.name
        self.wishes[name] = _after(self.wishes[name], operation.kind)
        return operation


def _after(wish: Wish, kind: Kind) -> Wish:
    """What is wanted of a vassal after an operation that gives it no new config."""
    match kind:
        case Kind.BREAK:
            return replace(wish, has_file=True, is_broken=True)
        case Kind.REMOVE:
            return replace(wish, has_file=False, has_been_away=True)
        case Kind.STOP:
            return replace(wish, is_stopped=True)
        case Kind.START:
            return replace(wish, is_stopped=False)
        case Kind.DEPART:
            return replace(wish, may_rest=True)
        case _:
            return wish
