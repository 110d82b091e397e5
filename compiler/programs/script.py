"""What stands in front of a program, as words: shell scripts and standard tools in turn.

A script does its lines and becomes what follows it, which is its arguments. So the process is
the same one from its start to the program, whatever stands between.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from emperor.compiler.actions import FUNCTIONS, Unfit, command_of
from emperor.compiler.delivered import Acting
from emperor.compiler.hooks import BadHook, Hook, parse_hook
from emperor.compiler.programs.settings import Settings

#: A line of shell, or a tool whose words take the rest as their arguments.
Step = str | tuple[str, ...]

#: What the program's standard input has is not for a hook. On each command and not around all
#: of them: in a new root there may be no such file, and a group that fails is passed over.
_NO_INPUT = "</dev/null"

#: The moments of a start that a program has, in uWSGI's order.
MOMENTS = ("asap", "pre-jail", "in-jail", "post-jail", "as-root", "as-user", "pre-app")

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def words(steps: Iterable[Step], name: str) -> tuple[str, ...]:
    """The words in front of the program. ``name`` is what the scripts call the vassal: a word
    of its own, never a part of a script."""
    found: list[str] = []
    for is_line, group in groupby(steps, lambda step: isinstance(step, str)):
        if is_line:
            lines = "\n".join(str(step) for step in group)
            found += ["/bin/sh", "-c", _script(lines), name]
        else:
            found += [word for step in group for word in step]
    return tuple(found)


def _script(lines: str) -> str:
    body = f'{lines}\nexec "$@"'
    return f"{FUNCTIONS}\n{body}" if re.search(r"\b(say|end) ", lines) else body


def label_of(option: Acting) -> str:
    """What messages call an option: on one line."""
    return f'"{option.key} = {" ".join(option.value.splitlines())}"'


def must(command: str, label: str) -> str:
    """A line that ends the start if the command fails; ``label`` says what it was."""
    return f"{command} || end {shlex.quote(label)} $?"


def should(command: str, label: str) -> str:
    """A line that only says so if the command fails, where uWSGI goes on too."""
    return f"{command} || say {shlex.quote(f'{label} could not be done')}"


# -- hooks -----------------------------------------------------------------------------------


def hooks(settings: Settings, moment: str) -> Iterator[Step]:
    """The hooks of one moment ("pre-jail", "as-root") in uWSGI's order."""
    for name in hook_options(moment):
        for option in settings.every(name):
            yield from _hook(settings, option)


def hook_options(moment: str) -> tuple[str, ...]:
    """The options that bring the hooks of a moment."""
    return tuple(f"{kind}-{moment}" for kind in ("hook", "mount", "umount", "exec"))


def _hook(settings: Settings, option: Acting) -> Iterator[Step]:
    try:
        hook = _parsed(option)
        command = command_of(hook.action, hook.arguments, seconds=0.0)
    except (BadHook, Unfit) as error:
        settings.bad_hook(option, str(error), error.remedy)
        return
    # not that of the Hook: it has the action that _parsed put in front
    label = f'"{option.key} = (private)"' if hook.is_private else label_of(option)
    yield f"say {shlex.quote(f'running {label}')}"
    if hook.action == "exit":
        yield command
    elif hook.action == "safeexec":
        yield f'own {command} {_NO_INPUT} || say {shlex.quote(label)}" exited with $?"'
    elif hook.action == "exec":
        yield must(f"own {command} {_NO_INPUT}", label)
    else:
        yield must(command, label)


def _parsed(option: Acting) -> Hook:
    kind = option.key.partition("-")[0]
    if kind == "hook" or "-as-" in option.key:
        return parse_hook(option.key, option.value)
    return parse_hook(option.key, f"{kind}:{option.value}")


# -- the vassal's own environment ------------------------------------------------------------


class Variables:
    """The variables that a vassal sets and unsets for its program.

    A script has their names and not their values, which no ``ps`` is to show: those come in
    the environment as ``EMPEROR_0``, ``EMPEROR_1`` and so on, so that none of them (a PATH, a
    LD_PRELOAD) means anything to the tools on the way.
    """

    def __init__(self, values: Mapping[str, str | None]) -> None:
        self._names = tuple(values)
        given = [(name, value) for name, value in values.items() if value is not None]
        self.set = tuple((f"EMPEROR_{i}", value) for i, (_, value) in enumerate(given))
        self._numbers = {name: i for i, (name, _) in enumerate(given)}

    def for_good(self) -> list[str]:
        """Lines after which the program has the variables, and the others are gone."""
        lines = [
            f'export {name}="$EMPEROR_{self._numbers[name]}"'
            if name in self._numbers
            else f"unset {name}"
            for name in self._names
        ]
        if self.set:
            lines.append(f"unset {' '.join(name for name, _ in self.set)}")
        return lines

    def for_hooks(self, steps: Sequence[Step]) -> list[Step]:
        """The steps, where each command of a hook sees the variables as uWSGI's would and
        the tools around it do not."""
        found: list[Step] = []
        is_defined = False
        for step in steps:
            if not isinstance(step, str):
                is_defined = False  # what follows is another shell
            elif self._names and step.startswith("own ") and not is_defined:
                found.append(f'own() ( {"; ".join(self.for_good())}; exec "$@" )')
                is_defined = True
            if isinstance(step, str) and not self._names:
                step = step.removeprefix("own ")
            found.append(step)
        return found


def variables(settings: Settings) -> Variables:
    """What ``env`` and ``unenv`` come to; a name that no shell can set is an error."""
    values: dict[str, str | None] = {}
    for option in settings.every("env", "unenv"):
        name, equals, value = option.value.partition("=")
        if option.key == "unenv" or not equals:
            name, equals = option.value, ""
        if not _VARIABLE.fullmatch(name):
            settings.wrong(
                option,
                f'the shell cannot set a variable called "{name}"',
                "use letters, digits and underscores",
            )
            continue
        values.pop(name, None)
        values[name] = value if equals else None
    # uWSGI has done all these before its first hook, so that what a hook puts there stays
    put = _put_by_hooks(settings)
    return Variables({name: value for name, value in values.items() if name not in put})


def _put_by_hooks(settings: Settings) -> set[str]:
    texts = (option.value for option in settings.every(*(f"hook-{m}" for m in MOMENTS)))
    puts = (text.removeprefix("!").partition("putenv:") for text in texts)
    return {rest.partition("=")[0] for before, colon, rest in puts if colon and not before}
