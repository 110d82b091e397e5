"""The plan: for each vassal who it is, how it is launched and what it reads; as frozen values.

The canonical form is JSON with sorted keys and no blanks: equal input gives equal bytes.
``schemas/plan.schema.json`` describes it. Stamps of files are no part of a plan.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from emperor.compiler.programs.values import HeldSocket, Program

PLAN_VERSION = 1

#: Grace a reload gets beyond what the vassal's own mercies allow, in seconds.
RELOAD_GRACE_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a vassal's program is started.

    ``argv`` begins with the program; ``set`` and ``unset`` are the changes to the Emperor's
    environment; ``cwd`` is absolute. ``socket`` is the address of an on-demand socket: the
    Emperor holds it, the program gets it as descriptor 0. ``sockets`` it gets from 3 upwards.
    With ``forks`` the main process is a wrapper whose one child is the program. ``chain`` are
    the words that the Emperor puts in front, which a vassal has no say in.
    """

    argv: tuple[str, ...]
    cwd: str
    set: tuple[tuple[str, str], ...] = ()
    unset: tuple[str, ...] = ()
    socket: str | None = None
    sockets: tuple[HeldSocket, ...] = ()
    forks: bool = False
    chain: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """How the Emperor treats the vassal.

    ``has_master``: whether somebody reads the Emperor's commands; without a master process a
    reload is a restart and a stop is a signal. ``has_workers``: whether it says when it accepts
    requests; without workers (a router) it says that it is up, and no more.
    ``reload_seconds``: how long a reload may take. ``program`` is there where it is no uWSGI.
    """

    has_master: bool = True
    has_workers: bool = True
    reload_seconds: int = 60 + RELOAD_GRACE_SECONDS
    program: Program | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VassalPlan:
    """One vassal: identity, options as listed, launch, policies, and the texts it reads."""

    monitor: str
    name: str
    section: str | None = None
    options: tuple[tuple[str, str | None], ...] = ()
    delivered: tuple[str, ...] = ()
    launch: Launch
    policies: Policies = field(default_factory=Policies)

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes a vassal the same vassal in two plans."""
        return (self.monitor, self.name, self.section or "")

    @property
    def digest(self) -> str:
        """A hash over everything that the process can see of the plan."""
        visible = {
            "argv": self.launch.argv,
            "cwd": self.launch.cwd,
            "set": self.launch.set,
            "unset": self.launch.unset,
            "socket": self.launch.socket,
            "delivered": self.delivered,
            "has_master": self.policies.has_master,
            **_chain_data(self.launch),
            **program_data(self.launch, self.policies),
        }
        return hashlib.sha256(canonical_json(visible)).hexdigest()

    def as_data(self) -> dict[str, Any]:
        """The value as JSON has it."""
        return {
            "monitor": self.monitor,
            "name": self.name,
            "section": self.section,
            "options": [list(pair) for pair in self.options],
            "delivered": list(self.delivered),
            "launch": {
                "argv": list(self.launch.argv),
                "cwd": self.launch.cwd,
                "set": [list(pair) for pair in self.launch.set],
                "unset": list(self.launch.unset),
                "socket": self.launch.socket,
            },
            "policies": {
                "has_master": self.policies.has_master,
                "has_workers": self.policies.has_workers,
                "reload_seconds": self.policies.reload_seconds,
            },
            "digest": self.digest,
            **_chain_data(self.launch),
            **program_data(self.launch, self.policies),
        }


def _chain_data(launch: Launch) -> dict[str, Any]:
    return {"chain": list(launch.chain)} if launch.chain else {}


def program_data(launch: Launch, policies: Policies) -> dict[str, Any]:
    """What only a program that is not uWSGI has; nothing for the others."""
    if policies.program is None:
        return {}
    return {
        "sockets": [asdict(socket) for socket in launch.sockets],
        "forks": launch.forks,
        "program": asdict(policies.program),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All vassals, in the order of their keys."""

    vassals: tuple[VassalPlan, ...] = ()

    def to_json(self) -> bytes:
        """The canonical form."""
        vassals = [v.as_data() for v in sorted(self.vassals, key=lambda v: v.key)]
        return canonical_json({"version": PLAN_VERSION, "vassals": vassals})


def canonical_json(data: object) -> bytes:
    """JSON with sorted keys, no blanks, ASCII only; lone surrogates as escapes."""
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode("ascii")


def plan_from_data(data: Mapping[str, Any]) -> Plan:
    """The plan that ``Plan.to_json`` wrote. The data must be valid by the schema."""
    return Plan(vassals=tuple(_vassal_from_data(item) for item in data["vassals"]))


def _vassal_from_data(data: Mapping[str, Any]) -> VassalPlan:
    launch: Mapping[str, Any] = data["launch"]
    program = data.get("program")
    return VassalPlan(
        monitor=data["monitor"],
        name=data["name"],
        section=data["section"],
        options=_pairs(data["options"]),
        delivered=tuple(data["delivered"]),
        launch=Launch(
            argv=tuple(launch["argv"]),
            cwd=launch["cwd"],
            set=_pairs(launch["set"]),
            unset=tuple(launch["unset"]),
            socket=launch["socket"],
            sockets=tuple(HeldSocket(**item) for item in data.get("sockets", ())),
            forks=data.get("forks", False),
            chain=tuple(data.get("chain", ())),
        ),
        policies=Policies(
            **data["policies"], program=None if program is None else Program(**program)
        ),
    )


def _pairs(data: Sequence[Sequence[Any]]) -> tuple[tuple[Any, Any], ...]:
    return tuple((key, value) for key, value in data)
