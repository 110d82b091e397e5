"""One vassal from its file to its place in the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from emperor.compiler.catalogue import everything
from emperor.compiler.chain import Jail, chain
from emperor.compiler.command_line import is_option_variable
from emperor.compiler.delivered import Delivered, deliver
from emperor.compiler.diagnostics import Diagnostic, Diagnostics, Severity
from emperor.compiler.evaluation import boolean, leading_number
from emperor.compiler.launching import Launching, launching_of
from emperor.compiler.pipeline import Compiled, compile_arguments
from emperor.compiler.programs.policies import OWN_OPTIONS
from emperor.compiler.programs.program import ProgramLaunch, program_of
from emperor.compiler.reader import Host, Reader
from emperor.compiler.source import Origin, Source
from emperor.compiler.target import NO_UWSGI, Target
from emperor.compiler.vassal import (
    Templates,
    VassalFile,
    facts_of_vassal,
    vassal_arguments,
    vassal_environment,
)

if TYPE_CHECKING:
    from emperor.compiler.plan import Launch, Policies, VassalPlan


class _Inherited(NamedTuple):
    """The environment as the compile sees it, and the changes to it that the launch makes."""

    seen: Mapping[str, str]
    set: tuple[tuple[str, str], ...]
    unset: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VassalCompile:
    """What comes of compiling one vassal: a place in the plan, unless there are errors."""

    file: VassalFile
    compiled: Compiled
    diagnostics: tuple[Diagnostic, ...]
    _delivered: Delivered
    _inherited: _Inherited
    _launching: Launching
    _program: ProgramLaunch | None
    _chain: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether it can be run."""
        return not any(item.severity is Severity.ERROR for item in self.diagnostics)

    @property
    def plan(self) -> VassalPlan | None:
        """The vassal's place in the plan, made when it is asked for; nothing with an error."""
        if not self.ok:
            return None
        from emperor.compiler.plan import VassalPlan

        is_program = self._program is not None
        return VassalPlan(
            monitor=self.file.monitor,
            name=self.file.name,
            section=self.file.section,
            options=tuple(self.compiled.options),
            delivered=() if is_program else self._delivered.parts,
            launch=self._launch(),
            policies=_policies(
                self.compiled, socket=self._launching.socket, program=self._program
            ),
        )

    def _launch(self) -> Launch:
        from emperor.compiler.plan import Launch

        launching, program = self._launching, self._program
        argv = (launching.program, "--inherit", self._delivered.url)
        return Launch(
            argv=(*launching.chain, *(argv if program is None else program.argv)),
            cwd=self.file.directory,
            set=self._inherited.set + launching.set + (() if program is None else program.set),
            unset=self._inherited.unset,
            socket=launching.socket,
            sockets=() if program is None else program.sockets,
            forks=program is not None and program.forks,
            chain=self._chain,
        )


def compile_vassal(
    file: VassalFile,
    *,
    templates: Templates,
    environment: Mapping[str, str],
    reader: Reader,
    target: Target,
    is_strict: bool = False,
    jail: Jail | None = None,
    starter: Host | None = None,
) -> VassalCompile:
    """Compile one vassal as the Emperor with these templates and this environment starts it.

    ``jail`` is what the Emperor will put in front of the command, for a plan that shows it;
    ``starter`` says as whom it starts the vassal, where that is not the user that compiles.
    """
    arguments, index = vassal_arguments(file, templates, reader)
    inherited = _inherited(tuple(environment.items()))
    compiled = compile_arguments(
        arguments,
        environment=inherited.seen,
        reader=reader,
        target=target,
        vassal=index,
        is_strict=is_strict,
        facts_of_vassal=facts_of_vassal(file, reader.host()),
        further_options=OWN_OPTIONS,
    )
    diagnostics = Diagnostics()
    diagnostics.items += compiled.diagnostics
    program = program_of(
        compiled,
        file,
        arguments=arguments,
        host=reader.host() if starter is None else starter,
        diagnostics=diagnostics,
    )
    # nobody reads the config of a program: nor is it wrong where none could be sent
    told = diagnostics if program is None else Diagnostics()
    delivered = deliver(file.name, compiled, target, told)
    launching = launching_of(
        file,
        templates,
        binary=target.path,
        environment=inherited.seen,
        reader=reader,
        diagnostics=diagnostics,
    )
    if program is None and launching.program == NO_UWSGI:
        diagnostics.stop(
            "no-uwsgi",
            f'"{file.name}" wants a uWSGI, and there is none',
            Origin(source=Source(name=file.name, text=""), line=1),
            "install one, or name it with binary-path in the Emperor's file; a program that is"
            " not uWSGI is named by vassal-exec",
        )
    return VassalCompile(
        file=file,
        compiled=compiled,
        diagnostics=tuple(diagnostics.items),
        _delivered=delivered,
        _inherited=inherited,
        _launching=launching,
        _program=program,
        _chain=() if jail is None else chain(jail),
    )


@lru_cache(maxsize=8)
def _inherited(environment: tuple[tuple[str, str], ...]) -> _Inherited:
    """What comes of the Emperor's environment: the same for all vassals, so worked out once.

    Variables that are compiled in are gone from the vassal's.
    """
    old = dict(environment)
    seen = vassal_environment(old)
    new = {name: value for name, value in seen.items() if not is_option_variable(name)}
    return _Inherited(
        seen=seen,
        set=tuple(sorted((n, v) for n, v in new.items() if old.get(n) != v)),
        unset=tuple(sorted(old.keys() - new.keys())),
    )


def plain_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The Emperor's environment as a vassal's program gets it, options taken out."""
    inherited = _inherited(tuple(environment.items()))
    gone = set(inherited.unset)
    kept = {name: value for name, value in environment.items() if name not in gone}
    return {**kept, **dict(inherited.set)}


def _policies(
    compiled: Compiled, *, socket: str | None, program: ProgramLaunch | None
) -> Policies:
    from emperor.compiler.plan import RELOAD_GRACE_SECONDS, Policies

    if program is not None:
        return Policies(has_master=False, program=program.program)
    last = dict(compiled.options)
    mercies = [
        leading_number(last[name] or "0")
        for name in ("reload-mercy", "worker-reload-mercy")
        if name in last
    ]
    return Policies(
        has_master=boolean(last["master"]) if "master" in last else True,
        has_workers=socket is not None or _has_workers(last),
        reload_seconds=min(max([60, *mercies]), 86_400) + RELOAD_GRACE_SECONDS,
    )


#: Setters of options that give the workers something to listen on.
_ADDS_SOCKET = frozenset(
    f"uwsgi_opt_add_{name}"
    for name in ("socket", "ssl_socket", "socket_no_defer", "lazy_socket")
)
#: With one of these the http router does not need workers of its own.
_HTTP_BACKENDS = frozenset(
    """
    http-to http-subscription-server http-use-cache http-use-pattern http-use-base
    http-use-code-string http-use-socket http-use-cluster
    """.split()
)


def _has_workers(last: Mapping[str, str | None]) -> bool:
    """Whether workers will say that they accept requests: uWSGI has none without a socket (its
    log: "Operational MODE: no-workers"), and with ``cheap`` none before the first request."""
    if boolean(last.get("cheap", "false")):
        return False
    if not _HTTP_BACKENDS.isdisjoint(last):
        last = {key: value for key, value in last.items() if key not in {"http", "https"}}
    options = everything()
    return any(
        key in {"http", "https", "zerg"} or options[key]["setter"] in _ADDS_SOCKET
        for key in last
        if key in options
    )
