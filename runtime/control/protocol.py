"""What the control socket and its clients say to each other: one JSON object a line. Pure.

Lines are ASCII: a name that is not UTF-8 is carried as escaped surrogates, both ways.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from emperor.runtime.views import VassalView, Verb

VERSION = 1

#: The longest request, in bytes.
MOST_REQUEST_BYTES = 1024 * 1024

#: The longest wait that can be asked for: a week, in seconds.
MOST_SECONDS = 7 * 24 * 3600.0

#: How long is waited if nobody says so, in seconds.
DEFAULT_SECONDS = 120.0

#: The verb of a request that only looks.
LOOK = "status"

_KEYS = frozenset({"version", "verb", "names", "all", "wait", "timeout_seconds", "rolling"})
_VIEW_FIELDS = tuple(field.name for field in fields(VassalView))
_ABSENT: Mapping[str, object] = {"int": 0, "str": "", "bool": False, "tuple[str, ...]": ()}


class Outcome(enum.Enum):
    """What became of a request for one vassal."""

    WELL = "well"  # it does what it should
    STOPPED = "stopped"  # it was told to stop, and has
    ASKED = "asked"  # it has been told; nobody waited for it
    PENDING = "pending"  # something is under way still
    FAILED = "failed"  # nothing is under way, and it is not as it should be
    GONE = "gone"  # it is not a vassal any more
    UNKNOWN = "unknown"  # it has never been one
    SKIPPED = "skipped"  # left alone, because another one failed

    @property
    def is_fine(self) -> bool:
        """Whether a script may go on."""
        return self in (Outcome.WELL, Outcome.STOPPED, Outcome.ASKED)


class BadRequest(ValueError):
    """A request that makes no sense; the text says why."""


class BadAnswer(ValueError):
    """An answer that makes no sense; the text says why."""


class Refused(Exception):
    """The daemon does not do what was asked; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for. ``verb`` nothing: only look. No names: all vassals.

    A rolling request goes from one vassal to the next when it is well, and stops at the first
    that is not; its ``timeout_seconds`` are for each vassal, else they are for all together.
    """

    verb: Verb | None
    names: tuple[str, ...] = ()
    waits: bool = False
    is_rolling: bool = False
    timeout_seconds: float = DEFAULT_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one vassal. ``data`` is the line as it came, ``vassal`` among it."""

    name: str
    outcome: Outcome
    view: VassalView | None
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """All is said; ``is_fine`` if every outcome was."""

    is_fine: bool


# -- requests ------------------------------------------------------------------------------


def request_line(request: Request) -> bytes:
    """A request as it goes over the socket."""
    data: dict[str, object] = {
        "version": VERSION,
        "verb": LOOK if request.verb is None else request.verb.value,
    }
    if request.names:
        data["names"] = list(request.names)
    elif request.verb is not None:
        data["all"] = True
    if request.waits:
        data |= {"wait": True, "timeout_seconds": request.timeout_seconds}
    if request.is_rolling:
        data["rolling"] = True
    return _line(data)


def read_request(line: bytes) -> Request:
    """The request in a line; raises ``BadRequest``."""
    data = _request_object(line)
    is_rolling = _flag(data, "rolling")
    request = Request(
        verb=_verb(data),
        names=_names(data),
        waits=_flag(data, "wait") or is_rolling,
        is_rolling=is_rolling,
        timeout_seconds=_seconds(data),
    )
    is_all = _flag(data, "all")
    if request.names and is_all:
        raise BadRequest("names and all exclude each other")
    if request.verb is not None and not request.names and not is_all:
        raise BadRequest(f"{request.verb.value} wants names, or all")
    if is_rolling and request.verb is not Verb.RELOAD:
        raise BadRequest("rolling belongs to reload")
    return request


def _request_object(line: bytes) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadRequest("a request is a JSON object")
    if data.get("version") != VERSION:
        raise BadRequest(f"version {VERSION} is spoken here")
    if unknown := sorted(data.keys() - _KEYS):
        raise BadRequest(f"unknown key {json.dumps(unknown[0])}")
    return data


def _verb(data: Mapping[str, Any]) -> Verb | None:
    word = data.get("verb")
    if word == LOOK:
        return None
    for verb in Verb:
        if word == verb.value:
            return verb
    known = ", ".join([LOOK, *(verb.value for verb in Verb)])
    raise BadRequest(f"verb is one of {known}")


def _names(data: Mapping[str, Any]) -> tuple[str, ...]:
    names = data.get("names", [])
    if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names):
        raise BadRequest("names is a list of texts")
    if "names" in data and not names:
        raise BadRequest("names is empty")
    return tuple(names)


def _flag(data: Mapping[str, Any], key: str) -> bool:
    value = data.get(key, False)
    if not isinstance(value, bool):
        raise BadRequest(f"{key} is true or false")
    return value


def _seconds(data: Mapping[str, Any]) -> float:
    value = data.get("timeout_seconds", DEFAULT_SECONDS)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= MOST_SECONDS:
        raise BadRequest(f"timeout_seconds is a number from 0 to {MOST_SECONDS:.0f}")
    return float(value)


# -- answers -------------------------------------------------------------------------------


def vassal_line(name: str, outcome: Outcome, view: VassalView | None) -> bytes:
    """What became of one vassal."""
    shown = None if view is None else {field: getattr(view, field) for field in _VIEW_FIELDS}
    return _answer("vassal", name=name, outcome=outcome.value, ok=outcome.is_fine, vassal=shown)


def end_line(*, is_fine: bool) -> bytes:
    """The last line of every answer that is not an error."""
    return _answer("end", ok=is_fine)


def error_line(text: str) -> bytes:
    """Why nothing was done."""
    return _answer("error", error=text)


def read_answer(line: bytes) -> Answer | End:
    """What the daemon says in a line; raises ``Refused`` or ``BadAnswer``.

    A daemon of another version of this package may tell more of a vassal, or less: what it
    does not tell is 0, empty or false.
    """
    try:
        data = json.loads(line)
        version, kind = data["version"], data["kind"]
        if version == VERSION and kind == "vassal":
            return Answer(
                name=data["name"],
                outcome=Outcome(data["outcome"]),
                view=None if data["vassal"] is None else _view(data["vassal"]),
                data=data,
            )
        said = data["error"] if kind == "error" else data["ok"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise BadAnswer(f"it says {line[:80]!r}") from None
    if version != VERSION:
        raise BadAnswer(f"it speaks version {version}, not {VERSION}")
    if kind == "error":
        raise Refused(str(said))
    return End(is_fine=said is True)


def _view(data: Mapping[str, Any]) -> VassalView:
    told: dict[str, Any] = {}
    for field in fields(VassalView):
        absent = _ABSENT[str(field.type)]
        value = data.get(field.name, absent)
        told[field.name] = tuple(value) if isinstance(absent, tuple) else value
    return VassalView(**told)


def _answer(kind: str, **data: object) -> bytes:
    return _line({"version": VERSION, "kind": kind, **data})


def _line(data: Mapping[str, object]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode("ascii") + b"\n"
