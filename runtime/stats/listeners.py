"""The sockets that `emperor-stats` names: opened here, or passed by systemd."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from emperor.runtime.addresses import parse
from emperor.runtime.sockets import Listener, address_of, listen

#: How many readers wait to be accepted: uWSGI's ``listen`` by default.
BACKLOG = 100

_INHERITED = "fd://"


def open_listeners(
    texts: Sequence[str], inherited: Sequence[tuple[str, socket.socket]]
) -> tuple[Listener, ...]:
    """A listener for each address: what ``addresses.parse`` takes, or ``fd://N`` and
    ``fd://NAME`` for one of ``inherited``, which come from ``service.take_listen_fds``.

    Raises ValueError with a sentence for the user, OSError with a message that names the
    address; nothing is left open then but ``inherited``.
    """
    opened: list[Listener] = []
    try:
        for text in texts:
            if text.startswith(_INHERITED):
                opened.append(_find(text, inherited))
            else:
                opened.append(listen(parse(text), backlog=BACKLOG))
    except (OSError, ValueError):
        for listener in opened:
            if all(listener.socket is not passed for _, passed in inherited):
                listener.close()
        raise
    return tuple(opened)


def _find(text: str, inherited: Sequence[tuple[str, socket.socket]]) -> Listener:
    wanted = text.removeprefix(_INHERITED)
    for name, passed in inherited:
        if wanted in (name, str(passed.fileno())):
            if not passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise ValueError(f'"{text}" does not listen: it must be a ListenStream= socket')
            return Listener(socket=passed, address=address_of(passed))
    there = ", ".join(f"fd://{passed.fileno()} or fd://{name}" for name, passed in inherited)
    raise ValueError(f'"{text}" was not passed by systemd: {there or "no socket was"}')
