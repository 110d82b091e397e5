"""uWSGI's environment and command line: where the option list begins.

The command line follows getopt_long with permutation: all options come before all positional
files, names may be abbreviated, an optional argument must be glued to its option.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from emperor.compiler.catalogue import OWN_SETTER
from emperor.compiler.evaluation import CUSTOM, Evaluation, ascii_lower
from emperor.compiler.immediate import load_by_ending
from emperor.compiler.source import Origin, Source

#: Variables that uWSGI itself sets or reads, never options.
NOT_OPTIONS = frozenset(
    """
    UWSGI_RELOADS UWSGI_VASSALS_DIR UWSGI_EMPEROR_FD UWSGI_EMPEROR_FD_CONFIG
    UWSGI_EMPEROR_PROXY UWSGI_BROODLORD_NUM UWSGI_JAIL_PID UWSGI_ORIGINAL_PROC_NAME
    """.split()
)


def is_option_variable(name: str) -> bool:
    """Whether uWSGI makes an option of a variable of that name."""
    return name.startswith("UWSGI_") and name not in NOT_OPTIONS


def append_environment(run: Evaluation, environment: Mapping[str, str]) -> None:
    """``UWSGI_HTTP_SOCKET=v`` is ``http-socket = v``, in the environment's order."""
    variables = [name for name in environment if is_option_variable(name)]
    text = "\n".join(f"{name}={environment[name]}" for name in variables)
    source = Source(name="<environment>", text=text)
    line = 1
    for name in variables:
        key = ascii_lower(name[6:]).replace("_", "-")
        origin = Origin(source=source, line=line, width=len(name), how="environment")
        run.append(key, environment[name], origin)
        line += 1 + environment[name].count("\n")


class _Long(NamedTuple):
    """One long option as getopt sees it."""

    name: str
    argument: str
    value: str | int


def _custom(name: str, template: str) -> _Long:
    wants = any(f"${n}" in template for n in "123")
    return _Long(name=name, argument="required" if wants else "none", value=name)


class CommandLine:
    """One pass over the arguments. ``vassal`` is the index of the vassal's own file, if any."""

    def __init__(self, run: Evaluation, arguments: Sequence[str], vassal: int | None) -> None:
        self.run = run
        self.arguments = arguments
        self.vassal = vassal
        self.source = Source(name="<command line>", text=" ".join(arguments))

    def append_all(self) -> None:
        """Append every option, then read every positional file."""
        positional: list[int] = []
        index = 0
        while index < len(self.arguments):
            word = self.arguments[index]
            if word == "--":
                positional += range(index + 1, len(self.arguments))
                break
            if word.startswith("--"):
                index += self._long(index)
            elif word.startswith("-") and word != "-":
                index += self._short(index)
            else:
                positional.append(index)
                index += 1
        for index in positional:
            word = self.arguments[index]
            if not word.startswith("["):
                load_by_ending(self.run, "", word, self._origin(index), None)

    def _origin(self, index: int) -> Origin:
        column = sum(len(word) + 1 for word in self.arguments[:index]) + 1
        how = "vassal" if index == self.vassal else "argument"
        width = len(self.arguments[index]) if index < len(self.arguments) else 1
        return Origin(source=self.source, line=1, column=column, width=width, how=how)

    def _long(self, index: int) -> int:
        """One ``--name`` word; gives how many words it took."""
        name, equals, glued = self.arguments[index][2:].partition("=")
        option = self._resolve(name, index)
        if option.argument == "required" and not equals:
            if index + 1 >= len(self.arguments):
                raise self._refuse(index, f'"--{option.name}" wants a value')
            self._append(option.name, self.arguments[index + 1], index, index + 1)
            return 2
        if option.argument == "none" and equals:
            raise self._refuse(index, f'"--{option.name}" takes no value on a command line')
        self._append(option.name, glued if equals else None, index, index)
        return 1

    def _resolve(self, name: str, index: int) -> _Long:
        exact = self._exact(name)
        if exact is not None:
            return exact
        found = [option for option in self._options() if option.name.startswith(name)]
        if not found:
            raise self._refuse(index, f'there is no option "--{name}"')
        first = found[0]
        if any((o.argument, o.value) != (first.argument, first.value) for o in found):
            several = ", ".join(f"--{option.name}" for option in found[:4])
            raise self._refuse(index, f'"--{name}" may be several options: {several}')
        return first

    def _exact(self, name: str) -> _Long | None:
        """The option that is called so; most are, which saves a walk over all of them."""
        facts = self.run.known(name)
        if facts is None:
            return None
        if facts is CUSTOM:
            return _custom(name, self.run.custom[name])
        return _Long(name=name, argument=facts["argument"], value=name)

    def _options(self) -> Iterator[_Long]:
        """What may be abbreviated: our own options must be written out, so that they never
        make uWSGI's abbreviations mean two things."""
        for number, facts in enumerate(self.run.options()):
            if facts["setter"] == OWN_SETTER:
                continue
            value = facts.get("shortcut") or number
            yield _Long(name=facts["name"], argument=facts["argument"], value=value)
        for name, template in self.run.custom.items():
            yield _custom(name, template)

    def _short(self, index: int) -> int:
        """One word of short letters; gives how many words it took."""
        word = self.arguments[index]
        for position in range(1, len(word)):
            letter, rest = word[position], word[position + 1 :]
            facts = next((f for f in self.run.options() if f.get("shortcut") == letter), None)
            if facts is None:
                raise self._refuse(index, f'there is no option "-{letter}"')
            if facts["argument"] == "none":
                self._append(facts["name"], None, index, index)
                continue
            if rest or facts["argument"] == "optional":
                self._append(facts["name"], rest or None, index, index)
                return 1
            if index + 1 >= len(self.arguments):
                raise self._refuse(index, f'"-{letter}" wants a value')
            self._append(facts["name"], self.arguments[index + 1], index, index + 1)
            return 2
        return 1

    def _append(self, key: str, value: str | None, index: int, value_index: int) -> None:
        at = value_index if value_index == self.vassal else index
        self.run.append(key, value, self._origin(at))

    def _refuse(self, index: int, message: str) -> Exception:
        return self.run.diagnostics.stop(
            "command-line", message, self._origin(index), "see uwsgi --help"
        )
