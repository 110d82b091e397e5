"""``emperor compile``: from the command line's words to printed results."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from emperor.cli import formats
from emperor.cli.paths import NoSuchPath, is_single
from emperor.cli.setting import Circumstances, Setting, Usage, for_all, optional, setting_of
from emperor.compiler.diagnostics import Diagnostic, Severity
from emperor.compiler.pipeline import compile_arguments
from emperor.compiler.render import render
from emperor.compiler.vassal import VassalFile
from emperor.runtime.exits import ERRORS_FOUND, SYSTEM_REFUSED, USAGE
from emperor.runtime.reader import FileReader


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileRequest:
    """Everything that ``emperor compile`` was asked for."""

    paths: tuple[str, ...]
    arguments: tuple[str, ...] | None
    format: str
    explain: str | None
    effective: bool
    circumstances: Circumstances
    deny_warnings: bool

    @classmethod
    def from_options(
        cls, paths: tuple[str, ...], options: Mapping[str, object]
    ) -> CompileRequest:
        """The request behind click's parsed options; raises ``Usage``."""
        explain = optional(options["explain"])
        is_argv = bool(options["argv"])
        if explain and not paths and not is_argv:
            paths, explain = (explain,), ""  # --explain PATH: its value is optional
        return cls(
            paths=() if is_argv else paths,
            arguments=paths if is_argv else None,
            format=str(options["format_"]),
            explain=explain,
            effective=bool(options["effective"]),
            circumstances=Circumstances.from_options(options),
            deny_warnings=options["deny"] == "warnings",
        )


def run_compile(paths: tuple[str, ...], options: Mapping[str, object]) -> int:
    """Do what was asked; gives the exit code."""
    try:
        return _run(CompileRequest.from_options(paths, options))
    except (Usage, NoSuchPath) as error:
        sys.stderr.write(f"emperor compile: {error}\n")
        return USAGE
    except OSError as error:
        sys.stderr.write(f"emperor compile: {error}\n")
        return SYSTEM_REFUSED


def _run(request: CompileRequest) -> int:
    setting, problems = setting_of(request.circumstances)
    if request.arguments is not None:
        return _compile_arguments(request, request.arguments, setting)
    if not request.paths:
        raise Usage("name at least one PATH (--help says what it may be)")
    files = [file for path in request.paths for file in setting.files(path)]
    is_list = len(request.paths) != 1 or not is_single(request.paths[0])
    is_wrong = _report(request, problems)
    if request.explain is not None:
        is_wrong |= _explain(request, setting, files)
    else:
        is_wrong |= _show(request, setting, files, is_list=is_list)
    return ERRORS_FOUND if is_wrong else 0


def _report(request: CompileRequest, diagnostics: Sequence[Diagnostic]) -> bool:
    """Print findings for people; gives whether one of them counts as an error."""
    sys.stderr.write(_findings(diagnostics))
    return _is_wrong(request, diagnostics)


def _findings(diagnostics: Sequence[Diagnostic]) -> str:
    return "".join(formats.coloured(render(d), d) + "\n" for d in diagnostics)


def _is_wrong(request: CompileRequest, diagnostics: Sequence[Diagnostic]) -> bool:
    return any(d.severity is Severity.ERROR or request.deny_warnings for d in diagnostics)


def _compile_arguments(
    request: CompileRequest, arguments: tuple[str, ...], setting: Setting
) -> int:
    if request.format in {"plan", "argv"}:
        raise Usage(f"a bare command line is no vassal: it has no {request.format}")
    compiled = compile_arguments(
        arguments,
        environment=request.circumstances.environment,
        reader=FileReader(allowed=setting.allowed),
        target=setting.target,
        is_strict=setting.is_strict,
    )
    is_wrong = _report(request, compiled.diagnostics)
    formats.print_compiled(
        request.format, compiled, request.explain, effective=request.effective
    )
    return ERRORS_FOUND if is_wrong else 0


class _Shown(NamedTuple):
    """One vassal's compile, as it is printed."""

    item: formats.Item
    findings: str
    is_wrong: bool


def _show(
    request: CompileRequest, setting: Setting, files: list[VassalFile], *, is_list: bool
) -> bool:
    """Compile and print all files, in their order; gives whether there was an error."""

    def show(file: VassalFile) -> _Shown:
        result = setting.compile(file)
        return _Shown(
            item=formats.item_of(
                result, request.format, is_list=is_list, effective=request.effective
            ),
            findings=_findings(result.diagnostics),
            is_wrong=_is_wrong(request, result.diagnostics),
        )

    results = formats.Results(request.format, is_list=is_list)
    is_wrong = False
    all_shown = for_all(show, files)
    with formats.progress(len(files)) as advance:
        for shown in all_shown:
            sys.stderr.write(shown.findings)
            results.add(shown.item)
            is_wrong |= shown.is_wrong
            advance()
    results.finish()
    return is_wrong


def _explain(request: CompileRequest, setting: Setting, files: list[VassalFile]) -> bool:
    """Print where the values of all files come from; gives whether there was an error."""
    from emperor.cli.explain import explain

    is_wrong = False
    for file in files:
        result = setting.compile(file)
        is_wrong |= _report(request, result.diagnostics)
        explain(file.name, result.compiled, request.explain or None)
    return is_wrong
