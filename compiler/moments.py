"""The hooks that the Emperor has done for a vassal, as commands, moment by moment.

The compile server's first answer holds them; ``runtime/hooks.py`` runs them. Each command is a
shell that is given a script and, as its own name, what the hook is to be called in logs::

    /bin/sh -c SCRIPT LABEL [ARGUMENT]...
"""

from __future__ import annotations

from collections.abc import Sequence

from emperor.compiler.actions import LASTING, Unfit, command_of
from emperor.compiler.hooks import BadHook, Hook, parse_hook

#: Moment -> its options, in uWSGI's order.
MOMENTS: dict[str, tuple[str, ...]] = {
    "as-emperor": (
        "hook-as-emperor",
        "mount-as-emperor",
        "umount-as-emperor",
        "exec-as-emperor",
    ),
    "stop": ("vassals-stop-hook",),
    "emperor-start": ("hook-emperor-start",),
    "as-on-demand": ("hook-as-on-demand-vassal",),
    "as-on-config": ("hook-as-on-config-vassal",),
}


def emperor_hooks(hooks: Sequence[tuple[str, str]]) -> dict[str, list[list[str]]]:
    """Moment -> commands, in the order in which they run; only moments with some.

    ``hooks`` are (option, value) as the Emperor's configuration has them. A hook that is wrong
    is left out: it was refused when that configuration was read.
    """
    found = {moment: _commands(options, hooks) for moment, options in MOMENTS.items()}
    return {moment: commands for moment, commands in found.items() if commands}


def _commands(options: tuple[str, ...], hooks: Sequence[tuple[str, str]]) -> list[list[str]]:
    if options == ("vassals-stop-hook",):
        return _stop_hook([value for option, value in hooks if option in options])
    commands = []
    before: list[str] = []
    for wanted in options:
        for option, value in hooks:
            if option == wanted and (hook := _parsed(option, value)) is not None:
                if hook.action in LASTING:
                    before.append(f"{_line(hook)} || exit")
                else:
                    script = "\n".join([*before, _line(hook)])
                    commands.append(["/bin/sh", "-c", script, hook.label])
    return commands


def _stop_hook(programs: list[str]) -> list[list[str]]:
    """The last one, as the option is a single value; the vassal's name comes behind it."""
    return [
        ["/bin/sh", "-c", 'exec "$@"', f"vassals-stop-hook = {program}", program]
        for program in programs[-1:]
    ]


def _parsed(option: str, value: str) -> Hook | None:
    try:
        hook = parse_hook(option, value)
        _line(hook)
    except (BadHook, Unfit):
        return None
    return hook


def _line(hook: Hook) -> str:
    """What the shell does; without a limit of its own, for whoever runs it has one."""
    if hook.action in {"exec", "safeexec"}:
        return hook.arguments[0]
    return command_of(hook.action, hook.arguments, seconds=0.0)
