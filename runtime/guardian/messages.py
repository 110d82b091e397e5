"""What the daemon and the guardian say to each other: one message a packet, as compact JSON.

A packet is a list, the kind of message and then its fields in order. Text is UTF-8 with
surrogateescape, so every byte of an environment survives the journey. Descriptors travel
beside a packet; a spawn that does not fit one is announced by ``Body`` and travels in a
memory file, which is then the first of the descriptors.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields

PACKET_BYTES = 32_768
"""The largest packet that either side sends; a larger spawn goes as a ``Body``."""

HIGHEST_TARGET = 63
"""The highest descriptor number that a vassal can be given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawn:
    """Start a program; ``targets`` are the numbers the passed descriptors get in it.

    Without target 0 its standard input is /dev/null. ``None`` for ``cwd`` and ``umask`` is
    what the guardian was started with. ``owner`` is the uid that it becomes, where that is not
    the guardian's; ``forks``: the program is a wrapper with one child, which is the vassal.
    Raises ValueError for targets and owners that cannot be.
    """

    request_id: int
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str | None = None
    umask: int | None = None
    targets: tuple[int, ...] = ()
    owner: int | None = None
    forks: bool = False

    def __post_init__(self) -> None:
        _check_owner(self.owner)
        if len(set(self.targets)) != len(self.targets):
            raise ValueError(f"descriptor number given twice: {self.targets}")
        if any(not 0 <= target <= HIGHEST_TARGET for target in self.targets):
            raise ValueError(f"descriptor number above {HIGHEST_TARGET}: {self.targets}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A spawn whose text is in the memory file that is its first descriptor."""

    request_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """Send a signal to a vassal's main process, or to its whole process group."""

    pid: int
    signum: int
    group: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Kill this vassal of an earlier guardian, too, when the daemon is gone.

    ``owner`` as in ``Spawn``; ValueError for one that cannot be.
    """

    pid: int
    owner: int | None = None

    def __post_init__(self) -> None:
        _check_owner(self.owner)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """The adopted vassal is gone."""

    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Become:
    """Become a lesser user for good; ``None`` is: stay what it is.

    ``capabilities`` are the only ones that it keeps, if there are any, ``bounding`` the only
    ones that what it starts can gain.
    """

    uid: int | None
    gid: int | None
    groups: tuple[int, ...] = ()
    capabilities: tuple[int, ...] = ()
    bounding: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawned:
    """The program runs, as the leader of its own session and process group ``pid``."""

    request_id: int
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The program could not be started; ``message`` names what could not be used."""

    request_id: int
    errno: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """A main process is dead and its process group empty; ``status``: exit code or -signal."""

    pid: int
    status: int


Request = Spawn | Body | Signal | Adopt | Forget | Become
Report = Spawned | Failed | Exited
Message = Request | Report

_KINDS: dict[str, type[Message]] = {
    kind.__name__.lower(): kind
    for kind in (Spawn, Body, Signal, Adopt, Forget, Become, Spawned, Failed, Exited)
}
_FIELDS = {kind: tuple(field.name for field in fields(kind)) for kind in _KINDS.values()}
_TUPLES = {"argv", "targets", "groups", "capabilities", "bounding"}


def _check_owner(owner: int | None) -> None:
    # Whom a guardian becomes for a moment, to signal his processes: never root.
    if owner is not None and owner <= 0:
        raise ValueError(f"no tenant: uid {owner}")


def encode(message: Message) -> bytes:
    """Return the message as ASCII JSON; a long one may exceed ``PACKET_BYTES``."""
    kind = type(message)
    values = [getattr(message, name) for name in _FIELDS[kind]]
    return json.dumps([kind.__name__.lower(), *values], separators=(",", ":")).encode("ascii")


def decode(packet: bytes | bytearray | memoryview) -> Message:
    """Return the message in a packet; ValueError, KeyError or TypeError if it holds none."""
    kind, *values = json.loads(bytes(packet))
    known = _KINDS[kind]
    named = dict(zip(_FIELDS[known], values, strict=True))
    for name in _TUPLES & named.keys():
        if named[name] is not None:
            named[name] = tuple(named[name])
    return known(**named)
