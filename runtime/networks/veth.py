"""Connects a vassal that has a network namespace of its own: a program for a hook.

    python -P -m emperor.runtime.networks.veth --pid PID --name IFNAME WIRING

where WIRING is ``--bridge BRIDGE`` or ``--gateway ADDRESS/LEN --address ADDRESS/LEN``.

A pair of virtual interfaces is made: ``eth0`` in the namespace, IFNAME on the host. IFNAME
joins the bridge; or it has the gateway's address and is the way to the vassal's, nothing else.
With a bridge the vassal gets an address, and a default route, only if they are given as well.
The pair goes when the namespace goes. Doing it again changes nothing.

Forwarding between vassals without a bridge, or into the world, is the host's own business
(``net.ipv4.ip_forward``, its firewall).
"""

import argparse
import contextlib
import ctypes
import ipaddress
import os
import select
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from emperor.runtime.exits import ERRORS_FOUND, SYSTEM_REFUSED
from emperor.runtime.networks.veth_plan import (
    LONGEST_NAME_BYTES,
    Address,
    Wiring,
)

#: A vassal that is in the Emperor's own namespace after that many seconds stays there.
DEADLINE_SECONDS = 5.0

_FIRST_PAUSE_SECONDS = 0.001
_LONGEST_PAUSE_SECONDS = 0.1

_INSIDE = "eth0"
_IFA_F_NODAD = 2  # an IPv6 address of ours is ours at once, nobody else can have it


class NotConnected(RuntimeError):
    """The vassal has no network, and the text says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Connect one vassal and return the exit code; what went wrong is on standard error."""
    pid, wiring = _read(arguments)
    try:
        with open_namespace(pid) as namespace:
            connect(wiring, namespace)
    except NotConnected as error:
        sys.stderr.write(f"no network for process {pid}: {error}\n")
        return ERRORS_FOUND
    except OSError as error:
        sys.stderr.write(f"no network for process {pid}: {error}\n")
        return SYSTEM_REFUSED
    return 0


def _read(arguments: Sequence[str] | None) -> tuple[int, Wiring]:
    parser = argparse.ArgumentParser(prog="emperor.runtime.networks.veth", allow_abbrev=False)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--name", type=_name, required=True)
    parser.add_argument("--bridge", type=_name)
    parser.add_argument("--gateway", type=ipaddress.ip_interface)
    parser.add_argument("--address", type=ipaddress.ip_interface)
    words = vars(parser.parse_args(arguments))
    pid = words.pop("pid")
    wiring = Wiring(**words)
    if wiring.gateway and not wiring.address:
        parser.error("--gateway needs --address")
    if not wiring.bridge and not wiring.gateway:
        parser.error("either --bridge or --gateway is needed")
    if wiring.gateway and wiring.address and wiring.gateway.version != wiring.address.version:
        parser.error("--gateway and --address must be of one family")
    return pid, wiring


def _name(text: str) -> str:
    if not 0 < len(os.fsencode(text)) <= LONGEST_NAME_BYTES or "/" in text or " " in text:
        raise argparse.ArgumentTypeError(f'"{text}" can be no interface')
    return text


# -- the namespace


@contextlib.contextmanager
def open_namespace(pid: int) -> Iterator[int]:
    """The network namespace of a process, or of its child, as a descriptor.

    A process that is still in our own is waited for: it is about to make another. Raises
    NotConnected if that does not happen, or the process is gone; OSError if we may not look.
    """
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        raise NotConnected("it is gone") from None
    try:
        namespace = _wait_for_namespace(pid, process)
    finally:
        os.close(process)
    try:
        yield namespace
    finally:
        os.close(namespace)


