"""The launch spec: all that the daemon knows of a compiled vassal.

It comes from the compile worker as JSON, and the daemon checks it by hand: the worker may run
on behalf of a user who is not trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emperor.compiler.programs.values import HeldSocket, Program
from emperor.compiler.source import to_bytes
from emperor.runtime.protocol import MOST_CONFIG_BYTES
from emperor.runtime.stamps import PathStamp
from emperor.runtime.tenants.privileges import Owner

if TYPE_CHECKING:
    from emperor.compiler.plan import VassalPlan


#: The longest time that a program may be given for anything, in seconds.
MOST_SECONDS = 1_000_000.0

#: The listening sockets of one program, so that their numbers stay low.
MOST_SOCKETS = 32


class BadSpec(ValueError):
    """An answer that no honest worker gives; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """How a vassal is started and what it reads; ``delivered`` goes over the config pipe."""

    argv: tuple[str, ...]
    cwd: str
    set: tuple[tuple[str, str], ...]
    unset: tuple[str, ...]
    delivered: tuple[bytes, ...]
    digest: str
    has_master: bool
    reload_seconds: int
    #: Whether it says when it accepts requests; one without workers says only that it is up.
    has_workers: bool = True
    #: The address of the on-demand socket, which the program gets as descriptor 0.
    socket: str | None = None
    #: What a program that is not uWSGI gets from descriptor 3 on, and how it is treated.
    sockets: tuple[HeldSocket, ...] = ()
    program: Program | None = None
    #: The program is the one child of the main process.
    forks: bool = False
    #: The tenant that it runs as; the daemon says so, never a worker.
    owner: Owner | None = None

    def is_launched_as(self, other: LaunchSpec) -> bool:
        """Whether a reload is enough to get from one to the other."""
        return self._launch == other._launch

    @property
    def _launch(self) -> tuple[object, ...]:
        return (
            self.argv,
            self.cwd,
            self.set,
            self.unset,
            self.has_master,
            self.socket,
            self.sockets,
            self.program,
            self.owner,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileAnswer:
    """What a compile gave: a spec or the reasons there is none, and what it looked at."""

    spec: LaunchSpec | None
    diagnostics: tuple[str, ...]
    dependencies: tuple[tuple[str, PathStamp], ...]


def answer_data(
    plan: VassalPlan | None,
    diagnostics: Sequence[str],
    dependencies: Mapping[str, PathStamp],
) -> dict[str, object]:
    """An answer as JSON has it; the worker's half."""
    return {
        "spec": None if plan is None else _spec_data(plan),
        "diagnostics": list(diagnostics),
        "dependencies": [[path, stamp] for path, stamp in dependencies.items()],
    }


def _spec_data(plan: VassalPlan) -> dict[str, object]:
    from emperor.compiler.plan import program_data  # the daemon, which reads, needs none of it

    return {
        "argv": list(plan.launch.argv),
        "cwd": plan.launch.cwd,
        "set": [list(pair) for pair in plan.launch.set],
        "unset": list(plan.launch.unset),
        "socket": plan.launch.socket,
        "delivered": list(plan.delivered),
        "digest": plan.digest,
        "has_master": plan.policies.has_master,
        "has_workers": plan.policies.has_workers,
        "reload_seconds": plan.policies.reload_seconds,
        **program_data(plan.launch, plan.policies),
    }


def answer_from_data(data: object) -> CompileAnswer:
    """The daemon's half: check everything; raises ``BadSpec``."""
    fields = _mapping(data)
    spec = fields.get("spec")
    return CompileAnswer(
        spec=None if spec is None else _spec(spec),
        diagnostics=_texts(fields.get("diagnostics")),
        dependencies=tuple(_dependency(item) for item in _list(fields.get("dependencies"))),
    )


def _spec(data: object) -> LaunchSpec:
    fields = _mapping(data)
    argv = _texts(fields.get("argv"))
    cwd = _text(fields.get("cwd"))
    reload_seconds = fields.get("reload_seconds")
    address = fields.get("socket")
    has_master = fields.get("has_master")
    has_workers = fields.get("has_workers", True)  # older keepsakes say nothing of it
    delivered = tuple(to_bytes(text) for text in _texts(fields.get("delivered")))
    if not argv or not cwd.startswith("/"):
        raise BadSpec("no program or no absolute directory")
    if any("\0" in text for text in (*argv, cwd)):
        raise BadSpec("NUL in a word of the command line")
    program = None if fields.get("program") is None else _program(fields["program"])
    is_given = bool(delivered) or program is not None
    if not is_given or any(not 0 < len(text) <= MOST_CONFIG_BYTES for text in delivered):
        raise BadSpec("a config that does not fit the pipe")
    if type(reload_seconds) is not int or not 0 < reload_seconds <= 1_000_000:
        raise BadSpec("no time for a reload")
    if type(has_master) is not bool:
        raise BadSpec("no word about the master")
    if type(has_workers) is not bool:
        raise BadSpec("no word about workers")
    if len(_list(fields.get("sockets", []))) > MOST_SOCKETS:
        raise BadSpec(f"more than {MOST_SOCKETS} sockets")
    if address is not None and not _text(address):
        raise BadSpec("an on-demand socket without an address")
    return LaunchSpec(
        argv=argv,
        cwd=cwd,
        set=tuple(_variable(item) for item in _list(fields.get("set"))),
        unset=_texts(fields.get("unset")),
        delivered=delivered,
        digest=_text(fields.get("digest")),
        has_master=has_master,
        has_workers=has_workers,
        reload_seconds=reload_seconds,
        socket=None if address is None else _text(address),
        sockets=tuple(_held_socket(item) for item in _list(fields.get("sockets", []))),
        program=program,
        forks=_flag(fields.get("forks", False)),
    )


def _program(data: object) -> Program:
    fields = _mapping(data)
    log = fields.get("log")
    reload, ready = _text(fields.get("reload")), _text(fields.get("ready"))
    if reload not in {"signal", "restart", "rolling"}:
        raise BadSpec("no way to reload a program")
    if ready not in {"running", "notify", "emperor"}:
        raise BadSpec("no way to tell that a program is ready")
    if log is not None and not (log == "journal" or _text(log).startswith("/")):
        raise BadSpec("a log that is nowhere")
    return Program(
        stop_signal=_whole(fields.get("stop_signal"), 1, 64),
        stop_seconds=_seconds_or_none(fields.get("stop_seconds")),
        reload=reload,
        reload_signal=_whole(fields.get("reload_signal"), 1, 64),
        ready=ready,
        ready_after_seconds=_seconds(fields.get("ready_after_seconds")),
        ready_timeout_seconds=_seconds(fields.get("ready_timeout_seconds")),
        watchdog_seconds=_seconds_or_none(fields.get("watchdog_seconds")),
        log=None if log is None else _text(log),
        log_bytes=_whole(fields.get("log_bytes"), 1, 1 << 50),
        log_keep=_whole(fields.get("log_keep"), 0, 1000),
    )


def _held_socket(data: object) -> HeldSocket:
    fields = _mapping(data)
    mode, owner = fields.get("mode"), fields.get("owner")
    name, address = _text(fields.get("name")), _text(fields.get("address"))
    if not address or not name or ":" in name or not name.isascii() or not name.isprintable():
        raise BadSpec("a socket without a name or an address")
    return HeldSocket(
        name=name,
        address=address,
        backlog=_whole(fields.get("backlog"), 1, 1 << 20),
        mode=None if mode is None else _text(mode),
        owner=None if owner is None else _text(owner),
    )


def _flag(data: object) -> bool:
    if type(data) is not bool:
        raise BadSpec("neither true nor false")
    return data


def _whole(data: object, least: int, most: int) -> int:
    if type(data) is not int or not least <= data <= most:
        raise BadSpec(f"no whole number from {least} to {most}")
    return data


def _seconds(data: object) -> float:
    if type(data) not in (int, float) or not 0 <= (seconds := float(str(data))) <= MOST_SECONDS:
        raise BadSpec("no number of seconds")
    return seconds


def _seconds_or_none(data: object) -> float | None:
    return None if data is None else _seconds(data)


def _variable(item: object) -> tuple[str, str]:
    name, value = _two(item)
    name, value = _text(name), _text(value)
    if not name or "=" in name or "\0" in name + value:
        raise BadSpec("a variable that cannot be set")
    return name, value


def _dependency(item: object) -> tuple[str, PathStamp]:
    path, stamp = _two(item)
    if stamp is None:
        return _text(path), None
    numbers = _list(stamp)
    if len(numbers) != 3 or any(type(number) is not int for number in numbers):
        raise BadSpec("a stamp is three numbers")
    mtime_ns, size, inode = (int(str(number)) for number in numbers)
    return _text(path), (mtime_ns, size, inode)


def _two(item: object) -> tuple[object, object]:
    pair = _list(item)
    if len(pair) != 2:
        raise BadSpec("a pair has two items")
    return pair[0], pair[1]


def _mapping(data: object) -> Mapping[str, object]:
    if not isinstance(data, dict):
        raise BadSpec("an object is missing")
    return data


def _list(data: object) -> list[object]:
    if not isinstance(data, list):
        raise BadSpec("a list is missing")
    return data


def _text(data: object) -> str:
    if not isinstance(data, str):
        raise BadSpec("a text is missing")
    try:
        to_bytes(data)
    except UnicodeEncodeError:
        raise BadSpec("a text that stands for no bytes") from None
    return data


def _texts(data: object) -> tuple[str, ...]:
    return tuple(_text(item) for item in _list(data))
