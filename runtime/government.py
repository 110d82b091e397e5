"""Puts together what governs the vassals, from the Emperor's configuration."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from emperor.compiler.chain import Jail, chain
from emperor.runtime import addresses
from emperor.runtime.compilations import Compilations
from emperor.runtime.compiling.client import CompileServer
from emperor.runtime.controller import Controller
from emperor.runtime.court import ThroneRoom
from emperor.runtime.hooks import Hooks
from emperor.runtime.keepsakes import Keepsakes
from emperor.runtime.launcher import Launcher
from emperor.runtime.law.gate import StartGate
from emperor.runtime.law.rules import rules
from emperor.runtime.monitors.settings import Settings
from emperor.runtime.monitors.sightings import Sighting
from emperor.runtime.monitors.sources import AnySource
from emperor.runtime.monitors.watchtower import Watchtower
from emperor.runtime.networks.directory import Networks
from emperor.runtime.on_demand import OnDemand
from emperor.runtime.outfit import Outfit
from emperor.runtime.preparing import processors
from emperor.runtime.processes import Processes
from emperor.runtime.programs.held import listen_for_tenant
from emperor.runtime.programs.sinks import shared_writer
from emperor.runtime.roster import Roster
from emperor.runtime.sockets import Listener, listen, parse_mode, parse_owner
from emperor.runtime.tenants.privileges import Owner
from emperor.runtime.tenants.tenancy import tyrant_of
from emperor.runtime.views import Key

log = logging.getLogger("emperor")

#: How long the last lines of programs' logs may take to be written, in seconds.
LAST_LINES_SECONDS = 2.0

#: Starts under way in the first population, for each processor.
STARTS_PER_PROCESSOR = 4


class Government:
    """The controller and all it works with; made inside a running loop.

    ``config`` is the Emperor's configuration, ``hooks`` its compiled hooks, ``environment``
    what vassals get, ``tenant_environment`` what tenants' vassals get. ``on_empty`` is called
    when nothing is left after a shutdown.
    """

    def __init__(
        self,
        *,
        config: Mapping[str, Any],
        hooks: Mapping[str, list[list[str]]],
        environment: Mapping[str, str],
        tenant_environment: Mapping[str, str],
        compiler: CompileServer,
        processes: Processes,
        on_empty: Callable[[], None],
    ) -> None:
        self._config = config
        roster = Roster()
        networks = None if config["veth"] is None else Networks(config["veth"])
        self.gate = _gate(config)
        self.court = ThroneRoom(roster)
        self.controller = self.court.controller = Controller(
            roster=roster,
            rules=rules(config),
            gate=self.gate,
            most_zergs=config["broodlord"],
            on_change=self.court.announce,
            on_empty=on_empty,
        )
        self.controller.compilations = self.compilations = Compilations(
            compiler=compiler,
            roster=roster,
            keepsakes=_keepsakes(config["state_directory"]),
            watches_includes=config["watch_includes"],
            tyrant=tyrant_of(config),
            feed=self.controller.tell,
        )
        self.controller.outfit = Outfit(
            environment=environment,
            tenant_environment=tenant_environment,
            jail=jail_of(config),
            networks=networks,
        )
        self.controller.on_demand = OnDemand(
            open_at=_opener(config),
            address_of=lambda sighting: _on_demand_address(config["templates"], sighting),
            feed=self.controller.tell,
        )
        self.controller.launcher = Launcher(
            processes=processes,
            outfit=self.controller.outfit,
            captures_output=config["captures_output"],
            feed=self.controller.tell,
        )
        self.controller.hooks = self.hooks = Hooks(
            _with_networks(hooks, networks),
            spawner=processes,
            environment=environment,
            timeout_seconds=config["hook_timeout_seconds"],
            before=chain(Jail(drops_capabilities=bool(config["capabilities"]))),
            log=_log,
            on_idle=self.controller.check_empty,
        )

    def open(self, sources: Iterable[AnySource], *, on_first_look: Callable[[], None]) -> None:
        """Find the vassals, and follow what becomes of their files; ``on_first_look`` is called
        once, when every monitor has told of what is there."""
        config = self._config

        def first_look_is_over() -> None:
            self.controller.first_look_is_over()
            on_first_look()

        watchtower = Watchtower(
            loop=asyncio.get_running_loop(),
            sources=sources,
            settings=Settings(
                settle_seconds=config["settle_seconds"],
                frequency_seconds=config["freq_seconds"] or 3.0,
                nofollow=config["nofollow"],
                extra_extensions=tuple(config["templates"]["extra_extensions"]),
            ),
            on_event=self.controller.on_sight,
            on_touched=self.compilations.touched,
            on_first_look=first_look_is_over,
        )
        self.compilations.watchtower = watchtower
        watchtower.start()

    def close(self) -> None:
        """Look for vassals no more; those that are there stay."""
        if self.compilations.watchtower is not None:
            self.compilations.watchtower.close()
            self.compilations.watchtower = None

    def leave(self) -> None:
        """All vassals are gone: clean up after them."""
        self.controller.launcher.close()
        shared_writer().finish(LAST_LINES_SECONDS)


def _gate(config: Mapping[str, Any]) -> StartGate[Key]:
    limit = config["start_limit"]
    return StartGate(
        limit=STARTS_PER_PROCESSOR * processors() if limit is None else max(limit, 0),
        step_seconds=config["throttle_milliseconds"] / 1000,
        cap_seconds=config["max_throttle_milliseconds"] / 1000,
    )


def _with_networks(
    hooks: Mapping[str, list[list[str]]], networks: Networks | None
) -> Mapping[str, list[list[str]]]:
    """The hooks, with the one that connects a vassal before all others of its start."""
    if networks is None:
        return hooks
    return {**hooks, "as-emperor": [networks.hook, *hooks.get("as-emperor", [])]}


def jail_of(config: Mapping[str, Any]) -> Jail:
    """What the Emperor puts in front of every vassal."""
    bounding = config["vassal_capabilities"]
    return Jail(
        namespaces=tuple(config["namespaces"]),
        bounding=None if bounding is None else tuple(bounding),
        drops_capabilities=bool(config["capabilities"]),
    )


def _opener(config: Mapping[str, Any]) -> Callable[[str, Owner | None], Listener]:
    """What opens an on-demand socket at an address, perhaps with the rights of a tenant. Raises
    ValueError for a mode or an owner that cannot be."""
    mode = parse_mode(config["on_demand_mode"])
    owner = (
        None if config["on_demand_owner"] is None else parse_owner(config["on_demand_owner"])
    )

    def open_socket(text: str, tenant: Owner | None) -> Listener:
        try:
            address = addresses.parse(text)
        except ValueError as error:
            raise OSError(str(error)) from None
        backlog = config["on_demand_backlog"]
        if tenant is not None:
            return listen_for_tenant(address, tenant, backlog, mode)
        return listen(address, backlog=backlog, mode=mode, owner=owner)

    return open_socket


def _on_demand_address(templates: Mapping[str, Any], sighting: Sighting) -> str | None:
    """The address that follows from the Emperor's options and the name alone: nobody else has
    a word in it."""
    directory = templates["on_demand_directory"]
    stem, dot, _ = os.path.basename(sighting.compiled_as).rpartition(".")
    if directory is None or templates["on_demand_extension"] is not None or not dot:
        return None
    base = sighting.directory or os.getcwd()
    return os.path.join(base, f"{directory}/{stem}.socket")


def _keepsakes(directory: str | None) -> Keepsakes | None:
    return None if directory is None else Keepsakes(os.path.abspath(directory))


def _log(level: int, vassal: str, message: str) -> None:
    log.log(level, message, extra={"vassal": vassal})
