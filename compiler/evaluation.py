"""The option list while it grows: what uWSGI does from its environment to ``--show-config``.

uWSGI keeps one ordered list of options. Files, environment and command line only append;
*immediate* options act the moment they are appended; all others act later, in list order.
The steps of ``Evaluation.append`` follow what uWSGI was observed to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from emperor.compiler.catalogue import Facts, by_plugin
from emperor.compiler.diagnostics import Diagnostics
from emperor.compiler.magic import MagicTable

if TYPE_CHECKING:
    from emperor.compiler.logic import Block
    from emperor.compiler.reader import Reader
    from emperor.compiler.source import Origin
    from emperor.compiler.target import Target

#: Any of these closes any block.
END_WORDS = frozenset({"end", "endfor", "endif", "end-for", "end-if"})

#: Beyond this many options uWSGI would run for minutes and gigabytes.
MOST_ENTRIES = 1_000_000

#: What a custom option's facts look like; its template is in ``Evaluation.custom``.
CUSTOM: Facts = {"setter": "custom", "flags": ["immediate"], "kind": "custom", "plugin": "core"}


class Entry:
    """One option of the list. ``value`` is ``None`` for a flag that was given none.

    ``steps`` are the texts the value had before each replacement of a placeholder; ``runs`` is
    what a custom option ran that was used before its declaration; ``whole`` is the value that
    acted, where uWSGI cuts what it lists.
    """

    __slots__ = ("acts_at_reading", "done", "key", "origin", "runs", "steps", "value", "whole")

    def __init__(self, key: str, value: str | None, origin: Origin) -> None:
        self.key = key
        self.value = value
        self.origin = origin
        self.done = False
        self.acts_at_reading = False
        self.steps: tuple[str, ...] = ()
        self.runs: list[tuple[str, str | None, Origin]] | None = None
        self.whole: str | None = None


#: What acts at once: (evaluation, key, value, origin, the entry if it is listed).
Handler = Callable[["Evaluation", str, "str | None", "Origin", "Entry | None"], None]


class Evaluation:
    """The state of one run.

    ``handlers`` maps a setter of the catalogue to what it does; ``facts_of_vassal`` are our own
    placeholders (``vassal.name``); ``further_options`` are options of ours.
    """

    def __init__(
        self,
        *,
        reader: Reader,
        target: Target,
        environment: dict[str, str],
        diagnostics: Diagnostics,
        handlers: dict[str, Handler],
        facts_of_vassal: Mapping[str, str] | None = None,
        further_options: Iterable[Facts] = (),
    ) -> None:
        self.reader = reader
        self.target = target
        self.environment = dict(environment)
        self.is_reload = False
        self.diagnostics = diagnostics
        self.handlers = handlers
        self.magic = MagicTable(reader, target)
        self.entries: list[Entry] = []
        self.first: dict[str, Entry] = {}
        #: Everything that acted at reading, in that order: immediate and custom options.
        self.acted: list[tuple[str, str | None, Origin]] = []
        self.is_dirty = False
        self._by_plugin = by_plugin(target.catalogue_version)
        self._core = self._by_plugin["core"]
        self._of_plugins: dict[str, Facts] = {}
        self.facts_of_vassal = facts_of_vassal or {}
        self._of_plugins.update((facts["name"], facts) for facts in further_options)
        self.plugins: set[str] = set()
        self.plugin_directories: list[str] = []
        self.custom: dict[str, str] = {}
        self.is_strict = False
        self.mode: str | None = None
        self.autoloads = False
        self.blacklist: frozenset[str] | None = None
        self.whitelist: frozenset[str] | None = None
        self.block: Block | None = None
        self.is_in_body = False
        self.last_test: bool | None = None
        self.inject_before: list[str] = []
        self.inject_after: list[str] = []
        self.last_ini: str | None = None
        self.open_files: list[tuple[str, str | None]] = []
        for plugin in target.built_in:
            self.add_plugin(plugin)

    # -- knowing options ------------------------------------------------------------------

    def add_plugin(self, name: str) -> None:
        """A plugin is there: its options are known from now on."""
        self.plugins.add(name)
        for option, facts in self._by_plugin.get(name, {}).items():
            self._of_plugins.setdefault(option, facts)

    def known(self, key: str) -> Facts | None:
        """The facts of an option that this uWSGI has now."""
        found = self._core.get(key) or self._of_plugins.get(key)
        if found is not None:
            return found
        return CUSTOM if key in self.custom else None

    def options(self) -> list[Facts]:
        """All options known now, in the order of uWSGI's table; custom ones have no facts."""
        return [*self._core.values(), *self._of_plugins.values()]

    def plugin_with(self, key: str) -> str | None:
        """The plugin that would bring an option, for ``autoload``."""
        for plugin, options in self._by_plugin.items():
            if key in options and plugin != "core":
                return plugin
        return None

    def find(self, key: str, origin: Origin) -> Facts | None:
        """The facts of an option; an unknown one is fatal under ``strict``."""
        found = self.known(key)
        if found is None and self.autoloads:
            self.handlers["autoload"](self, key, None, origin, None)
            found = self.known(key)
        if found is None and self.is_strict:
            raise self.diagnostics.stop(
                "unknown-directive",
                f'strict: "{key}" is no option of this uWSGI',
                origin,
                "correct the name, load its plugin first, or use set-placeholder for a name "
                "of your own",
            )
        return found

    # -- the list -------------------------------------------------------------------------

    def append(self, key: str, value: str | None, origin: Origin) -> None:
        """Append an option as uWSGI does: lists, end words, open block, then the list."""
        if self._reaches_list(key, value, origin):
            self._add(key, value, origin)

    def add_placeholder(self, key: str, value: str, origin: Origin) -> None:
        """``set-placeholder``: listed, never applied, never expanded."""
        if not self._reaches_list(key, value, origin):
            return
        entry = self._list(key, value, origin)
        entry.done = True
        if self.known(key) is not None:
            raise self.diagnostics.stop(
                "placeholder-is-option",
                f'"{key}" is an option, so it cannot be a placeholder',
                origin,
                f'use "set = {key}=..." to set the option',
            )

    def _reaches_list(self, key: str, value: str | None, origin: Origin) -> bool:
        """Obey the lists, end words and the open block, which may take the option."""
        if self.blacklist is not None or self.whitelist is not None:
            self._check_lists(key, origin)
        if not self.is_in_body:
            if key in END_WORDS:
                self.block = None
                self.last_test = None
            elif key == "else" and self.target.has_else:
                self.block = None
            elif self.block is not None:
                self._run_block(self.block, key, value, origin)
                return False
        return True

    def _add(self, key: str, value: str | None, origin: Origin) -> None:
        entry = self._list(key, value, origin)
        facts = self.find(key, origin)
        if facts is not None and "immediate" in facts.get("flags", ()):
            entry.acts_at_reading = True
            self.act(facts, key, value, origin, entry)
            entry.done = True

    def _list(self, key: str, value: str | None, origin: Origin) -> Entry:
        if len(self.entries) >= MOST_ENTRIES:
            raise self.diagnostics.stop(
                "too-large",
                f"more than {MOST_ENTRIES:,} options",
                origin,
                "look for a loop or an include that multiplies them",
            )
        entry = Entry(key, value, origin)
        self.entries.append(entry)
        self.first.setdefault(key, entry)
        self.is_dirty = True
        return entry

    def act(
        self, facts: Facts, key: str, value: str | None, origin: Origin, entry: Entry | None
    ) -> None:
        """Run an option now, with its raw text."""
        if facts is not CUSTOM:
            self.acted.append((key, value, origin))
        handler = self.handlers.get(facts["setter"])
        if handler is not None:
            handler(self, key, value, origin, entry)

    def value_of(self, name: str) -> str | None:
        """The value of the first option of that name; nothing for a flag without one."""
        entry = self.first.get(name)
        return None if entry is None else entry.value

    def placeholder(self, name: str) -> str | None:
        """What ``%(name)`` stands for: an option, or else a fact of the vassal."""
        found = self.value_of(name)
        return self.facts_of_vassal.get(name) if found is None else found

    # -- lists and blocks -----------------------------------------------------------------

    def _check_lists(self, key: str, origin: Origin) -> None:
        word = ascii_lower(key)
        which = None
        if self.blacklist is not None and word in self.blacklist:
            which = "blacklist"
        elif self.whitelist is not None and word not in self.whitelist:
            which = "whitelist"
        if which:
            raise self.diagnostics.stop(
                "forbidden-option",
                f'the {which} in force does not allow "{key}"',
                origin,
                "take the option out, or change the list",
            )

    def _run_block(self, block: Block, key: str, value: str | None, origin: Origin) -> None:
        """Give a body line to the open block: it is added once for each of its items."""
        texts = block.texts(self, value)
        if not block.is_else:
            self.last_test = texts is not None
        if texts is None:
            return
        self.is_in_body = True
        try:
            made = origin.made_by(block.option)
            for text in texts:
                self._add_from_body(block, key, value, text, made)
        finally:
            self.is_in_body = False

    def _add_from_body(
        self, block: Block, key: str, value: str | None, text: str | None, origin: Origin
    ) -> None:
        if text is not None:
            if value is None:
                raise self.diagnostics.stop(
                    "flag-in-block",
                    f'"{key}" has no value inside "{block.option}": uWSGI crashes on it',
                    origin,
                    "give the flag a value (=true) in a configuration file",
                )
            value = value.replace("%(_)", text)
        self.append(key, value, origin)


def ascii_lower(text: str) -> str:
    """Lower case as C's ASCII functions see it; other letters stay."""
    if text.isascii():
        return text.lower()
    return "".join(c.lower() if c.isascii() else c for c in text)


def boolean(value: str | None) -> bool:
    """uWSGI's booleans: false, off, no in any case and 0 are false, all else is true."""
    return value is None or ascii_lower(value) not in {"false", "off", "no", "0"}


def leading_number(text: str) -> int:
    """What C's atoi and strtoll read: blanks, sign, digits; 0 if there are none; 64 bit."""
    rest = text.lstrip(" \t\n\v\f\r")
    sign = rest[:1] if rest[:1] in {"+", "-"} else ""
    digits = rest[len(sign) :]
    end = 0
    while end < len(digits) and digits[end] in "0123456789":
        end += 1
    number = int(digits[:end][:4000] or "0")
    number = -number if sign == "-" else number
    return max(-(2**63), min(2**63 - 1, number))
