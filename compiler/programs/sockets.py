"""The listening sockets that a program is given: those that the vassal's uWSGI would open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from emperor.compiler.addresses import absolute, is_path, trouble
from emperor.compiler.catalogue import everything
from emperor.compiler.delivered import Acting
from emperor.compiler.programs.settings import Settings
from emperor.compiler.programs.values import HeldSocket

_PLAIN_SETTERS = frozenset(
    f"uwsgi_opt_add_{name}" for name in ("socket", "socket_no_defer", "shared_socket")
)

_DEFAULT_BACKLOG = 100
_EVERYBODY = "666"


def sockets(settings: Settings, directory: str) -> tuple[HeldSocket, ...]:
    """The sockets in the order in which they are given; ``directory`` is the vassal's.

    For every form of a program all of them are held, where uWSGI's unprivileged-binary-patch
    hands over the shared ones only: what a file declares is what the program gets.
    """
    return tuple(_held(settings, directory))


def _held(settings: Settings, directory: str) -> Iterator[HeldSocket]:
    options = settings.every(*_names())
    backlog = settings.number("listen") or _DEFAULT_BACKLOG
    mode, owner = _mode(settings), settings.text("chown-socket")
    is_abstract = settings.flag("abstract-socket")
    for option in options:
        address = _address(settings, option)
        if address is None:
            continue
        if is_abstract and is_path(address):
            address = f"@{address}"
        is_file = is_path(address)
        yield HeldSocket(
            name=option.key,
            address=absolute(address, directory),
            backlog=backlog,
            mode=mode if is_file else None,
            owner=owner if is_file else None,
        )


@cache
def _names() -> tuple[str, ...]:
    found = everything().items()
    return tuple(name for name, facts in found if facts["setter"] in _PLAIN_SETTERS)


def _mode(settings: Settings) -> str | None:
    """A bare ``chmod-socket`` opens the socket to everybody."""
    mode = settings.text("chmod-socket", "chmod")
    return _EVERYBODY if mode in {"1", ""} else mode


def _address(settings: Settings, option: Acting) -> str | None:
    address = option.value.strip()
    if re.fullmatch("=[0-9]+", address):
        reason = "it refers to a shared socket of uWSGI's, and a program has its own names"
    elif "://" in address:
        reason = "it is no address that can be opened"
    elif (found := trouble(address)) is not None:
        reason = f"it is no address of a socket: {found}"
    else:
        return address
    settings.wrong(option, reason, "write HOST:PORT, [IPV6]:PORT, a path, or @NAME")
    return None
