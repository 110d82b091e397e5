"""Vassals that are not uWSGI: which are, how they are started, how they are treated.

A file with ``vassal-exec`` or one of uWSGI's binary patches names a program. What makes sense
for any process is done by shells and standard tools in front of it, in uWSGI's order; sockets
are held by the Emperor; all else is named in a diagnostic.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from emperor.compiler.catalogue import everything
from emperor.compiler.delivered import Acting, acting_options
from emperor.compiler.diagnostics import Diagnostics
from emperor.compiler.pipeline import Compiled
from emperor.compiler.programs.command import PROGRAMS, Command, Form, command
from emperor.compiler.programs.jail import (
    OUTER_PID,
    become,
    forks,
    jail,
    left_out,
    unprivileged,
)
from emperor.compiler.programs.policies import OWN_KEYS, policies
from emperor.compiler.programs.script import Step, hooks, variables, words
from emperor.compiler.programs.settings import Settings
from emperor.compiler.programs.sockets import sockets
from emperor.compiler.programs.steps import PID_FILES, first, last, limits, waits
from emperor.compiler.programs.values import HeldSocket, Program
from emperor.compiler.reader import Host
from emperor.compiler.render import printable
from emperor.compiler.target import Target
from emperor.compiler.vassal import VassalFile

#: Options that say how uWSGI serves and that every file has: one warning names them all.
_OF_THE_SERVER = frozenset(
    """
    master processes workers threads enable-threads thunder-lock vacuum need-app no-default-app
    die-on-term single-interpreter lazy lazy-apps harakiri max-requests buffer-size
    post-buffering plugin plugins need-plugin need-plugins plugin-dir plugins-dir autoload
    procname
    procname-prefix procname-prefix-spaced procname-append procname-master auto-procname
    disable-logging memory-report log-date logdate log-x-forwarded-for no-orphans
    close-on-exec ignore-sigpipe ignore-write-errors disable-write-exception cheaper
    cheaper-initial print iprint socket-timeout http-timeout reuse-port so-keepalive
    socket-sndbuf socket-rcvbuf binary-path
    """.split()
)

#: What to write instead.
_REMEDIES = {
    "reload-mercy": 'use "vassal-kill-after"',
    "worker-reload-mercy": 'use "vassal-kill-after"',
    "heartbeat": 'use "vassal-heartbeat"',
    "touch-reload": "touch the vassal's file",
    "logger": 'use "vassal-log"',
    "req-logger": 'use "vassal-log"',
    "log-maxsize": 'use "vassal-log" and "vassal-log-size"',
    "envdir": 'use "env"',
}
_REMEDY = "take it out, or let the program do it"

#: Walls around a uWSGI that nothing here can build: without them the program would be freer
#: than its owner means.
_IMPOSSIBLE = {
    "immediate-uid": 'use "uid"',
    "immediate-gid": 'use "gid"',
    "setns": "start the program with nsenter",
    "namespace": 'use "unshare" and "chroot"',
    "ns": 'use "unshare" and "chroot"',
    "namespace-net": 'use "unshare"',
    "ns-net": 'use "unshare"',
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramLaunch:
    """How a program is started and treated.

    ``argv`` is run with the rights of whoever compiled it; ``set`` are variables that it wants;
    ``sockets`` are the program's from descriptor 3 on. With ``forks`` the process only waits
    for the program, which is its one child.
    """

    argv: tuple[str, ...]
    set: tuple[tuple[str, str], ...]
    sockets: tuple[HeldSocket, ...]
    program: Program
    forks: bool = False


def program_of(
    compiled: Compiled,
    file: VassalFile,
    *,
    arguments: Sequence[str],
    host: Host,
    diagnostics: Diagnostics,
) -> ProgramLaunch | None:
    """How the vassal's program is started, or nothing for one that runs in uWSGI.

    ``arguments`` are uWSGI's own for the vassal; ``host`` says as whom it is started. What is
    wrong, and what does nothing, becomes a diagnostic; with an error the launch is not to be
    used.
    """
    if not compiled.ok or not _speaks_of_programs(compiled):
        return None
    settings = Settings(acting_options(compiled, Target()), diagnostics)
    found = command(settings, arguments)
    if found is None:
        if not settings.has(*PROGRAMS):
            settings.idle(
                OWN_KEYS, "the vassal runs in uWSGI", "take it out, or add vassal-exec"
            )
        return None
    launch = _launch(settings, found, file, host)
    _name_the_rest(settings)
    return launch


def _speaks_of_programs(compiled: Compiled) -> bool:
    """Whether a key of programs is set: most vassals have none, and are to pay nothing."""
    keys = {*PROGRAMS, *OWN_KEYS}
    return any(entry.key in keys or entry.runs for entry in compiled.entries) or any(
        key in keys for key, _, _ in compiled.acted
    )


# -- the launch ------------------------------------------------------------------------------


def _launch(settings: Settings, found: Command, file: VassalFile, host: Host) -> ProgramLaunch:
    held = sockets(settings, file.directory)
    program = policies(settings, file.directory)
    own = variables(settings)
    is_walled = found.form is Form.UNPRIVILEGED and host.uid == 0
    if found.form is Form.PRIVILEGED:
        left_out(settings)
    elif host.uid != 0:
        unprivileged(settings, host)
    for name, remedy in _IMPOSSIBLE.items():
        settings.cannot([name], "a program cannot be started in that way", remedy)
    is_forked = is_walled and forks(settings)
    steps = [
        *first(settings, has_pid=not is_forked),
        *(hooks(settings, "in-jail") if found.form is Form.UNPRIVILEGED else ()),
        *limits(settings, host),
        *(jail(settings) if is_walled else ()),
        *waits(settings),
        *(_as_user(settings, is_walled) if found.form is Form.UNPRIVILEGED else ()),
        *last(settings, number=OUTER_PID if is_forked else "$$"),
    ]
    whole = [*own.for_hooks(steps), *own.for_good(), *_announced(bool(held), program)]
    if is_forked and settings.has(*PID_FILES):
        whole.append("unset EMPEROR_PID")
    return ProgramLaunch(
        argv=(*words(whole, _called(file)), *found.words),
        set=own.set,
        sockets=held,
        program=program,
        forks=is_forked,
    )


def _as_user(settings: Settings, is_walled: bool) -> Iterator[Step]:
    if is_walled:
        yield from hooks(settings, "as-root")
        yield from become(settings)
    yield from hooks(settings, "as-user")


def _announced(has_sockets: bool, program: Program) -> Iterator[Step]:
    """The number of the process for the variables that are for nobody else: only now is it
    known, and the process it is."""
    if has_sockets:
        yield "export LISTEN_PID=$$"
    if program.watchdog_seconds is not None:
        yield "export WATCHDOG_PID=$$"


def _called(file: VassalFile) -> str:
    name = file.name if file.section is None else f"{file.name}:{file.section}"
    return printable(name).replace("\n", "\\n")


# -- what is left ----------------------------------------------------------------------------


def _name_the_rest(settings: Settings) -> None:
    """Warn of every option that has not been asked for: nothing is skipped in silence."""
    known = everything()
    served: list[Acting] = []
    for option in settings.unasked():
        if option.key in _OF_THE_SERVER:
            served.append(option)
        elif option.key in known:
            settings.warn(
                "only-uwsgi",
                f'only a uWSGI could honour "{option.key}", and this is another program',
                option,
                _REMEDIES.get(option.key, _REMEDY),
            )
        elif option.key.startswith("vassal-"):
            near = difflib.get_close_matches(option.key, OWN_KEYS, n=1)
            settings.warn(
                "no-effect",
                f'there is no option "{option.key}"',
                option,
                f'did you mean "{near[0]}"?' if near else "take it out",
            )
    if served:
        places = ", ".join(f'"{option.key}" ({_place(option)})' for option in served)
        settings.warn(
            "only-uwsgi",
            f"these say how uWSGI serves, and the vassal runs another program: {places}",
            served[0],
            _REMEDY,
        )


def _place(option: Acting) -> str:
    span = option.origin.span()
    return f"{span.file}:{span.line}"
