"""What the Emperor puts in front of a vassal's own command: whose it is, and what it shares.

The words are made from what the Emperor itself knows (the owner of a file by fstat, its own
options), never from what a vassal's file says.
"""

from dataclasses import dataclass

from emperor.compiler.capabilities import setpriv_names

# As unshare(1) calls them, in the order in which they are printed.
_ORDER = ("mount", "net", "ipc", "pid", "uts", "user")

_WORDS = {
    "fs": "mount",
    "ns": "mount",
    "mount": "mount",
    "mnt": "mount",
    "net": "net",
    "ipc": "ipc",
    "pid": "pid",
    "uts": "uts",
    "user": "user",
}

# Sharing with the parent, which no spawned program does anyway.
_WITHOUT_EFFECT = ("files", "io", "sysvsem")

#: Stays outside the pid namespace and waits for the one process inside. "unshare --fork" would
#: do as well, but before util-linux 2.40 it turns a death by SIGKILL into exit code 1, and it
#: keeps SIGTERM to itself. A limit of 0 is none.
WAIT_OUTSIDE = ("timeout", "--foreground", "0")

#: What setpriv(1) is told so that neither set outlives the change of the user.
CLEARED = ("--inh-caps=-all", "--ambient-caps=-all")

# Into the directory if whoever the program runs as may be there.
_ENTER = ("/bin/sh", "-c", 'cd "$0" 2>/dev/null || cd /; exec "$@"')


class UnknownNamespace(ValueError):
    """A word that stands for no namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jail:
    """What the Emperor does to a vassal before it becomes its own program."""

    owner: tuple[int, int] | None = None  # uid and gid
    groups: tuple[int, ...] = ()  # supplementary ones of the owner; none: cleared
    namespaces: tuple[str, ...] = ()  # as ``parse_namespaces`` gives them
    bounding: tuple[int, ...] | None = None  # capabilities that it may ever hold; None: any
    drops_capabilities: bool = False  # the Emperor has kept some, the vassal gets none
    directory: str | None = None  # where the owner starts, if he may be there; absolute


def chain(jail: Jail) -> tuple[str, ...]:
    """Return the words in front of the vassal's command; none for a plain vassal.

    Whatever changes the uid clears inheritable and ambient capabilities in the same call.

    Namespaces are made with the Emperor's rights, before the process becomes its owner. A user
    namespace is made by the owner, who is root inside and nobody else outside; without an owner
    the Emperor's own user is root inside. There is no second user in it to change to.

    Mounts are private to a mount namespace (unshare(1)'s default). The original leaves them as
    they are, which on most hosts is shared: a vassal's "umount /proc" would be the host's.

    In a pid namespace the command is process 1: it gets no signal that it has no handler for,
    SIGKILL and SIGSTOP excepted. It dies with the process that waits for it outside, unless it
    changes its uid later on: then only SIGKILL to the group gets both.

    ``bounding`` is skipped by setpriv(1), without a word, where CAP_SETPCAP is missing.

    The ``directory`` is looked up last, with the owner's rights: who can exchange it for
    another one gets nowhere where he could not go himself. Who may not be there is in "/".
    """
    words = _unshare(jail) + _inside(jail)
    if "user" in jail.namespaces:
        words = _setpriv(_identity(jail)) + words
    return words if jail.directory is None else (*words, *_ENTER, jail.directory)


def forks(jail: Jail) -> bool:
    """Return whether the main process only waits for the vassal, which is its one child."""
    return "pid" in jail.namespaces


def parse_namespaces(text: str) -> tuple[str, ...]:
    """Return the namespaces of a list such as ``fs,net,pid``, as unshare(1) calls them.

    Raises UnknownNamespace for a word that uWSGI does not know either, and ValueError for
    ``parent``: the guardian is the parent of all vassals.
    """
    found = set()
    for word in filter(None, map(str.strip, text.split(","))):
        if word == "parent":
            raise ValueError('"parent" is not possible: the guardian is the parent of vassals')
        if word in _WORDS:
            found.add(_WORDS[word])
        elif word not in _WITHOUT_EFFECT:
            raise UnknownNamespace(f'"{word}" is no namespace')
    return tuple(sorted(found, key=_ORDER.index))


def _unshare(jail: Jail) -> tuple[str, ...]:
    if not jail.namespaces:
        return ()
    root = ("--map-root-user",) if "user" in jail.namespaces else ()
    wait = WAIT_OUTSIDE if forks(jail) else ()
    return ("unshare", *(f"--{name}" for name in jail.namespaces), *root, "--", *wait)


def _inside(jail: Jail) -> tuple[str, ...]:
    """What is done within the namespaces: in one call, and the last thing before the command.

    A change of the uid would clear the parent death signal again, and a new user namespace
    begins with all capabilities in the bounding set.
    """
    identity = () if "user" in jail.namespaces else _identity(jail)
    dies = ("--pdeathsig", "KILL") if forks(jail) else ()
    return _setpriv(identity + _bounds(jail) + dies)


def _setpriv(options: tuple[str, ...]) -> tuple[str, ...]:
    return ("setpriv", *options, "--") if options else ()


def _identity(jail: Jail) -> tuple[str, ...]:
    if jail.owner is None:
        return CLEARED if jail.drops_capabilities else ()
    uid, gid = jail.owner
    groups = ("--groups", ",".join(map(str, jail.groups))) if jail.groups else ()
    return (
        "--reuid",
        str(uid),
        "--regid",
        str(gid),
        *(groups or ("--clear-groups",)),
        *CLEARED,
    )


def _bounds(jail: Jail) -> tuple[str, ...]:
    if jail.bounding is None:
        return ()
    kept = (f"+{name}" for name in setpriv_names(jail.bounding))
    return ("--bounding-set=" + ",".join(("-all", *kept)),)
