"""``emperor compile``: from the command line's words to printed results."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

from emperor.cli import formats
from emperor.cli.paths import NoSuchPath, is_single, vassal_files
from emperor.cli.tenants import TenantRule, rule_of
from emperor.compiler.diagnostics import Diagnostic, Diagnostics, Severity
from emperor.compiler.pipeline import Compiled, compile_arguments
from emperor.compiler.render import render
from emperor.compiler.spec import VassalCompile, compile_vassal
from emperor.compiler.target import NEWEST, Target
from emperor.compiler.vassal import Templates, VassalFile
from emperor.runtime.exits import ERRORS_FOUND, SYSTEM_REFUSED, USAGE
from emperor.runtime.reader import FileReader

#: Source names that ``--allow`` takes.
SOURCES = frozenset({"file", "fd", "exec", "http"})


#: A further process is worth its start from this many vassals on.
SHARE = 32


class Usage(Exception):
    """The command line makes no sense; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileRequest:
    """Everything that ``emperor compile`` was asked for."""

    paths: tuple[str, ...]
    arguments: tuple[str, ...] | None
    format: str
    format_in: str
    explain: str | None
    effective: bool
    emperor_config: str | None
    templates: Templates
    environment: Mapping[str, str]
    strict: bool
    allowed: frozenset[str]
    uwsgi: str | None
    deny_warnings: bool

    @classmethod
    def from_options(
        cls, paths: tuple[str, ...], options: Mapping[str, object]
    ) -> CompileRequest:
        """The request behind click's parsed options."""
        explain = _optional(options["explain"])
        is_argv = bool(options["argv"])
        if explain and not paths and not is_argv:
            paths, explain = (explain,), ""  # --explain PATH: its value is optional
        return cls(
            paths=() if is_argv else paths,
            arguments=paths if is_argv else None,
            format=str(options["format_"]),
            format_in=str(options["format_in"]),
            explain=explain,
            effective=bool(options["effective"]),
            emperor_config=_optional(options["emperor_config"]),
            templates=Templates(
                inherit_before=_several(options["vassals_inherit_before"]),
                include_before=_several(options["vassals_include_before"]),
                set=_several(options["vassal_set"]),
                inherit=_several(options["vassals_inherit"]),
                include=_several(options["vassals_include"]),
            ),
            environment=_environment(bool(options["clean_env"]), _several(options["env"])),
            strict=bool(options["strict"]),
            allowed=frozenset(str(options["allow"]).split(",")),
            uwsgi=_optional(options["uwsgi"]),
            deny_warnings=options["deny"] == "warnings",
        )


def _optional(value: object) -> str | None:
    return None if value is None else str(value)


def _several(value: object) -> tuple[str, ...]:
    assert isinstance(value, tuple)
    return value


def _environment(is_clean: bool, added: tuple[str, ...]) -> dict[str, str]:
    environment = {} if is_clean else dict(os.environ)
    for text in added:
        name, _, value = text.partition("=")
        environment[name] = value
    return environment


def run_compile(request: CompileRequest) -> int:
    """Do what was asked; gives the exit code."""
    try:
        return _run(request)
    except (Usage, NoSuchPath) as error:
        sys.stderr.write(f"emperor compile: {error}\n")
        return USAGE
    except OSError as error:
        sys.stderr.write(f"emperor compile: {error}\n")
        return SYSTEM_REFUSED


def _run(request: CompileRequest) -> int:
    target = _target(request.uwsgi)
    allowed = _allowed(request.allowed)
    if request.arguments is not None:
        return _compile_arguments(request, request.arguments, target, allowed)
    if not request.paths:
        raise Usage("name at least one PATH (--help says what it may be)")
    settings, problems = _settings(request, target, allowed)
    job = _Job(
        request=request,
        templates=settings.templates,
        environment=settings.environment,
        target=target,
        allowed=allowed,
        rule=settings.rule,
    )
    extra = settings.templates.extra_extensions
    files = [
        file for path in request.paths for file in vassal_files(path, settings.monitors, extra)
    ]
    is_list = len(request.paths) != 1 or not is_single(request.paths[0])
    is_wrong = _report(request, problems)
    if request.explain is not None:
        is_wrong |= _explain(job, files)
    else:
        is_wrong |= _show(job, files, is_list=is_list)
    return ERRORS_FOUND if is_wrong else 0


def _target(wanted: str | None) -> Target:
    if wanted is None:
        return Target(version=NEWEST)
    from emperor.runtime.targets import NoTarget, target_of

    try:
        return target_of(wanted)
    except NoTarget as error:
        raise Usage(str(error)) from None


def _allowed(words: frozenset[str]) -> frozenset[str]:
    if unknown := words - SOURCES - {"all", ""}:
        raise Usage(f"--allow does not know {', '.join(sorted(unknown))}")
    return SOURCES if "all" in words else words


def _report(request: CompileRequest, diagnostics: Sequence[Diagnostic]) -> bool:
    """Print findings for people; gives whether one of them counts as an error."""
    sys.stderr.write(_findings(diagnostics))
    return _is_wrong(request, diagnostics)


def _findings(diagnostics: Sequence[Diagnostic]) -> str:
    return "".join(formats.coloured(render(d), d) + "\n" for d in diagnostics)


