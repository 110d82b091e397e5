"""Which program a vassal is, where it is not uWSGI, and with what words."""

from __future__ import annotations

import enum
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from emperor.compiler.delivered import Acting
from emperor.compiler.programs.settings import Settings

#: uWSGI's own options, in the order in which it would come to them.
_PATCHES = (
    "privileged-binary-patch",
    "privileged-binary-patch-arg",
    "unprivileged-binary-patch",
    "unprivileged-binary-patch-arg",
)
_OURS = "vassal-exec"

#: With one of these, a vassal is a program.
PROGRAMS = frozenset({*_PATCHES, _OURS})


class Form(enum.Enum):
    """When the program takes the place of uWSGI."""

    PRIVILEGED = "before rights are given up"
    UNPRIVILEGED = "after that"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The program's words, and when it has its turn."""

    words: tuple[str, ...]
    form: Form


def command(settings: Settings, arguments: Sequence[str]) -> Command | None:
    """The vassal's program; nothing if it is uWSGI, or if what is said cannot be meant.

    ``arguments`` are uWSGI's own, which a plain patch takes over: it replaces the program and
    not its words.
    """
    found = [option for name in _PATCHES if (option := settings.last(name)) is not None]
    ours = settings.last(_OURS)
    if ours is not None and found:
        settings.wrong(ours, f'"{found[0].key}" names a program too', "take one of them out")
    if ours is not None:
        words = _words(settings, ours)
        return Command(words=words, form=Form.UNPRIVILEGED) if words else None
    if not found:
        return None
    option = found[0]
    settings.idle(
        (later.key for later in found[1:]), f'"{option.key}" comes before it', "take it out"
    )
    if not option.value:
        settings.wrong(option, "it names no program", "write the program")
    is_privileged = option.key.startswith("privileged")
    return Command(
        words=_shell(option.value)
        if option.key.endswith("-arg")
        else (option.value, *arguments),
        form=Form.PRIVILEGED if is_privileged else Form.UNPRIVILEGED,
    )


# -- vassal-exec -----------------------------------------------------------------------------

#: A command line in pieces: what is quoted and means itself; what the shell fills in and stays
#: within one command; any other character.
_PIECES = re.compile(
    r"""(?P<plain> '[^']*' | \\. | "(?:[^"\\`$]|\\["\\])*" )
    | (?P<filled> "(?:[^"\\]|\\.)*" | \$\([^()]*\) | `[^`]*` | [<>]&[0-9-] )
    | (?P<other> . )""",
    re.VERBOSE | re.DOTALL,
)
_UNCLOSED = frozenset("'\"`\\")
_OPERATORS = frozenset(";&|()\n")
_FILLED = frozenset("<>$*?[]~#{}!")
#: Where a word is not a program, "exec" in front of it would be wrong.
_NO_PROGRAM = re.compile(
    r"[A-Za-z_]\w*=|[{!(]|(if|for|while|until|case|exec|export|cd|ulimit|umask|trap|\.)\s"
)


def _words(settings: Settings, option: Acting) -> tuple[str, ...]:
    """The words of a command line.

    Without a shell where it means nothing but its words. Else a shell reads it: one that
    becomes the program where the text is a single command, so that signals reach it, and one
    that stays where it is several.
    """
    text = option.value.strip()
    pieces = list(_PIECES.finditer(text))
    others = {piece["other"] for piece in pieces}
    if not text:
        settings.wrong(option, "it names no program", "write the program and its words")
        return ()
    if not _UNCLOSED.isdisjoint(others):
        settings.wrong(option, "a quotation mark or backslash has no other end", "close it")
        return ()
    if not _OPERATORS.isdisjoint(others) or _NO_PROGRAM.match(text):
        return _shell(text)
    if not _FILLED.isdisjoint(others) or any(piece["filled"] for piece in pieces):
        return _shell(f"exec {text}")
    return tuple(shlex.split(text))


def _shell(text: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", text)
