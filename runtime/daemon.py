"""Wires everything together and runs until told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emperor.runtime import log as logs
from emperor.runtime.compiling.client import CompileServer
from emperor.runtime.compiling.start import FirstQuestion, Started
from emperor.runtime.controller import Controller
from emperor.runtime.exits import ERRORS_FOUND, SYSTEM_REFUSED, USAGE
from emperor.runtime.guardian.children import become_subreaper
from emperor.runtime.keepsakes import Keepsakes
from emperor.runtime.monitors.settings import Settings
from emperor.runtime.monitors.sources import Source, UnknownMonitorError, parse_source
from emperor.runtime.monitors.watchtower import Watchtower
from emperor.runtime.privileges import NoSuchIdentity, drop, identity
from emperor.runtime.processes import Processes

log = logging.getLogger("emperor")


@dataclass(slots=True)
class _Stopping:
    """How far the end is."""

    signals: int = 0
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


class Refused(Exception):
    """The daemon cannot start; the text says why. ``code`` is the exit code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def run(server: Started, first: FirstQuestion, *, log_level: str | None, log_json: bool) -> int:
    """Run the Emperor; gives the exit code.

    ``server`` is the compile server, started already, and ``first`` the question for the
    Emperor's own configuration that it was asked.
    """
    try:
        return asyncio.run(_run(server, first, log_level=log_level, log_json=log_json))
    except Refused as error:
        sys.stderr.write(f"{error}\n")
        return error.code
    except OSError as error:
        sys.stderr.write(f"emperor run: {error}\n")
        return SYSTEM_REFUSED


async def _run(
    server: Started, first: FirstQuestion, *, log_level: str | None, log_json: bool
) -> int:
    compiler = CompileServer(
        server=server, first=first, workers=_processors(), on_trouble=log.error
    )
    # started while the compile server is still loading; what it needs to know comes later
    processes = Processes(
        on_exited=lambda pid, status: controller.on_exited(pid, status),
        own=lambda: (compiler.pid,),
    )
    try:
        answer = await compiler.first_answer()
        config, diagnostics = _checked(answer)
        _prepare(config, log_level=log_level, log_json=log_json)
        for text in diagnostics:
            log.warning(text)
        environment: dict[str, str] = answer["environment"]  # type: ignore[assignment]
        soft_nofile = _raise_limit(config["max_fd"])
        become_subreaper()  # not earlier: what exec-as-root left behind is not ours
        processes.settle(
            soft_nofile=soft_nofile,
            umask=_umask(config),
            passes_output=config["logto"] is not None or config["logto2"] is not None,
        )
        _become(config, compiler, processes)
        compiler.settings(
            {
                "templates": config["templates"],
                "environment": environment,
                "target": answer["target"],
                "cwd": os.getcwd(),
            }
        )
        sources = _sources(config["monitors"])
        stopping = _Stopping()
        controller = Controller(
            compiler=compiler,
            processes=processes,
            environment=environment,
            curse_seconds=config["curse_tolerance_seconds"],
            is_graceful=config["graceful_shutdown"],
            watches_includes=config["watch_includes"],
            keepsakes=_keepsakes(config["state_directory"]),
            on_empty=stopping.is_over.set,
        )
        await _govern(controller, config, sources, stopping)
    finally:
        await processes.close()
        await compiler.close()
    log.info("all vassals are gone: the Emperor leaves")
    return 0


async def _govern(
    controller: Controller,
    config: Mapping[str, Any],
    sources: Sequence[Source],
    stopping: _Stopping,
) -> None:
    """Follow the monitors until the last vassal is gone after a signal."""
    loop = asyncio.get_running_loop()
    watchtower = Watchtower(
        loop=loop,
        sources=sources,
        settings=Settings(
            settle_seconds=config["settle_seconds"],
            frequency_seconds=config["freq_seconds"],
            nofollow=config["nofollow"],
            extra_extensions=tuple(config["templates"]["extra_extensions"]),
        ),
        on_event=controller.on_sight,
        on_touched=controller.on_touched,
    )
    controller.watchtower = watchtower

    def stop(signum: signal.Signals) -> None:
        stopping.signals += 1
        if stopping.signals > 1:
            log.warning("%s again: killing what is left", signum.name)
            controller.kill_all()
            return
        log.info("%s: bringing all vassals down", signum.name)
        watchtower.close()
        controller.watchtower = None
        controller.shut_down(config["reload_mercy_seconds"])

    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        loop.add_signal_handler(signum, stop, signum)
    loop.add_signal_handler(signal.SIGHUP, _reload_all, controller)
    log.info("the Emperor governs %s", ", ".join(source.id for source in sources))
    watchtower.start()
    try:
        await stopping.is_over.wait()
    finally:
        if controller.watchtower is not None:
            watchtower.close()


def _reload_all(controller: Controller) -> None:
    log.info("SIGHUP: reloading all vassals")
    controller.reload_all()


def _processors() -> int:
    return min(len(os.sched_getaffinity(0)), 8)


def _checked(answer: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The configuration in the compile server's first answer, or the end."""
    diagnostics = [str(text) for text in answer["diagnostics"]]
    if not answer["ok"]:
        raise Refused(ERRORS_FOUND, "\n".join(diagnostics))
    config: dict[str, Any] = answer["config"]
    if not config["monitors"]:
        raise Refused(USAGE, "emperor run: name at least one --emperor DIR (--help says more)")
    return config, diagnostics


def _prepare(config: Mapping[str, Any], *, log_level: str | None, log_json: bool) -> None:
    """What happens with the rights that the daemon was started with."""
    umask = _umask(config)
    if umask is not None:
        os.umask(umask)
    if config["logto"] is not None:
        _redirect(config["logto"])
    logs.set_up(level=log_level or config["log_level"], is_json=log_json or config["log_json"])
    for path in config["pidfiles"]:
        _write_pid(path)
    for command in config["exec_as_root"]:
        _execute(command)
    if config["chdir"] is not None:
        os.chdir(config["chdir"])


def _umask(config: Mapping[str, Any]) -> int | None:
    return None if config["umask"] is None else int(config["umask"], 8)


def _become(config: Mapping[str, Any], compiler: CompileServer, processes: Processes) -> None:
    """Give up what is not needed; after that no privileged process of ours is left."""
    try:
        wanted = identity(config["uid"], config["gid"], tuple(config["add_gids"]))
    except NoSuchIdentity as error:
        raise Refused(ERRORS_FOUND, f"emperor run: {error}") from None
    if wanted.is_change:
        compiler.drop(wanted.as_data())
        processes.become(wanted)
        drop(wanted)
    if config["logto2"] is not None:
        _redirect(config["logto2"])
    for path in config["safe_pidfiles"]:
        _write_pid(path)


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


def _raise_limit(wanted: int | None) -> int:
    """Take as many descriptors as the machine allows; gives what the vassals get."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if wanted is not None:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft


def _keepsakes(directory: str | None) -> Keepsakes | None:
    return None if directory is None else Keepsakes(os.path.abspath(directory))


def _sources(monitors: Sequence[str]) -> list[Source]:
    try:
        return [parse_source(m, cwd=os.getcwd(), is_directory=os.path.isdir) for m in monitors]
    except UnknownMonitorError as error:
        raise Refused(ERRORS_FOUND, f"emperor run: {error}") from None
