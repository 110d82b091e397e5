"""The delivered config: what the vassal's uWSGI reads over the config pipe.

It is given as ``--inherit emperor://NAME.ini``. What is inherited is never expanded, only magic
variables are replaced, so ``%`` is written ``%%`` and nothing else is escaped. uWSGI takes at
most 65,535 bytes at once; a longer text goes in parts, each naming the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from emperor.compiler.catalogue import everything
from emperor.compiler.diagnostics import Diagnostics
from emperor.compiler.effective import is_steering
from emperor.compiler.pipeline import Compiled
from emperor.compiler.source import Origin, from_bytes, is_utf8, to_bytes
from emperor.compiler.target import Target

MOST_BYTES = 65_535
BLANKS = " \t\r"


class Acting(NamedTuple):
    """One option that acts in the vassal."""

    key: str
    value: str
    origin: Origin


class Delivered(NamedTuple):
    """The texts to send, in order, and the URL that the vassal is started with."""

    url: str
    parts: tuple[str, ...]


def acting_options(compiled: Compiled, target: Target) -> list[Acting]:
    """What acts, in the order in which it acts: what acted at reading, then the list.

    Left out is what the compiler has judged: logic, includes, ``set`` lines (their keys stay),
    declarations and their uses, lists, ``strict``. Unknown keys stay: apps and plugins that
    the catalogue does not know may read them.
    """
    acting = [_acting(*act) for act in compiled.acted if not is_steering(act[0])]
    for entry in compiled.entries:
        if entry.acts_at_reading:
            continue
        if entry.runs is not None:
            acting += [_acting(*run) for run in entry.runs if not is_steering(run[0])]
        elif not is_steering(entry.key):
            value = entry.value if entry.whole is None else entry.whole
            acting.append(_acting(entry.key, value, entry.origin))
    if target.interpreter is not None and not any(a.key == "binary-path" for a in acting):
        nowhere = acting[0].origin if acting else None
        if nowhere is not None:
            acting.append(Acting(key="binary-path", value=target.interpreter, origin=nowhere))
            if _is_emperor(acting):  # it would start its vassals with the bare interpreter
                acting.append(Acting(key="emperor-wrapper", value=target.path, origin=nowhere))
    return acting


def _is_emperor(acting: list[Acting]) -> bool:
    """Whether the vassal is an Emperor itself that has not been told what to start."""
    keys = {option.key for option in acting}
    return "emperor" in keys and "emperor-wrapper" not in keys


def _acting(key: str, value: str | None, origin: Origin) -> Acting:
    """An option with a value: a flag that was given none gets the one that means the same."""
    if value is None:
        facts = everything().get(key)
        value = "true" if facts is not None and facts["kind"] == "bool" else "1"
    return Acting(key=key, value=value, origin=origin)


def deliver(
    name: str, compiled: Compiled, target: Target, diagnostics: Diagnostics
) -> Delivered:
    """The texts for a vassal called ``name``; what cannot be said becomes a diagnostic."""
    acting = acting_options(compiled, target)
    base = name.replace(":", "_")
    fitting = [option for option in acting if _fits_ini(option)]
    if len(fitting) < len(acting):
        text = _as_json(acting, target)
        if text is not None and len(text.encode()) <= MOST_BYTES:
            return Delivered(url=f"emperor://{base}.json", parts=(text,))
        odd = next(option for option in acting if not _fits_ini(option))
        _report(diagnostics, odd, "has a line end or outer blanks, which ini cannot hold")
    stem = base.removesuffix(".ini")
    lines = [_line(option) for option in fitting]
    for option, line in zip(fitting, lines, strict=True):
        if len(to_bytes(line)) > MOST_BYTES - 200 - len(to_bytes(stem)):
            _report(diagnostics, option, f"is longer than {MOST_BYTES:,} bytes")
    return Delivered(url=f"emperor://{stem}.ini", parts=tuple(_parts(stem, lines)))


def _report(diagnostics: Diagnostics, option: Acting, what: str) -> None:
    diagnostics.stop(
        "undeliverable",
        f'the value of "{option.key}" {what}: it cannot be handed to uWSGI unchanged',
        option.origin,
        "shorten or simplify the value, or read it from a file inside the app",
    )


def _fits_ini(option: Acting) -> bool:
    key, value = option.key, option.value
    if "\n" in key or "\n" in value or "=" in key:
        return False
    return (
        key == key.strip(BLANKS)
        and value == value.strip(BLANKS)
        and key[:1] not in {";", "#", "["}
    )


def _line(option: Acting) -> str:
    key = option.key.replace("%", "%%")
    return f"{key} = {option.value.replace('%', '%%')}".rstrip(" ")


def _parts(stem: str, lines: list[str]) -> Iterator[str]:
    """The lines in texts of at most 65,535 bytes; each names the next in its last line."""
    header = "[uwsgi]\n"
    room = MOST_BYTES - len(header) - len(to_bytes(f"inherit = emperor://{stem}-99999.ini\n"))
    chunk: list[str] = []
    size, number = 0, 1
    for line in lines:
        length = len(to_bytes(line)) + 1
        if chunk and size + length > room:
            number += 1
            chunk.append(f"inherit = emperor://{stem}-{number}.ini")
            yield header + "\n".join(chunk) + "\n"
            chunk, size = [], 0
        chunk.append(line)
        size += length
    yield header + "\n".join(chunk) + ("\n" if chunk else "")


def _as_json(acting: list[Acting], target: Target) -> str | None:
    """The options as JSON, for values that ini cannot hold; nothing if JSON cannot either.

    yajl keeps repeated keys and their order. Other readers keep one of them, so repeated keys
    become arrays there, which keeps the order within each option.
    """
    if any(not is_utf8(option.key + option.value) for option in acting):
        return None
    if target.reads_json == "yajl":
        pairs = [f"{_quote(o.key)}: {_quote(o.value)}" for o in acting]
    elif target.reads_json == "jansson":
        grouped: dict[str, list[str]] = {}
        for option in acting:
            grouped.setdefault(option.key, []).append(option.value)
        pairs = [
            f"{_quote(key)}: [{', '.join(map(_quote, values))}]"
            for key, values in grouped.items()
        ]
    else:
        return None
    return '{"uwsgi": {\n' + ",\n".join(pairs) + "\n}}\n"


def _quote(text: str) -> str:
    return json.dumps(from_bytes(to_bytes(text)), ensure_ascii=False).replace("%", "%%")
