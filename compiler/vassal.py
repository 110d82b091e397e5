"""How the Emperor starts a vassal's uWSGI: its arguments, its environment, its name.

The order of the arguments is uWSGI's own (documentation "The uWSGI Emperor"; verified with a
wrapper that prints them)::

    [--inherit IB]* [--include NB]* [--set V]* TYPE NAME [--inherit I]* [--include N]*
"""

from __future__ import annotations

import os.path
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from emperor.compiler.directives import FORMATS
from emperor.compiler.reader import Host, Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Templates:
    """What the Emperor adds to every vassal's arguments, each in the order given."""

    inherit_before: tuple[str, ...] = ()
    include_before: tuple[str, ...] = ()
    set: tuple[str, ...] = ()
    inherit: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    extra_extensions: tuple[str, ...] = ()
    #: The program to start instead of uWSGI, those tried before it and those tried after it.
    wrapper: str | None = None
    wrapper_override: tuple[str, ...] = ()
    wrapper_fallback: tuple[str, ...] = ()
    #: A vassal file that may be executed is run, and what it prints is the configuration.
    magic_exec: bool = False
    #: Where the address of a vassal's on-demand socket comes from; the first that is given.
    on_demand_extension: str | None = None
    on_demand_directory: str | None = None
    on_demand_exec: str | None = None
    #: (option, value) of the hooks that run in the vassal's process before its program.
    as_vassal: tuple[tuple[str, str], ...] = ()
    hook_timeout_seconds: float = 30.0
    #: How standard input is read when the vassal's name is "-".
    stdin_format: str = "ini"


@dataclass(frozen=True, slots=True, kw_only=True)
class VassalFile:
    """One vassal as a monitor names it.

    ``name`` is relative to ``directory`` for a directory, the path for a glob; ``directory`` is
    the working directory; ``monitor`` is the monitor as the user wrote it. ``text`` is the
    configuration where the monitor has it and no file; ``socket`` the address of an on-demand
    socket that the monitor gives.
    """

    name: str
    directory: str
    monitor: str
    section: str | None = None
    text: str | None = None
    socket: str | None = None


def vassal_arguments(
    file: VassalFile, templates: Templates, reader: Reader
) -> tuple[list[str], int]:
    """The arguments behind uWSGI's own name, and the index of the one that names the file."""
    arguments: list[str] = []
    for option, values in (
        ("--inherit", templates.inherit_before),
        ("--include", templates.include_before),
        ("--set", templates.set),
    ):
        for value in values:
            arguments += [option, value]
    name = _source(file, templates, reader)
    if file.section is not None:
        name += f":{file.section}"
    arguments += [_type(file.name, templates), name]
    index = len(arguments) - 1
    for option, values in (("--inherit", templates.inherit), ("--include", templates.include)):
        for value in values:
            arguments += [option, value]
    return arguments, index


def _source(file: VassalFile, templates: Templates, reader: Reader) -> str:
    """What the vassal is read from: its file, the text that came with it, or what it prints."""
    if file.text is not None:
        return f"emperor://{file.name}"
    if not templates.magic_exec or not (
        reader.is_readable(file.name) and reader.is_executable(file.name)
    ):
        return file.name
    return f"exec://{own_command(file)}"


def own_command(file: VassalFile) -> str:
    """The command that a vassal file is which may be executed (``emperor-magic-exec``)."""
    # a shell runs it: it must find it in the working directory, and not read the name
    path = file.name if "/" in file.name else f"./{file.name}"
    return shlex.quote(path)


def _type(name: str, templates: Templates) -> str:
    if name == "-":
        return f"--{templates.stdin_format}"
    if any(name.endswith(extension) for extension in templates.extra_extensions):
        return "--config"
    for extension, kind in FORMATS.items():
        if name.endswith(extension):
            return f"--{kind}"
    return "--inherit"


def vassal_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The Emperor's environment as a vassal sees it.

    ``UWSGI_VASSAL_X`` becomes ``UWSGI_X`` with its own value (as documented; uWSGI's code takes
    the text of the next variable); what belongs to the Emperor's own process goes.
    """
    dropped = {"UWSGI_RELOADS", "NOTIFY_SOCKET", "UWSGI_EMPEROR_FD", "UWSGI_EMPEROR_FD_CONFIG"}
    plain = {
        name: value
        for name, value in environment.items()
        if name not in dropped and not name.startswith("UWSGI_VASSAL_")
    }
    for name, value in environment.items():
        if name.startswith("UWSGI_VASSAL_"):
            plain["UWSGI_" + name.removeprefix("UWSGI_VASSAL_")] = value
    return plain


def facts_of_vassal(file: VassalFile, host: Host) -> dict[str, str]:
    """Our own placeholders: ``%(vassal.name)`` and so on mean the vassal everywhere."""
    path = os.path.normpath(os.path.join(file.directory, file.name))
    base = os.path.basename(file.name)
    return {
        "vassal.name": file.name,
        "vassal.stem": base.rpartition(".")[0] or base,
        "vassal.dir": os.path.dirname(path),
        "vassal.path": path,
        "vassal.section": file.section or "",
        "vassal.uid": str(host.uid),
        "vassal.gid": str(host.gid),
        "vassal.user": host.user,
        "vassal.monitor": file.monitor,
        "emperor.hostname": host.hostname,
        "emperor.node": host.hostname.partition(".")[0],
    }
