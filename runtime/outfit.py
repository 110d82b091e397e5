"""What the Emperor gives to a vassal's process: words before its command, its environment."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from emperor.compiler import chain as chains
from emperor.compiler.chain import Jail
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.networks.directory import Networks
from emperor.runtime.roster import Record
from emperor.runtime.tenants.privileges import Owner


class Outfit:
    """The same for all vassals but for their owner and their address.

    ``environment`` is what vassals get, ``tenant_environment`` what tenants' ones get: a tenant
    has no say in it (``tenants/tenancy.py``).
    """

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        tenant_environment: Mapping[str, str],
        jail: Jail,
        networks: Networks | None,
    ) -> None:
        self._environment = dict(environment)
        self._tenant_environment = dict(tenant_environment)
        self._jail = jail
        self._networks = networks
        self._zergs = 0
        self.forks = chains.forks(jail)
        self.chain = lru_cache(maxsize=256)(self._chain)

    def _chain(self, owner: Owner | None, directory: str) -> tuple[str, ...]:
        """The words in front of a command, for its owner if it has one."""
        if owner is None:
            return chains.chain(self._jail)
        mine = replace(
            self._jail,
            owner=(owner.uid, owner.gid),
            groups=owner.groups,
            directory=directory,
        )
        return chains.chain(mine)

    def environment(self, record: Record, spec: LaunchSpec) -> dict[str, str]:
        """What a process sees of the Emperor's environment; raises OSError."""
        if spec.owner is None:
            environment = {**self._environment, **dict(spec.set)}
        else:
            environment = {**self._tenant_environment, **dict(spec.set)}
            environment["UWSGI_VASSALS_DIR"] = spec.cwd
        for name in spec.unset:
            environment.pop(name, None)
        environment.update(self.told(record))
        if record.state.is_zerg:
            self._zergs += 1
            environment["UWSGI_BROODLORD_NUM"] = str(self._zergs)
        return environment

    def told(self, record: Record) -> dict[str, str]:
        """What it and its hooks are told of its network; raises OSError if that is full."""
        if self._networks is None:
            return {}
        try:
            return self._networks.told(record.key)
        except ValueError as error:
            raise OSError(errno.EADDRNOTAVAIL, str(error)) from None

    def forget(self, record: Record) -> None:
        """The vassal is gone: its address may be another's."""
        if self._networks is not None:
            self._networks.forget(record.key)
