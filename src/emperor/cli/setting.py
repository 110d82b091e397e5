"""Under which Emperor, for which uWSGI and in which environment vassals are compiled."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TypeVar

from emperor.cli.paths import vassal_files
from emperor.cli.tenants import TenantRule, rule_of
from emperor.compiler.diagnostics import Diagnostic, Diagnostics
from emperor.compiler.pipeline import Compiled, compile_arguments
from emperor.compiler.spec import VassalCompile, compile_vassal
from emperor.compiler.target import NEWEST, Target
from emperor.compiler.vassal import Templates, VassalFile
from emperor.runtime.reader import FileReader

#: Source names that ``--allow`` takes.
SOURCES = frozenset({"file", "fd", "exec", "http"})

#: A further process is worth its start from this many vassals on.
SHARE = 32

R = TypeVar("R")


class Usage(Exception):
    """The command line makes no sense; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the command line says about all vassals (see ``options.py``)."""

    emperor_config: str | None
    templates: Templates
    environment: Mapping[str, str]
    is_strict: bool
    allowed: frozenset[str]
    uwsgi: str | None

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Circumstances:
        """The circumstances behind click's parsed options; raises ``Usage``."""
        return cls(
            emperor_config=optional(options["emperor_config"]),
            templates=Templates(
                inherit_before=several(options["vassals_inherit_before"]),
                include_before=several(options["vassals_include_before"]),
                set=several(options["vassal_set"]),
                inherit=several(options["vassals_inherit"]),
                include=several(options["vassals_include"]),
                stdin_format=str(options.get("format_in") or "ini"),
            ),
            environment=_environment(bool(options["clean_env"]), several(options["env"])),
            is_strict=bool(options["strict"]),
            allowed=_allowed(frozenset(str(options["allow"]).split(","))),
            uwsgi=optional(options["uwsgi"]),
        )


def optional(value: object) -> str | None:
    """An option of click's that may be missing."""
    return None if value is None else str(value)


def several(value: object) -> tuple[str, ...]:
    """An option of click's that may be given several times."""
    assert isinstance(value, tuple)
    return value


def _environment(is_clean: bool, added: tuple[str, ...]) -> dict[str, str]:
    environment = {} if is_clean else dict(os.environ)
    for text in added:
        name, _, value = text.partition("=")
        environment[name] = value
    return environment


def _allowed(words: frozenset[str]) -> frozenset[str]:
    if unknown := words - SOURCES - {"all", ""}:
        raise Usage(f"--allow does not know {', '.join(sorted(unknown))}")
    return SOURCES if "all" in words else words


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is the same for every vassal of one run.

    ``monitors`` are the Emperor's own, if it is known.
    """

    monitors: tuple[str, ...]
    templates: Templates
    environment: Mapping[str, str]
    target: Target
    allowed: frozenset[str]
    rule: TenantRule
    is_strict: bool

    def files(self, path: str) -> list[VassalFile]:
        """The vassals that a PATH means; raises ``NoSuchPath``."""
        return vassal_files(path, self.monitors, self.templates.extra_extensions)

    def compile(self, file: VassalFile) -> VassalCompile:
        """Compile one vassal; it never hides another."""
        return self.compile_with(file)[0]

    def compile_with(self, file: VassalFile) -> tuple[VassalCompile, FileReader]:
        """The same, and through what it was read."""
        if file.name == "-":
            return self._compile_stdin(file)
        ruling = self.rule.judge(file)
        reader = _reader(file.directory, self.allowed, ruling.owner)
        result = compile_vassal(
            file,
            templates=self.templates,
            environment=self.environment,
            reader=reader,
            target=self.target,
            is_strict=self.is_strict,
            jail=ruling.jail,
            starter=None if ruling.owner is not None else self.rule.starter(reader.host()),
        )
        return replace(result, diagnostics=(*ruling.findings, *result.diagnostics)), reader

    def _compile_stdin(self, file: VassalFile) -> tuple[VassalCompile, FileReader]:
        reader = FileReader(allowed=self.allowed | {"fd"})
        result = compile_vassal(
            file,
            templates=self.templates,
            environment=self.environment,
            reader=reader,
            target=self.target,
            is_strict=self.is_strict,
        )
        return result, reader


@cache
def _reader(
    directory: str, allowed: frozenset[str], owner: tuple[int, int] | None
) -> FileReader:
    """One reader for all vassals of a directory (and of one tenant): it asks once who and where
    we are."""
    return FileReader(cwd=directory, allowed=allowed, shown_as=owner)


def setting_of(wanted: Circumstances) -> tuple[Setting, tuple[Diagnostic, ...]]:
    """The Emperor's configuration, if there is one, with what the command line adds to it.

    Raises ``Usage`` where the uWSGI that was asked for is not there.
    """
    target = target_of(wanted.uwsgi)
    setting = Setting(
        monitors=(),
        templates=wanted.templates,
        environment=wanted.environment,
        target=target,
        allowed=wanted.allowed,
        rule=TenantRule(),
        is_strict=wanted.is_strict,
    )
    if wanted.emperor_config is None:
        return setting, ()
    return _under_emperor(setting, wanted.emperor_config)


def _under_emperor(
    setting: Setting, emperor_file: str
) -> tuple[Setting, tuple[Diagnostic, ...]]:
    from emperor.compiler.emperor_config import apply_environment, emperor_config
    from emperor.runtime.emperor_file import emperor_arguments, without_missing_sections

    compiled: Compiled = compile_arguments(
        emperor_arguments(emperor_file),
        environment=setting.environment,
        reader=FileReader(allowed=setting.allowed),
        target=setting.target,
    )
    diagnostics = Diagnostics()
    diagnostics.items += without_missing_sections(compiled.diagnostics)
    config = emperor_config(compiled.entries, diagnostics)
    changed = replace(
        setting,
        monitors=config.monitors,
        templates=_joined(config.templates, setting.templates),
        environment=apply_environment(setting.environment, config.environment),
        rule=rule_of(config),
    )
    return changed, tuple(diagnostics.items)


def _joined(templates: Templates, added: Templates) -> Templates:
    """The Emperor's templates and those of the command line, which only adds to lists."""
    lists = ("inherit_before", "include_before", "set", "inherit", "include")
    return replace(
        templates,
        stdin_format=added.stdin_format,
        **{name: getattr(templates, name) + getattr(added, name) for name in lists},
    )


def target_of(wanted: str | None) -> Target:
    """The uWSGI that ``--uwsgi`` names; raises ``Usage``."""
    if wanted is None:
        return Target(version=NEWEST)
    from emperor.runtime import targets

    try:
        return targets.target_of(wanted)
    except targets.NoTarget as error:
        raise Usage(str(error)) from None


def for_all(work: Callable[[VassalFile], R], files: Sequence[VassalFile]) -> Iterator[R]:
    """``work`` of every file, in their order.

    Many are shared between the processors, but not standard input.
    """
    processes = min(len(os.sched_getaffinity(0)), len(files) // SHARE)
    if processes < 2 or any(file.name == "-" for file in files):
        return map(work, files)
    from emperor.cli.sharing import shared

    return shared(work, files, processes)
