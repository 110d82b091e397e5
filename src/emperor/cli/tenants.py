"""What tyrant mode makes of a vassal: who it runs as, or why it does not; nothing is run."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from emperor.compiler.chain import Jail
from emperor.compiler.diagnostics import Diagnostic

if TYPE_CHECKING:
    from emperor.compiler.emperor_config import EmperorConfig
    from emperor.compiler.reader import Host
    from emperor.compiler.vassal import VassalFile


class Ruling(NamedTuple):
    """Whose a vassal is, what the Emperor puts in front of it, and what it refuses."""

    owner: tuple[int, int] | None = None
    jail: Jail | None = None
    findings: tuple[Diagnostic, ...] = ()


class TenantRule(NamedTuple):
    """What the Emperor's configuration says about users: nothing, by default."""

    is_tyrant: bool = False
    nofollow: bool = False
    initgroups: bool = False
    common: Jail | None = None
    is_root: bool = True

    def starter(self, host: Host) -> Host:
        """As whom the Emperor starts a vassal: root, whoever looks at it now, unless its
        configuration says that it becomes somebody else."""
        if not self.is_root or host.uid == 0:
            return host
        return replace(host, uid=0, gid=0, user="root", group="root")

    def judge(self, file: VassalFile) -> Ruling:
        """The ruling on one vassal's file as it is now."""
        if not self.is_tyrant or file.text is not None:
            return Ruling(jail=self.common)
        from emperor.runtime.tenants.privileges import initgroups_of
        from emperor.runtime.tenants.tyranny import Denied, judge

        verdict = judge(
            os.path.abspath(os.path.join(file.directory, file.name)), nofollow=self.nofollow
        )
        if isinstance(verdict, Denied):
            found = Diagnostic(code="tyrant", message=verdict.reason, help=verdict.remedy)
            return Ruling(findings=(found,))
        os.close(verdict.descriptor)
        owner = verdict.uid, verdict.gid
        groups = initgroups_of(*owner) if self.initgroups else ()
        jail = replace(
            self.common or Jail(), owner=owner, groups=groups, directory=file.directory
        )
        return Ruling(owner, jail)


def rule_of(config: EmperorConfig) -> TenantRule:
    """The rule in the Emperor's configuration."""
    common = Jail(
        namespaces=config.namespaces,
        bounding=config.vassal_capabilities,
        drops_capabilities=bool(config.capabilities),
    )
    return TenantRule(
        is_tyrant=config.tyrant,
        nofollow=config.tyrant_nofollow,
        initgroups=config.tyrant_initgroups,
        common=None if common == Jail() else common,
        is_root=config.uid is None,
    )
