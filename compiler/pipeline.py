"""The stages in order: environment, command line, expansion, configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from emperor.compiler.catalogue import Facts
from emperor.compiler.command_line import CommandLine, append_environment
from emperor.compiler.configure import configure
from emperor.compiler.diagnostics import Diagnostic, Diagnostics, Severity, Stop
from emperor.compiler.evaluation import Entry, Evaluation
from emperor.compiler.expansion import expand_all
from emperor.compiler.immediate import HANDLERS
from emperor.compiler.reader import Reader
from emperor.compiler.source import Origin
from emperor.compiler.target import Target


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compiled:
    """What uWSGI would make of an environment and a command line.

    ``entries`` is the list as ``--show-config`` prints it; with an error, what had been read
    until then. ``acted`` is what acted at reading, in that order.
    """

    entries: tuple[Entry, ...]
    acted: tuple[tuple[str, str | None, Origin], ...]
    diagnostics: tuple[Diagnostic, ...]

    @property
    def ok(self) -> bool:
        """Whether uWSGI would run it."""
        return not any(item.severity is Severity.ERROR for item in self.diagnostics)

    @property
    def options(self) -> list[tuple[str, str | None]]:
        """The list as keys and values."""
        return [(entry.key, entry.value) for entry in self.entries]


def compile_arguments(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    reader: Reader,
    target: Target,
    vassal: int | None = None,
    is_strict: bool = False,
    facts_of_vassal: Mapping[str, str] | None = None,
    further_options: Iterable[Facts] = (),
) -> Compiled:
    """Compile a uWSGI command line (without the program's name).

    ``vassal`` is the index of the argument that names the vassal's own file, so that errors
    about it point at the file. ``is_strict`` is uWSGI's ``strict`` from the first line on.
    ``facts_of_vassal`` and ``further_options`` are our own placeholders and options.
    Mistakes come back as diagnostics; only our own bugs raise.
    """
    diagnostics = Diagnostics()
    variables = {
        "UWSGI_RELOADS": "0",
        "UWSGI_ORIGINAL_PROC_NAME": target.path,  # uWSGI sets both before it reads anything
        **environment,
    }
    run = Evaluation(
        reader=reader,
        target=target,
        environment=variables,
        diagnostics=diagnostics,
        handlers=HANDLERS,
        facts_of_vassal=facts_of_vassal,
        further_options=further_options,
    )
    run.is_reload = "UWSGI_RELOADS" in environment
    run.is_strict = is_strict
    try:
        append_environment(run, environment)
        CommandLine(run, arguments, vassal).append_all()
        expand_all(run)
        configure(run)
    except Stop:
        pass  # recorded where it was raised
    return Compiled(
        entries=tuple(run.entries),
        acted=tuple(run.acted),
        diagnostics=tuple(diagnostics.items),
    )
