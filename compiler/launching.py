"""What stands in front of a vassal's program, which program that is, and its on-demand socket.

Launching is compiled, not programmed: hooks that run in the vassal's process are lines of one
shell script that ends by becoming the program.
"""

from __future__ import annotations

import os.path
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from emperor.compiler.actions import FUNCTIONS, command_of, limited
from emperor.compiler.addresses import absolute, trouble
from emperor.compiler.diagnostics import Diagnostics
from emperor.compiler.hooks import parse_hook
from emperor.compiler.reader import Reader, Unreadable
from emperor.compiler.render import printable
from emperor.compiler.source import Origin, Source, from_bytes
from emperor.compiler.vassal import Templates, VassalFile

_DEFAULT_PATH = "/bin:/usr/bin"

#: The order in which uWSGI runs them.
_KINDS = ("hook-as-vassal", "mount-as-vassal", "umount-as-vassal", "exec-as-vassal")

_PROLOGUE = f"{FUNCTIONS}\n{{"

_EPILOGUE = """} </dev/null || exit 1
exec "$@\""""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launching:
    """How a vassal's program is come by.

    ``chain`` are the words in front of ``program``; ``set`` are variables that the chain wants;
    ``socket`` is the address of the on-demand socket.
    """

    program: str
    chain: tuple[str, ...] = ()
    set: tuple[tuple[str, str], ...] = ()
    socket: str | None = None


def launching_of(
    file: VassalFile,
    templates: Templates,
    *,
    binary: str,
    environment: Mapping[str, str],
    reader: Reader,
    diagnostics: Diagnostics,
) -> Launching:
    """How the vassal ``file`` is launched where ``binary`` is the uWSGI to run.

    ``environment`` is what the vassal sees. Programs and addresses that are looked for become
    dependencies of the ``reader``; an address that is none becomes a diagnostic.
    """
    if _is_plain(file, templates):
        return Launching(program=binary)
    has_hooks = bool(templates.as_vassal)
    return Launching(
        program=_program(templates, binary, environment, reader),
        chain=_chain(file, templates) if has_hooks else (),
        set=(("UWSGI_VASSALS_DIR", file.directory),) if has_hooks else (),
        socket=_socket(file, templates, reader, diagnostics),
    )


def _is_plain(file: VassalFile, templates: Templates) -> bool:
    """Whether uWSGI is simply started: most vassals are, and are to pay nothing for others."""
    return (
        not templates.as_vassal
        and templates.wrapper is None
        and not templates.wrapper_override
        and not templates.wrapper_fallback
        and templates.on_demand_extension is None
        and templates.on_demand_directory is None
        and templates.on_demand_exec is None
        and file.socket is None
    )


# -- the program -----------------------------------------------------------------------------


def _program(
    templates: Templates, binary: str, environment: Mapping[str, str], reader: Reader
) -> str:
    """The first program that is there; if none is, the one that was meant, and the spawn will
    say what is wrong with it."""
    meant = templates.wrapper or binary
    candidates = (*templates.wrapper_override, meant, *templates.wrapper_fallback)
    if len(candidates) == 1 and meant == binary:
        return binary
    for candidate in candidates:
        for place in _places(candidate, environment.get("PATH", _DEFAULT_PATH)):
            if reader.is_executable(place):
                return place
    return meant


def _places(program: str, path: str) -> list[str]:
    """Where a program may be, as execvp(3) looks for it."""
    if "/" in program or not program:
        return [program] if program else []
    return [os.path.join(directory or ".", program) for directory in path.split(":")]


# -- hooks in the vassal's process -----------------------------------------------------------


def _chain(file: VassalFile, templates: Templates) -> tuple[str, ...]:
    """A shell that does the hooks and becomes the program, whose words follow.

    The vassal's name is a word of its own, never a part of the script.
    """
    name = file.name if file.section is None else f"{file.name}:{file.section}"
    script, has_start_hook = _script(templates.as_vassal, templates.hook_timeout_seconds)
    called = printable(name).replace("\n", "\\n")  # it is that in what the shell says
    return ("/bin/sh", "-c", script, called, *([name] if has_start_hook else []))


