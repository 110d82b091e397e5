"""The daemon: takes its configuration, gives up its rights, governs until told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emperor.runtime import events as ev
from emperor.runtime.commission import Commission
from emperor.runtime.compiling.client import CompileServer
from emperor.runtime.compiling.start import FirstQuestion, Started
from emperor.runtime.doors import Doors
from emperor.runtime.exits import ERRORS_FOUND, SYSTEM_REFUSED, USAGE
from emperor.runtime.government import Government
from emperor.runtime.guardian.children import become_subreaper
from emperor.runtime.liege import Liege
from emperor.runtime.monitors.sources import AnySource, UnknownMonitorError, parse_source
from emperor.runtime.preparing import (
    Refused,
    become,
    prepare,
    processors,
    raise_limit,
    umask_of,
)
from emperor.runtime.processes import Processes

log = logging.getLogger("emperor")

_MOST_WORKERS = 8


@dataclass(slots=True)
class _Stopping:
    """How far the end is; with ``starts_over`` it is not the end."""

    signals: int = 0
    starts_over: bool = False
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


def run(
    server: Started,
    first: FirstQuestion,
    *,
    commission: Commission | None,
    log_level: str | None,
    log_json: bool,
) -> int:
    """Run the Emperor; gives the exit code.

    ``server`` is the compile server, started already, and ``first`` the question for the
    Emperor's own configuration that it was asked. With a ``commission`` this Emperor is the
    vassal of another, at whose word it starts over: then this does not return.
    """
    stopping = _Stopping()
    try:
        asyncio.run(
            _run(
                server,
                first,
                stopping,
                commission=commission,
                log_level=log_level,
                log_json=log_json,
            )
        )
        if stopping.starts_over and commission is not None:
            commission.pass_on()
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    except Refused as error:
        sys.stderr.write(f"{error}\n")
        return error.code
    except OSError as error:
        sys.stderr.write(f"emperor run: {error}\n")
        return SYSTEM_REFUSED
    return 0


async def _run(
    server: Started,
    first: FirstQuestion,
    stopping: _Stopping,
    *,
    commission: Commission | None,
    log_level: str | None,
    log_json: bool,
) -> None:
    compiler = CompileServer(
        server=server,
        first=first,
        workers=min(processors(), _MOST_WORKERS),
        on_trouble=log.error,
    )
    # started while the compile server is still loading; what it needs to know comes later
    processes = Processes(own=lambda: (compiler.pid,))
    doors: Doors | None = None
    try:
        answer = await compiler.first_answer()
        config, diagnostics = _checked(answer)
        prepare(config, log_level=log_level, log_json=log_json)
        for text in diagnostics:
            log.warning(text)
        soft_nofile = raise_limit(config["max_fd"])
        become_subreaper()  # not earlier: what exec-as-root left behind is not ours
        processes.settle(
            soft_nofile=soft_nofile,
            umask=umask_of(config),
            passes_output=config["logto"] is not None or config["logto2"] is not None,
        )
        doors = Doors(config, os.environ)
        become(config, compiler, processes)
        environment: dict[str, str] = answer["environment"]  # type: ignore[assignment]
        compiler.settings(
            {
                "templates": config["templates"],
                "environment": environment,
                "target": answer["target"],
                "cwd": os.getcwd(),
            }
        )
        await _govern(config, answer, compiler, processes, doors, stopping, commission)
    finally:
        if doors is not None:
            doors.close()
        await processes.close()
        await compiler.close()
    fate = "starts over" if stopping.starts_over else "leaves"
    log.info("all vassals are gone: the Emperor %s", fate)


async def _govern(
    config: Mapping[str, Any],
    answer: Mapping[str, Any],
    compiler: CompileServer,
    processes: Processes,
    doors: Doors,
    stopping: _Stopping,
    commission: Commission | None,
) -> None:
    sources = _sources(config["monitors"])
    try:
        government = Government(
            config=config,
            hooks=answer["hooks"],
            environment=answer["environment"],
            tenant_environment=answer["vassal_environment"],
            compiler=compiler,
            processes=processes,
            on_empty=stopping.is_over.set,
        )
    except ValueError as error:  # a mode, an owner or a network that cannot be
        raise Refused(ERRORS_FOUND, f"emperor run: {error}") from None
    doors.open(government, sources)
    ragnarok = _ragnarok(
        government, doors, stopping, grace_seconds=config["reload_mercy_seconds"]
    )
    _obey_signals(government, doors, ragnarok)
    liege = None if commission is None else _liege(commission, ragnarok, stopping)
    log.info("the Emperor governs %s", ", ".join(source.id for source in sources))
    government.hooks.run("emperor-start", config="", directory=os.getcwd())

    def is_up() -> None:
        doors.notifier.ready()
        if liege is not None:
            liege.announce()

    government.open(sources, on_first_look=is_up)
    try:
        await stopping.is_over.wait()
        if liege is not None and stopping.starts_over:
            liege.ask_for_config()
    finally:
        government.close()
        government.leave()


def _ragnarok(
    government: Government, doors: Doors, stopping: _Stopping, *, grace_seconds: float
) -> Callable[[str], None]:
    """What brings all vassals down, and at the second call kills what is left; it is told
    why."""

    def begin(why: str) -> None:
        stopping.signals += 1
        if stopping.signals > 1:
            log.warning("%s again: killing what is left", why)
            government.hooks.kill_all()
            government.controller.shut_down(ev.Die())
            return
        log.info("%s: bringing all vassals down", why)
        doors.notifier.stopping()
        government.close()
        government.controller.shut_down(ev.Leave(grace_seconds=grace_seconds))

    return begin


def _liege(
    commission: Commission, ragnarok: Callable[[str], None], stopping: _Stopping
) -> Liege:
    """What the Emperor above may ask for."""

    def start_over() -> None:
        if not stopping.signals:
            stopping.starts_over = True
            ragnarok("the Emperor above wants a reload")

    def stop() -> None:
        stopping.starts_over = False
        if not stopping.signals:
            ragnarok("the Emperor above says stop")

    def lost() -> None:
        stopping.starts_over = False
        ragnarok("the Emperor above is gone")

    return Liege(commission, on_stop=stop, on_reload=start_over, on_lost=lost)


def _obey_signals(
    government: Government, doors: Doors, ragnarok: Callable[[str], None]
) -> None:
    """What signals mean; the loop calls these between events, never in the midst of one."""
    loop = asyncio.get_running_loop()
    controller = government.controller

    def reload_all() -> None:
        log.info("SIGHUP: reloading all vassals")
        doors.notifier.reloading()
        controller.tell_all(ev.Reload())
        doors.when_settled(doors.notifier.ready)

    def retry_all() -> None:
        log.info("SIGURG: the blacklist is empty, all that waits is tried now")
        controller.tell_all(ev.Retry())

    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        loop.add_signal_handler(signum, ragnarok, signum.name)
    loop.add_signal_handler(signal.SIGHUP, reload_all)
    loop.add_signal_handler(signal.SIGURG, retry_all)
    loop.add_signal_handler(signal.SIGUSR1, _log_all, government)


def _log_all(government: Government) -> None:
    """One line for each vassal, as uWSGI's Emperor writes at SIGUSR1."""
    for view in government.court.views():
        told = (
            f"{view.state}, pid {view.pid}, last modified {view.last_mod},"
            f" loyal {view.loyal}, zerg {view.zerg}: {view.outlook}"
        )
        log.info(told, extra={"vassal": view.shown})


def _checked(answer: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The configuration in the compile server's first answer, or the end."""
    diagnostics = [str(text) for text in answer["diagnostics"]]
    if not answer["ok"]:
        raise Refused(ERRORS_FOUND, "\n".join(diagnostics))
    config: dict[str, Any] = answer["config"]
    if not config["monitors"]:
        raise Refused(USAGE, "emperor run: name at least one --emperor DIR (--help says more)")
    return config, diagnostics


def _sources(monitors: Sequence[str]) -> list[AnySource]:
    try:
        return [parse_source(m, cwd=os.getcwd(), is_directory=os.path.isdir) for m in monitors]
    except UnknownMonitorError as error:
        raise Refused(ERRORS_FOUND, f"emperor run: {error}") from None
