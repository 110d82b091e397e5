"""Starts one program for the guardian: its own session, and the descriptors it asks for."""

import errno
import os
import signal
from collections.abc import Mapping, Sequence

from emperor.runtime.guardian.messages import Spawn

IGNORED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGPIPE,
)
"""What the guardian ignores: it leaves when the daemon's socket closes, and then only."""

# Python itself ignores SIGXFSZ; a program must not find out by whom it was started.
_DEFAULTS = (*IGNORED, signal.SIGXFSZ, signal.SIGCHLD)


def launch(request: Spawn, descriptors: Sequence[int], home: int) -> int:
    """Start the program and return its pid.

    ``descriptors`` (parallel to the request's targets, all above the highest target) stay the
    caller's; ``home`` is a descriptor of the directory to be in afterwards. Raises OSError if
    the program, or its directory, cannot be used, and ValueError for arguments or variables
    that no program can be given.
    """
    mask = os.umask(request.umask) if request.umask is not None else None
    try:
        if request.cwd is not None:
            os.chdir(request.cwd)
        return _spawn(request, descriptors)
    finally:
        if request.cwd is not None:
            os.fchdir(home)
        if mask is not None:
            os.umask(mask)


def _spawn(request: Spawn, descriptors: Sequence[int]) -> int:
    if not request.argv:
        raise ValueError("there is no program to start")
    return os.posix_spawn(
        _program(request),
        request.argv,
        request.env,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, descriptor, target)
            for descriptor, target in zip(descriptors, request.targets, strict=True)
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=_DEFAULTS,
    )


def _program(request: Spawn) -> str:
    """Return the path of the program that a request begins with.

    On the way to a tenant that is a tool which runs with our rights: looked up in our own
    absolute directories, whatever the variables and the directory of the request are.
    """
    if request.owner is None:
        return find_program(request.argv[0], request.env)
    ours = os.environ.get("PATH", os.defpath).split(os.pathsep)
    path = os.pathsep.join(directory for directory in ours if os.path.isabs(directory))
    return find_program(request.argv[0], {"PATH": path})


def find_program(name: str, env: Mapping[str, str]) -> str:
    """Return the path of a program, looked up on the PATH of ``env`` if it has no slash.

    posix_spawnp would look on the guardian's own PATH. Raises FileNotFoundError, or
    PermissionError if all that was found is not executable.
    """
    if "/" in name:
        return name
    number = errno.ENOENT
    for directory in env.get("PATH", os.defpath).split(os.pathsep) if name else ():
        candidate = os.path.join(directory or ".", name)
        if not os.path.isfile(candidate):
            continue
        if os.access(candidate, os.X_OK):
            return candidate
        number = errno.EACCES
    raise OSError(number, os.strerror(number), name)


def describe(error: OSError | ValueError) -> tuple[int, str]:
    """Return the error number and one line that names what could not be used."""
    if isinstance(error, ValueError):
        return errno.EINVAL, str(error)
    number = error.errno or errno.EIO
    text = error.strerror or os.strerror(number)
    if error.filename is None:
        return number, text
    name = os.fsdecode(error.filename)
    if number == errno.ENOENT and os.path.isfile(name):
        name = f"the interpreter of {name}"
    return number, f"{name}: {text}"