@lru_cache(maxsize=16)
def _script(hooks: tuple[tuple[str, str], ...], seconds: float) -> tuple[str, bool]:
    """The script, and whether it takes the vassal's name as its first argument."""
    start = [value for option, value in hooks if option == "vassals-start-hook"]
    lines = [_PROLOGUE]
    if start:
        lines += _start_hook(start[-1], seconds)
    for kind in _KINDS:
        for option, value in hooks:
            if option == kind:
                lines += _hook(option, value, seconds)
    return "\n".join([*lines, _EPILOGUE]), bool(start)


def _start_hook(program: str, seconds: float) -> Iterator[str]:
    """It may fail."""
    label = f'"vassals-start-hook = {program}"'
    yield f"say {shlex.quote(f'running {label}')}"
    yield f'{limited([program], seconds)} "$1" || say {shlex.quote(label)}" exited with $?"'
    yield "shift"


def _hook(option: str, value: str, seconds: float) -> Iterator[str]:
    try:
        hook = parse_hook(option, value)
        command = command_of(hook.action, hook.arguments, seconds=seconds)
    except ValueError as error:  # told when the Emperor's configuration was read
        yield f"end {shlex.quote(f'{option}: {error}')} 1"
        return
    label = f'"{hook.label}"'
    yield f"say {shlex.quote(f'running {label}')}"
    if hook.action == "safeexec":
        yield f'{command} || say {shlex.quote(label)}" exited with $?"'
    elif hook.action == "exit":
        yield command
    else:
        yield f"{command} || end {shlex.quote(label)} $?"


# -- the on-demand socket --------------------------------------------------------------------


def _socket(
    file: VassalFile, templates: Templates, reader: Reader, diagnostics: Diagnostics
) -> str | None:
    """The address of the socket that wakes the vassal; nothing if it runs at once."""
    if file.section == "zerg":
        return None
    if file.socket is not None:
        address, origin = file.socket, _of_file(file)
    else:
        address, origin = _found_address(file, templates, reader, diagnostics)
    if not address:
        return None
    if (wrong := trouble(address)) is not None:
        diagnostics.stop(
            "invalid-value",
            f'"{address}" is no address of an on-demand socket: {wrong}',
            origin,
            "write HOST:PORT, [IPV6]:PORT, a path, or @NAME",
        )
        return None
    return absolute(address, file.directory)


def _found_address(
    file: VassalFile, templates: Templates, reader: Reader, diagnostics: Diagnostics
) -> tuple[str, Origin]:
    """What the Emperor's options say, the first that is given; "" for no socket."""
    if (extension := templates.on_demand_extension) is not None:
        return _from_file(f"{file.name}{extension}", reader, diagnostics)
    if (directory := templates.on_demand_directory) is not None:
        stem, dot, _ = os.path.basename(file.name).rpartition(".")
        return (f"{directory}/{stem}.socket" if dot else ""), _of_file(file)
    if (command := templates.on_demand_exec) is not None:
        return _from_command(command, file, reader, diagnostics)
    return "", _of_file(file)


def _from_file(name: str, reader: Reader, diagnostics: Diagnostics) -> tuple[str, Origin]:
    text = ""
    try:
        text = from_bytes(reader.read(name))
    except Unreadable as error:
        if error.code != "missing-file":
            diagnostics.warn(
                error.code,
                f'cannot read the on-demand address in "{name}": {error.reason}',
                Origin(source=Source(name=name, text=""), line=1),
                error.remedy or "let the user that compiles read it",
            )
    origin = Origin(source=Source(name=name, text=text), line=1, width=len(_printed(text)))
    return _printed(text), origin


def _from_command(
    command: str, file: VassalFile, reader: Reader, diagnostics: Diagnostics
) -> tuple[str, Origin]:
    origin = _of_file(file)
    try:
        output = reader.run(f"{command} {shlex.quote(file.name)}")
    except Unreadable as error:
        diagnostics.warn(
            error.code,
            f'"emperor-on-demand-exec" gave no address, so "{file.name}" is not on demand:'
            f" {error.reason}",
            origin,
            error.remedy or "run the command by hand to see what it does",
        )
        return "", origin
    return _printed(from_bytes(output)), origin


def _printed(text: str) -> str:
    """The text up to its first control character, as uWSGI cuts it."""
    return re.split(r"[\x00-\x1f]", text, maxsplit=1)[0]


def _of_file(file: VassalFile) -> Origin:
    """The vassal's file as a place: nobody wrote a line for it."""
    return Origin(source=Source(name=file.name, text=""), line=1)
