"""One vassal from its file to its place in the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from emperor.compiler.command_line import is_option_variable
from emperor.compiler.delivered import deliver
from emperor.compiler.diagnostics import Diagnostic, Diagnostics, Severity
from emperor.compiler.evaluation import boolean, leading_number
from emperor.compiler.pipeline import Compiled, compile_arguments
from emperor.compiler.plan import RELOAD_GRACE_SECONDS, Launch, Policies, VassalPlan
from emperor.compiler.reader import Reader
from emperor.compiler.target import Target
from emperor.compiler.vassal import (
    Templates,
    VassalFile,
    facts_of_vassal,
    vassal_arguments,
    vassal_environment,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VassalCompile:
    """A vassal's place in the plan, or the reasons there is none; warnings come with either."""

    file: VassalFile
    compiled: Compiled
    plan: VassalPlan | None
    diagnostics: tuple[Diagnostic, ...]

    @property
    def ok(self) -> bool:
        """Whether it can be run."""
        return self.plan is not None


def compile_vassal(
    file: VassalFile,
    *,
    templates: Templates,
    environment: Mapping[str, str],
    reader: Reader,
    target: Target,
    is_strict: bool = False,
) -> VassalCompile:
    """Compile one vassal as the Emperor with these templates and this environment starts it."""
    arguments, index = vassal_arguments(file, templates)
    seen = vassal_environment(environment)
    compiled = compile_arguments(
        arguments,
        environment=seen,
        reader=reader,
        target=target,
        vassal=index,
        is_strict=is_strict,
        facts_of_vassal=facts_of_vassal(file, reader.host()),
    )
    diagnostics = Diagnostics()
    diagnostics.items += compiled.diagnostics
    delivered = deliver(file.name, compiled, target, diagnostics)
    plan = VassalPlan(
        monitor=file.monitor,
        name=file.name,
        section=file.section,
        options=tuple(compiled.options),
        delivered=delivered.parts,
        launch=_launch(file, delivered.url, environment, seen, target),
        policies=_policies(compiled),
    )
    items = tuple(diagnostics.items)
    is_wrong = any(item.severity is Severity.ERROR for item in items)
    return VassalCompile(
        file=file, compiled=compiled, plan=None if is_wrong else plan, diagnostics=items
    )


def _launch(
    file: VassalFile, url: str, old: Mapping[str, str], seen: Mapping[str, str], target: Target
) -> Launch:
    """The program and its environment; variables that were compiled in are gone from it."""
    new = {name: value for name, value in seen.items() if not is_option_variable(name)}
    return Launch(
        argv=(target.path, "--inherit", url),
        cwd=file.directory,
        set=tuple(sorted((n, v) for n, v in new.items() if old.get(n) != v)),
        unset=tuple(sorted(old.keys() - new.keys())),
    )


def _policies(compiled: Compiled) -> Policies:
    last = {key: value for key, value in compiled.options}
    mercies = [
        leading_number(last[name] or "0")
        for name in ("reload-mercy", "worker-reload-mercy")
        if name in last
    ]
    return Policies(
        has_master=boolean(last["master"]) if "master" in last else True,
        reload_seconds=min(max([60, *mercies]), 86_400) + RELOAD_GRACE_SECONDS,
    )