def _wait_for_namespace(pid: int, process: int) -> int:
    # The kernel tells nobody when a process makes a namespace; it tells when one dies.
    end = select.poll()
    end.register(process, select.POLLIN)
    deadline = time.monotonic() + DEADLINE_SECONDS
    pause = _FIRST_PAUSE_SECONDS
    while True:
        namespace = _foreign_namespace(pid)
        if end.poll(0 if namespace is not None else 1000 * pause):
            if namespace is not None:
                os.close(namespace)
            raise NotConnected("it is gone")
        if namespace is not None:
            return namespace
        if time.monotonic() > deadline:
            raise NotConnected("it has no network namespace of its own")
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _foreign_namespace(pid: int) -> int | None:
    """The namespace of the process or of its child, if that is not ours."""
    ours = os.stat("/proc/self/ns/net")
    for candidate in (pid, *_children(pid)):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            namespace = os.open(f"/proc/{candidate}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            if not os.path.samestat(os.fstat(namespace), ours):
                return namespace
            os.close(namespace)
    return None


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(word) for word in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _enter(namespace: int) -> None:
    """Move this process; sockets that it has already stay where they are."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


# -- the pair


def connect(wiring: Wiring, namespace: int) -> None:
    """Make the pair, or take the one that is there, and set both ends up.

    This process is in the vassal's namespace afterwards. Raises NotConnected, and OSError if
    we have no right to enter the namespace.
    """
    try:
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError
    except ModuleNotFoundError:
        raise NotConnected(
            'pyroute2 is not installed: "pip install emperor-compiler[net]" brings it'
        ) from None
    with IPRoute() as host:
        _enter(namespace)
        with IPRoute() as vassal:
            try:
                bridge = _index_of(host, wiring.bridge) if wiring.bridge else None
                outer, inner = _pair(host, vassal, wiring.name, namespace)
                _set_up_vassal(vassal, inner, wiring)
                _set_up_host(host, outer, wiring, bridge)
            except NetlinkError as error:
                raise NotConnected(f'"{wiring.name}": {os.strerror(error.code)}') from None


def _pair(host: Any, vassal: Any, name: str, namespace: int) -> tuple[int, int]:
    """Both ends' indices; a pair of that name which leads elsewhere is taken away first."""
    outer, inner = _index(host, name), _index(vassal, _INSIDE)
    if outer is not None and _kind(host, outer) != "veth":
        raise NotConnected(f'there is another interface "{name}" on the host')
    if inner is not None:
        if outer is None or not (_leads(host, outer, inner) and _leads(vassal, inner, outer)):
            raise NotConnected(f'it has another "{_INSIDE}"')
        return outer, inner
    if outer is not None:
        host.link("del", index=outer)
    peer = {"ifname": _INSIDE, "net_ns_fd": namespace}
    host.link("add", ifname=name, kind="veth", peer=peer)
    return _index_of(host, name), _index_of(vassal, _INSIDE)


def _kind(side: Any, index: int) -> Any:
    (link,) = side.link("get", index=index)
    return link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND")


def _leads(side: Any, index: int, peer: int) -> bool:
    (link,) = side.link("get", index=index)
    return bool(link.get_attr("IFLA_LINK") == peer)


def _set_up_vassal(vassal: Any, index: int, wiring: Wiring) -> None:
    vassal.link("set", index=_index_of(vassal, "lo"), state="up")
    if wiring.address:
        whole, alone = wiring.address.network.prefixlen, wiring.address.max_prefixlen
        _add_address(vassal, index, wiring.address, whole if wiring.bridge else alone)
    vassal.link("set", index=index, state="up")
    if wiring.gateway:
        gateway = str(wiring.gateway.ip)
        if not wiring.bridge:
            _add_route(vassal, index, wiring.gateway)
        default = "0.0.0.0/0" if wiring.gateway.version == 4 else "::/0"
        vassal.route("replace", dst=default, gateway=gateway, oif=index)


def _set_up_host(host: Any, index: int, wiring: Wiring, bridge: int | None) -> None:
    if bridge is not None:
        host.link("set", index=index, master=bridge, state="up")
    elif wiring.gateway and wiring.address:
        _add_address(host, index, wiring.gateway, wiring.gateway.max_prefixlen)
        host.link("set", index=index, state="up")
        _add_route(host, index, wiring.address)


def _add_address(side: Any, index: int, address: Address, prefix: int) -> None:
    flags = {} if address.version == 4 else {"flags": _IFA_F_NODAD}
    side.addr("replace", index=index, address=str(address.ip), prefixlen=prefix, **flags)


def _add_route(side: Any, index: int, address: Address) -> None:
    """One address, and nothing else, is at the other end."""
    scope = {"scope": "link"} if address.version == 4 else {}
    side.route("replace", dst=f"{address.ip}/{address.max_prefixlen}", oif=index, **scope)


def _index(side: Any, name: str) -> int | None:
    found: list[int] = list(side.link_lookup(ifname=name))
    return found[0] if found else None


def _index_of(side: Any, name: str) -> int:
    index = _index(side, name)
    if index is None:
        raise NotConnected(f'there is no interface "{name}"')
    return index


if __name__ == "__main__":
    sys.exit(main())
