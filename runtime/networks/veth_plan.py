"""How a vassal's network namespace is to be connected: names and addresses; pure."""

import hashlib
import ipaddress
from dataclasses import dataclass

#: The kernel takes no longer name for an interface.
LONGEST_NAME_BYTES = 15

Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """The two ends of a pair of interfaces; the vassal's is always called ``eth0``."""

    name: str  # of the host's end
    bridge: str | None = None  # that the host's end joins
    gateway: Address | None = None  # where the vassal's default route leads
    address: Address | None = None  # the vassal's


def interface_name(vassal: str) -> str:
    """Return a name for the host's end that is always the same for one vassal."""
    text = vassal.encode("utf-8", "surrogateescape")
    return "emp" + hashlib.blake2b(text, digest_size=6).hexdigest()


def address_for(network: str, index: int) -> str:
    """Return the address, with the prefix, of the vassal that has this index (from 0 on).

    ``network`` is ADDRESS/PREFIX, where ADDRESS is the gateway's. Nobody gets that one, nor
    the first and the last address of the network. Raises ValueError when the prefix is full,
    and for a text that means no such network.
    """
    gateway = ipaddress.ip_interface(network)
    inside = gateway.network
    first = int(inside.network_address) + 1
    last = int(inside.broadcast_address) - 1
    if not first <= int(gateway) <= last:
        raise ValueError(f'"{network}" is no address of a host in a network')
    number = first + index
    if number >= int(gateway):
        number += 1
    if not 0 <= index <= last - first - 1:
        raise ValueError(f'"{network}" has addresses for {last - first} vassals, no more')
    return f"{type(gateway.ip)(number)}/{inside.prefixlen}"
