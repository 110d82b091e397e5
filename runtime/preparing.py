"""What the daemon does to itself before it governs: its log, its limits, its rights."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from emperor.runtime import log as logs
from emperor.runtime.compiling.client import CompileServer
from emperor.runtime.exits import ERRORS_FOUND, SYSTEM_REFUSED
from emperor.runtime.processes import Processes
from emperor.runtime.tenants.capability_sets import SETGID, SETUID, holds
from emperor.runtime.tenants.privileges import Identity, NoSuchIdentity, drop, identity


class Refused(Exception):
    """The daemon cannot start; the text says why. ``code`` is the exit code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def prepare(config: Mapping[str, Any], *, log_level: str | None, log_json: bool) -> None:
    """What happens with the rights that the daemon was started with. Raises ``Refused``,
    OSError."""
    umask = umask_of(config)
    if umask is not None:
        os.umask(umask)
    if config["logto"] is not None:
        _redirect(config["logto"])
    logs.set_up(level=log_level or config["log_level"], is_json=log_json or config["log_json"])
    if config["procname"] is not None:
        from emperor.runtime.procname import set_process_name

        set_process_name(config["procname"])
    for path in config["pidfiles"]:
        _write_pid(path)
    for command in config["exec_as_root"]:
        _execute(command)
    if config["chdir"] is not None:
        os.chdir(config["chdir"])


def become(config: Mapping[str, Any], compiler: CompileServer, processes: Processes) -> None:
    """Give up what is not needed; after that no privileged process of ours is left. Raises
    ``Refused``, OSError."""
    wanted = wanted_identity(config)
    if wanted.is_change:
        _load_late_modules()
        compiler.drop(wanted.as_data())
        processes.become(wanted)
        drop(wanted)
    if config["tyrant"]:
        _check_tyrant()
        os.setgroups(())  # they would count where something is done with a tenant's file rights
    if config["logto2"] is not None:
        _redirect(config["logto2"])
    for path in config["safe_pidfiles"]:
        _write_pid(path)


def _check_tyrant() -> None:
    """A tyrant has to become others. Raises ``Refused``."""
    if not (holds(SETUID) and holds(SETGID)):
        raise Refused(
            ERRORS_FOUND,
            "emperor run: emperor-tyrant is for root, or for a user that root lets keep what it"
            " takes: uid = USER, gid = GROUP, cap = setgid,setuid",
        )


def _load_late_modules() -> None:
    """What the standard library loads when it is needed first: the lesser user may not be able
    to read it then."""
    import encodings.ascii
    import encodings.idna
    import encodings.latin_1  # noqa: F401


def wanted_identity(config: Mapping[str, Any]) -> Identity:
    """Whom the daemon is to become, and what it keeps. Raises ``Refused``."""
    try:
        wanted = identity(config["uid"], config["gid"], tuple(config["add_gids"]))
    except NoSuchIdentity as error:
        raise Refused(ERRORS_FOUND, f"emperor run: {error}") from None
    bounding = config["vassal_capabilities"]
    return replace(
        wanted,
        capabilities=tuple(config["capabilities"]),
        bounding=None if bounding is None else tuple(bounding),
    )


def umask_of(config: Mapping[str, Any]) -> int | None:
    """The umask that was asked for."""
    return None if config["umask"] is None else int(config["umask"], 8)


def raise_limit(wanted: int | None) -> int:
    """Take as many descriptors as the machine allows; gives what the vassals get."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if wanted is not None:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft


def processors() -> int:
    """How many processors the daemon may use."""
    return len(os.sched_getaffinity(0))


def _redirect(path: str) -> None:
    """Let the daemon's and the vassals' output go to a file."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o640)
    sys.stdout.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _write_pid(path: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")


def _execute(command: str) -> None:
    """Run a command and wait for it: nothing else has begun yet."""
    pid = os.posix_spawn("/bin/sh", ["/bin/sh", "-c", command], os.environ)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise Refused(SYSTEM_REFUSED, f'emperor run: "{command}" exited with {status}')
