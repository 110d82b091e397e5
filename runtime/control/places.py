"""Where the control socket lies. Pure, but for looking whether a path is there."""

from __future__ import annotations

import os
from collections.abc import Mapping

#: Names the socket to clients.
VARIABLE = "EMPEROR_CONTROL"

_NAME = "control"
_OF_ROOT = f"/run/emperor/{_NAME}"


def default_path(environ: Mapping[str, str], euid: int) -> str | None:
    """Where a daemon with these rights listens if nobody says so; nothing: there is no safe
    place, as anybody could take a well-known name in /tmp first."""
    if directories := environ.get("RUNTIME_DIRECTORY"):
        return os.path.join(directories.partition(":")[0], _NAME)  # systemd may give several
    if euid == 0:
        return _OF_ROOT
    if directory := environ.get("XDG_RUNTIME_DIR"):
        return os.path.join(directory, "emperor", _NAME)
    return None


def client_path(said: str | None, environ: Mapping[str, str], euid: int) -> str:
    """The socket that a client means: what it ``said``, its environment, or a default.

    Of the defaults the first that is there; the daemon of a service may be another user's.
    """
    if said is not None:
        return said
    if named := environ.get(VARIABLE):
        return named
    default = default_path(environ, euid) or _OF_ROOT
    if not os.path.lexists(default) and os.path.lexists(_OF_ROOT):
        return _OF_ROOT
    return default
