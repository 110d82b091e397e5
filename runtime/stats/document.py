"""What the stats sockets say: uWSGI's keys in its order, then ours; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from emperor.runtime.views import VassalView

#: So much of a vassal's findings is shown; `emperor why` has all of them.
MOST_FINDING_CHARACTERS = 4096

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmperorFacts:
    """What the document says of the Emperor itself.

    ``monitors`` are as the user wrote them; ``throttle_milliseconds`` is by how much the next
    start would be held back.
    """

    version: str
    pid: int
    uid: int
    gid: int
    cwd: str
    monitors: tuple[str, ...]
    is_tyrant: bool
    throttle_milliseconds: int = 0


def document(views: Iterable[VassalView], emperor: EmperorFacts) -> dict[str, object]:
    """The whole document as JSON has it. Times are epoch seconds, 0 is never."""
    seen = tuple(views)
    return {
        **_head(emperor),
        "vassals": [_vassal(view) for view in seen],
        "blacklist": [_entry(view) for view in seen if view.attempts],
    }


def pieces(views: Iterable[VassalView], emperor: EmperorFacts) -> Iterator[bytes]:
    """The same document as text, one vassal after the other, so that it can be made in slices.

    ASCII, one line for each vassal; it ends with a newline.
    """
    encode = json.JSONEncoder(check_circular=False).encode
    head = ",\n".join(f'"{key}": {encode(value)}' for key, value in _head(emperor).items())
    yield f'{{{head},\n"vassals": ['.encode()
    blacklist = []
    separator = "\n"
    for view in views:
        yield f"{separator}{encode(_vassal(view))}".encode()
        separator = ",\n"
        if view.attempts:
            blacklist.append(encode(_entry(view)))
    yield b'],\n"blacklist": ['
    yield ",".join(f"\n{entry}" for entry in blacklist).encode()
    yield b"]}\n"


def printable(text: str) -> str:
    """The text without lone surrogates, which strict readers of JSON refuse.

    A byte that is not UTF-8 becomes ``\\xe9``, as in Python; any other surrogate U+FFFD.
    """
    if text.isascii():
        return text
    return _SURROGATE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    return (
        f"\\x{number - 0xDC00:02x}"
        if 0xDC80 <= number <= 0xDCFF
        else "\N{REPLACEMENT CHARACTER}"
    )


def _head(emperor: EmperorFacts) -> dict[str, object]:
    return {
        "version": emperor.version,
        "pid": emperor.pid,
        "uid": emperor.uid,
        "gid": emperor.gid,
        "cwd": printable(emperor.cwd),
        "emperor": [printable(monitor) for monitor in emperor.monitors],
        "emperor_tyrant": int(emperor.is_tyrant),
        "throttle_level": emperor.throttle_milliseconds,
    }


def _vassal(view: VassalView) -> dict[str, object]:
    return {
        "id": printable(view.id),
        "pid": view.pid,
        "born": view.born,
        "last_mod": view.last_mod,
        "last_heartbeat": view.last_heartbeat,
        "loyal": view.loyal,
        "ready": view.ready,
        "accepting": view.accepting,
        "last_loyal": view.last_loyal,
        "last_ready": view.last_ready,
        "last_accepting": view.last_accepting,
        "first_run": view.first_run,
        "last_run": view.last_run,
        "cursed": view.cursed,
        "zerg": view.zerg,
        "on_demand": printable(view.on_demand),
        "uid": view.uid,
        "gid": view.gid,
        "monitor": printable(view.monitor),
        "respawns": view.respawns,
        # what uWSGI does not have; only ever after what it has
        "name": printable(view.shown),
        "state": view.state,
        "generation": view.generation,
        "digest": view.digest,
        "last_exit": view.last_exit,
        "last_exit_at": view.last_exit_at,
        "next_try": view.next_try,
        "broken": int(view.is_broken),
        "diagnostics": _findings(view.diagnostics),
        "outlook": printable(view.outlook),
    }


def _entry(view: VassalView) -> dict[str, object]:
    return {
        "id": printable(view.id),
        "throttle_level": view.throttle_milliseconds,
        "attempt": view.attempts,
        "first_attempt": view.first_attempt,
        "last_attempt": view.last_attempt,
        "name": printable(view.shown),
    }


def _findings(texts: tuple[str, ...]) -> list[str]:
    """The findings, cut: what a tenant writes must not make everybody's document large."""
    shown: list[str] = []
    room = MOST_FINDING_CHARACTERS
    for number, text in enumerate(texts):
        if len(text) > room:
            shown.append(f"{len(texts) - number} more: emperor why shows them")
            break
        shown.append(printable(text))
        room -= len(text)
    return shown
