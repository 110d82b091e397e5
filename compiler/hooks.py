"""Hooks as the user writes them: read, and refused with a reason.

``grammar/hooks.lark`` says what a hook is; ``compiler/actions.py`` what becomes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from lark import UnexpectedInput

from emperor.compiler.actions import ARGUMENTS, INSIDE_UWSGI, Unfit, command_of
from emperor.compiler.diagnostics import Diagnostics
from emperor.compiler.grammars import parser
from emperor.compiler.source import Origin

#: Options whose value is a program that gets the vassal's name, and no hook in this sense.
PROGRAMS = frozenset({"vassals-start-hook", "vassals-stop-hook"})

#: What a process can only do to itself: an Emperor's hook is done by another one.
_NOT_FOR_THE_EMPEROR = frozenset({"exit"})


class BadHook(ValueError):
    """A text that is no hook, or one that cannot be done. ``remedy`` is what to do instead."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One hook. ``option`` brought it, with the text ``value``; ``arguments`` are those of the
    action, as many as were given."""

    option: str
    value: str
    action: str
    arguments: tuple[str, ...]
    is_private: bool = False

    @property
    def label(self) -> str:
        """What logs call it: on one line, and without a private text."""
        shown = "(private)" if self.is_private else " ".join(self.value.splitlines())
        return f"{self.option} = {shown}"


@lru_cache(maxsize=256)
def parse_hook(option: str, value: str) -> Hook:
    """The hook behind an option and its value; raises ``BadHook``.

    ``exec-as-...``, ``mount-as-...`` and ``umount-as-...`` have their action in their name.
    """
    kind = option.partition("-as-")[0]
    text = f"{kind}:{value}" if kind in {"exec", "mount", "umount"} else value
    if "\0" in value:
        raise BadHook(f'the value of "{option}" has a NUL in it', "take it out")
    try:
        tokens = parser("hooks").parse(text).children
    except UnexpectedInput:
        raise _explained(option, text) from None
    words = tuple(str(token) for token in tokens)
    is_private = words[0] == "!"
    action, *arguments = words[is_private:]
    if action in INSIDE_UWSGI:
        raise BadHook(
            f'the hook action "{action}" calls into a running uWSGI, and here is none yet',
            "use exec:COMMAND, or a hook in the vassal's own file (hook-asap and so on)",
        )
    return Hook(
        option=option,
        value=value,
        action=action,
        arguments=tuple(arguments),
        is_private=is_private,
    )


def _explained(option: str, text: str) -> BadHook:
    action, colon, _ = text.removeprefix("!").partition(":")
    if not colon:
        return BadHook(f'"{option} = {text}" has no colon', "write ACTION:ARGUMENTS")
    if action not in ARGUMENTS:
        return BadHook(
            f'there is no hook action "{action}"', f"use one of {', '.join(ARGUMENTS)}"
        )
    usage = f"{action}:{ARGUMENTS[action]}"
    if option.partition("-as-")[0] == action:
        usage = f"{option} = {ARGUMENTS[action]}"
    return BadHook(
        f'"{action}" lacks an argument in "{option}", or has one too many', f"write {usage}"
    )


def check_hook(
    option: str, value: str, origin: Origin | None, diagnostics: Diagnostics
) -> None:
    """Record what is wrong with a hook of the Emperor's configuration, if something is."""
    try:
        _check(option, value)
    except BadHook as error:
        diagnostics.stop("bad-hook", str(error), origin, error.remedy)


def _check(option: str, value: str) -> None:
    if option in PROGRAMS:
        if not value or "\0" in value:
            raise BadHook(f'"{option}" names no program', "write the path of a program")
        return
    hook = parse_hook(option, value)
    if hook.action in _NOT_FOR_THE_EMPEROR and not option.endswith("-as-vassal"):
        raise BadHook(
            f'"{hook.action}" in "{option}" would end the Emperor', "take the hook out"
        )
    try:
        command_of(hook.action, hook.arguments, seconds=0.0)
    except Unfit as error:
        raise BadHook(f'{error} in "{option}"', error.remedy) from None
