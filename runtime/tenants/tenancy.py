"""Tyrant mode: whose vassal is whose, and what a compile on a tenant's behalf may say.

A tenant's compile worker is his own process, so it may lie. What is done with the Emperor's
rights is therefore never taken from its answer: the user and the words in front of the command
come from the file's owner and the Emperor's configuration, the working directory from the
monitor, and no variable reaches a program before it has become the tenant.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from emperor.runtime.launch import BadSpec, CompileAnswer, LaunchSpec
from emperor.runtime.monitors.sightings import Sighting
from emperor.runtime.stamps import path_stamp
from emperor.runtime.tenants.privileges import Owner, initgroups_of
from emperor.runtime.tenants.tyranny import Denied, judge, judge_numbers

#: How many paths one vassal's compile may depend on.
MOST_DEPENDENCIES = 4096

#: How long what a tenant's compile finds may be, in characters, when it is fit to be shown: all
#: of it becomes one line of the log, and a pipe takes 64 KiB at once.
MOST_FINDINGS = 16_384

#: A variable that only the last shell of a command reads.
_CARRIER = re.compile(r"EMPEROR_[0-9]{1,4}")

#: What a terminal, or who reads a log, could take for something else.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Whom a vassal belongs to, and its file, opened with O_PATH, if it has one."""

    owner: Owner
    descriptor: int | None = None


class Tyrant:
    """Says who a vassal runs as. ``nofollow``: a link's own owner counts; ``initgroups``: with
    all the groups of that user."""

    def __init__(self, *, nofollow: bool, initgroups: bool) -> None:
        self._nofollow = nofollow
        self._initgroups = initgroups

    def admit(self, sighting: Sighting) -> Tenant | Denied:
        """Whose vassal it is, by the file as it is now; the descriptor is the caller's. What a
        monitor says of it counts more than the file, which the worker then opens itself."""
        if sighting.text is not None or sighting.has_given_owner:
            attributes = sighting.attributes
            denied = judge_numbers(attributes.uid, attributes.gid)
            return denied or Tenant(owner=self._owner(attributes.uid, attributes.gid))
        verdict = judge(_path(sighting), nofollow=self._nofollow)
        if isinstance(verdict, Denied):
            return verdict
        return Tenant(
            owner=self._owner(verdict.uid, verdict.gid), descriptor=verdict.descriptor
        )

    def _owner(self, uid: int, gid: int) -> Owner:
        groups = initgroups_of(uid, gid) if self._initgroups else ()
        return Owner(uid=uid, gid=gid, groups=groups)


def tyrant_of(config: Mapping[str, Any]) -> Tyrant | None:
    """The tyrant in the Emperor's configuration, if it wants one."""
    if not config["tyrant"]:
        return None
    return Tyrant(nofollow=config["tyrant_nofollow"], initgroups=config["tyrant_initgroups"])


def denial(sighting: Sighting, denied: Denied) -> CompileAnswer:
    """A refusal as a compile would answer it; it depends on the file and what leads there."""
    path = _path(sighting)
    text = f"error[tyrant]: {denied.reason}\n  help: {denied.remedy}"
    parts = path.split("/")
    paths = ["/".join(parts[:count]) for count in range(2, len(parts) + 1)] if path else []
    return CompileAnswer(
        spec=None, diagnostics=(text,), dependencies=tuple((p, path_stamp(p)) for p in paths)
    )


def of_tenant(answer: CompileAnswer, tenant: Tenant, directory: str) -> CompileAnswer:
    """An answer from a tenant's worker, held to what it may say; raises ``BadSpec``.

    To be called with the tenant's rights on files: what he cannot look at is not watched for
    him, or he would learn when it changes.
    """
    if len(answer.dependencies) > MOST_DEPENDENCIES:
        raise BadSpec(f"it depends on more than {MOST_DEPENDENCIES:,} paths")
    if any(not path.startswith("/") for path, _ in answer.dependencies):
        raise BadSpec("a dependency that is no absolute path")
    reachable = tuple(item for item in answer.dependencies if _is_reachable(item[0]))
    return replace(
        answer,
        dependencies=reachable,
        spec=None if answer.spec is None else _spec(answer.spec, tenant, directory),
        diagnostics=_bounded(answer.diagnostics),
    )


def _spec(spec: LaunchSpec, tenant: Tenant, directory: str) -> LaunchSpec:
    if spec.cwd != directory:
        raise BadSpec("another working directory than the monitor's")
    carried = tuple(pair for pair in spec.set if _CARRIER.fullmatch(pair[0]))
    return replace(spec, set=carried, unset=(), owner=tenant.owner)


def _is_reachable(path: str) -> bool:
    """Whether it can be told if there is something."""
    try:
        os.stat(path)
    except PermissionError:
        return False
    except (OSError, ValueError):
        return True
    return True


def _bounded(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Findings that neither fill a log nor play with it."""
    left, found = MOST_FINDINGS, []
    for text in texts:
        shown = _CONTROL.sub(lambda c: f"\\x{ord(c[0]):02x}", text[:left])[:left]
        found.append(shown)
        left -= len(shown) + 1  # and the end of its line
        if left <= 0:
            found.append(f"error: what else was found is left out (over {MOST_FINDINGS:,})")
            break
    return tuple(found)


def _path(sighting: Sighting) -> str:
    """The file that is compiled."""
    name = sighting.compiled_as
    if sighting.file is None and sighting.path:
        return sighting.path
    return (
        name if name.startswith("/") else os.path.join(sighting.directory or os.getcwd(), name)
    )
