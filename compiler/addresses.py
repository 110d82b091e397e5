"""Addresses of sockets as configurations write them: whether one can be meant, and where.

A light check, so that a mistake has a line: the daemon reads addresses in earnest.
"""

from __future__ import annotations

import os.path
import re

from emperor.compiler.source import to_bytes

#: What the kernel has room for in the address of a unix socket, in bytes.
LONGEST_SOCKET_BYTES = 107

_ABSTRACT = ("@", "\\0")


def trouble(address: str) -> str | None:
    """Why an address cannot be meant, as a sentence part; nothing if it can."""
    if not is_tcp(address):
        name = re.sub(r"^(@|\\0)", "", address)
        if not name:
            return "it has no name"
        size = len(to_bytes(name))
        return None if size <= LONGEST_SOCKET_BYTES else f"it has {size} bytes"
    host, _, port = address.rpartition(":")
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        return f'"{port}" is no port'
    if not re.fullmatch(r"[0-9.]*|localhost|\[[0-9A-Fa-f:.]+\]", host):
        return f'"{host}" is no IP address'
    return None


def is_tcp(address: str) -> bool:
    """Whether an address is one of TCP, by uWSGI's rule: it has a colon."""
    return ":" in address and not address.startswith(("/", "./", "../", *_ABSTRACT))


def is_path(address: str) -> bool:
    """Whether an address is that of a file."""
    return not is_tcp(address) and not address.startswith(_ABSTRACT)


def absolute(address: str, directory: str) -> str:
    """The address for somebody who is not in ``directory``."""
    return os.path.join(directory, address) if is_path(address) else address
