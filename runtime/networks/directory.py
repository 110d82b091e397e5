"""Networks for vassals that have one of their own (``emperor-net-veth``): who is who there, and
the hook that connects them."""

from __future__ import annotations

import shlex
import sys

from emperor.runtime.networks.veth_plan import address_for, interface_name
from emperor.runtime.views import Key

#: What a vassal and its hooks are told: the address with its prefix, and the host's interface.
ADDRESS = "EMPEROR_VASSAL_ADDRESS"
INTERFACE = "EMPEROR_VASSAL_INTERFACE"


class Networks:
    """Gives every vassal an interface, and without a bridge an address, for as long as it is
    there. ``wanted`` is the option's value: a bridge, or ADDRESS/PREFIX."""

    def __init__(self, wanted: str) -> None:
        """Raises ValueError for an address that cannot be."""
        self._wanted = wanted
        self._is_routed = "/" in wanted
        if self._is_routed:
            address_for(wanted, 0)
        self._indexes: dict[Key, int] = {}
        self._free: list[int] = []

    @property
    def hook(self) -> list[str]:
        """The command that connects a vassal, for hooks that know its pid and ``told``."""
        program = f"{shlex.quote(sys.executable)} -P -m emperor.runtime.networks.veth"
        target = f'--pid "$UWSGI_VASSAL_PID" --name "${INTERFACE}"'
        if self._is_routed:
            place = f'--gateway {shlex.quote(self._wanted)} --address "${ADDRESS}"'
        else:
            place = f"--bridge {shlex.quote(self._wanted)}"
        label = f"emperor-net-veth = {self._wanted}"
        return ["/bin/sh", "-c", f"exec {program} {target} {place}", label]

    def told(self, key: Key) -> dict[str, str]:
        """The variables for one vassal; raises ValueError when the network is full."""
        told = {INTERFACE: interface_name("\0".join(key))}
        if self._is_routed:
            told[ADDRESS] = address_for(self._wanted, self._index(key))
        return told

    def forget(self, key: Key) -> None:
        """The vassal is gone: its address may be another's."""
        index = self._indexes.pop(key, None)
        if index is not None:
            self._free.append(index)

    def _index(self, key: Key) -> int:
        index = self._indexes.get(key)
        if index is None:
            index = self._free.pop() if self._free else len(self._indexes)
            address_for(self._wanted, index)
            self._indexes[key] = index
        return index