def _is_wrong(request: CompileRequest, diagnostics: Sequence[Diagnostic]) -> bool:
    return any(d.severity is Severity.ERROR or request.deny_warnings for d in diagnostics)


def _compile_arguments(
    request: CompileRequest, arguments: tuple[str, ...], target: Target, allowed: frozenset[str]
) -> int:
    if request.format in {"plan", "argv"}:
        raise Usage(f"a bare command line is no vassal: it has no {request.format}")
    compiled = compile_arguments(
        arguments,
        environment=request.environment,
        reader=FileReader(allowed=allowed),
        target=target,
        is_strict=request.strict,
    )
    is_wrong = _report(request, compiled.diagnostics)
    formats.print_compiled(
        request.format, compiled, request.explain, effective=request.effective
    )
    return ERRORS_FOUND if is_wrong else 0


class _Settings(NamedTuple):
    """What the Emperor's configuration and the command line say about all vassals."""

    monitors: tuple[str, ...]
    templates: Templates
    environment: Mapping[str, str]
    rule: TenantRule


def _settings(
    request: CompileRequest, target: Target, allowed: frozenset[str]
) -> tuple[_Settings, tuple[Diagnostic, ...]]:
    """The Emperor's configuration, if there is one, with what the command line adds to it."""
    if request.emperor_config is None:
        return _Settings((), request.templates, request.environment, TenantRule()), ()
    from emperor.compiler.emperor_config import apply_environment, emperor_config
    from emperor.runtime.emperor_file import emperor_arguments, without_missing_sections

    compiled: Compiled = compile_arguments(
        emperor_arguments(request.emperor_config),
        environment=request.environment,
        reader=FileReader(allowed=allowed),
        target=target,
    )
    diagnostics = Diagnostics()
    diagnostics.items += without_missing_sections(compiled.diagnostics)
    config = emperor_config(compiled.entries, diagnostics)
    settings = _Settings(
        monitors=config.monitors,
        templates=_joined(config.templates, request.templates),
        environment=apply_environment(request.environment, config.environment),
        rule=rule_of(config),
    )
    return settings, tuple(diagnostics.items)


def _joined(templates: Templates, added: Templates) -> Templates:
    """The Emperor's templates and those of the command line, which only adds to lists."""
    lists = ("inherit_before", "include_before", "set", "inherit", "include")
    return replace(
        templates,
        stdin_format=added.stdin_format,
        **{name: getattr(templates, name) + getattr(added, name) for name in lists},
    )


class _Job(NamedTuple):
    """What is the same for every vassal of one run."""

    request: CompileRequest
    templates: Templates
    environment: Mapping[str, str]
    target: Target
    allowed: frozenset[str]
    rule: TenantRule

    def compile(self, file: VassalFile) -> VassalCompile:
        """Compile one vassal; it never hides another."""
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
            is_strict=self.request.strict,
            jail=ruling.jail,
            starter=None if ruling.owner is not None else self.rule.starter(reader.host()),
        )
        return replace(result, diagnostics=(*ruling.findings, *result.diagnostics))

    def _compile_stdin(self, file: VassalFile) -> VassalCompile:
        return compile_vassal(
            file,
            templates=replace(self.templates, stdin_format=self.request.format_in),
            environment=self.environment,
            reader=FileReader(allowed=self.allowed | {"fd"}),
            target=self.target,
            is_strict=self.request.strict,
        )


@cache
def _reader(
    directory: str, allowed: frozenset[str], owner: tuple[int, int] | None
) -> FileReader:
    """One reader for all vassals of a directory (and of one tenant): it asks once who and where
    we are."""
    return FileReader(cwd=directory, allowed=allowed, shown_as=owner)


class _Shown(NamedTuple):
    """One vassal's compile, as it is printed."""

    item: formats.Item
    findings: str
    is_wrong: bool


def _show(job: _Job, files: list[VassalFile], *, is_list: bool) -> bool:
    """Compile and print all files, in their order; gives whether there was an error."""

    def show(file: VassalFile) -> _Shown:
        result, request = job.compile(file), job.request
        return _Shown(
            item=formats.item_of(
                result, request.format, is_list=is_list, effective=request.effective
            ),
            findings=_findings(result.diagnostics),
            is_wrong=_is_wrong(request, result.diagnostics),
        )

    results = formats.Results(job.request.format, is_list=is_list)
    is_wrong = False
    all_shown = _for_all(show, files)
    with formats.progress(len(files)) as advance:
        for shown in all_shown:
            sys.stderr.write(shown.findings)
            results.add(shown.item)
            is_wrong |= shown.is_wrong
            advance()
    results.finish()
    return is_wrong


def _for_all(show: Callable[[VassalFile], _Shown], files: list[VassalFile]) -> Iterator[_Shown]:
    """Every file shown; many are shared between the processors, but not standard input."""
    processes = min(len(os.sched_getaffinity(0)), len(files) // SHARE)
    if processes < 2 or any(file.name == "-" for file in files):
        return map(show, files)
    from emperor.cli.sharing import shared

    return shared(show, files, processes)


def _explain(job: _Job, files: list[VassalFile]) -> bool:
    """Print where the values of all files come from; gives whether there was an error."""
    from emperor.cli.explain import explain

    is_wrong = False
    for file in files:
        result = job.compile(file)
        is_wrong |= _report(job.request, result.diagnostics)
        explain(file.name, result.compiled, job.request.explain or None)
    return is_wrong
