"""Namespaces, a new root and another user for a program, as steps in front of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from emperor.compiler.actions import path
from emperor.compiler.capabilities import (
    UnknownCapability,
    parse_capabilities,
    setpriv_names,
)
from emperor.compiler.chain import CLEARED, WAIT_OUTSIDE, parse_namespaces
from emperor.compiler.programs.script import Step, hook_options, hooks, label_of, must
from emperor.compiler.programs.settings import Settings
from emperor.compiler.programs.steps import PID_FILES, pid_file
from emperor.compiler.reader import Host

#: Who the program is to be.
_IDENTITY = ("uid", "gid", "add-gid", "no-initgroups", "cap")
#: What keeps it away from the rest of the machine.
_WALLS = ("chroot", "pivot-root", "pivot_root", "unshare", "unshare2")
_HOOKS_OF_ROOT = (*hook_options("post-jail"), *hook_options("as-root"))
#: All that uWSGI would only do after a privileged-binary-patch.
_TOO_LATE = (
    *_IDENTITY,
    *_WALLS,
    *hook_options("in-jail"),
    *_HOOKS_OF_ROOT,
    *hook_options("as-user"),
)

#: The process's number outside of its own namespace, as a variable and how to find it: there
#: ``$$`` is 1, but the old /proc still tells the old number.
OUTER_PID = '"$EMPEROR_PID"'
_REMEMBER_PID = "read -r EMPEROR_PID _ </proc/self/stat && export EMPEROR_PID"


def forks(settings: Settings) -> bool:
    """Whether the program is the child of a process that waits for it."""
    return any("pid" in _namespaces(settings, name) for name in ("unshare", "unshare2"))


def _namespaces(settings: Settings, name: str) -> tuple[str, ...]:
    """What to unshare; an unknown word is refused in ``_unshare`` and counts for nothing."""
    try:
        return parse_namespaces(settings.text(name) or "")
    except ValueError:
        return ()


# -- as root ---------------------------------------------------------------------------------


def jail(settings: Settings) -> Iterator[Step]:
    """Namespaces and the new root, as uWSGI has them done before it drops its rights."""
    is_jailed = settings.flag("jailed") or settings.has("unshare")
    yield from _unshare(settings, "unshare", ())
    if is_jailed:
        yield from hooks(settings, "post-jail")
    else:
        settings.idle(hook_options("post-jail"), "there is no jail", 'add "unshare"')
    if (root := settings.last("chroot")) is not None:
        yield ("chroot", path(root.value))
    yield from _pivot(settings)
    yield from _unshare(settings, "unshare2", _namespaces(settings, "unshare"))


def _unshare(settings: Settings, name: str, already: tuple[str, ...]) -> Iterator[Step]:
    option = settings.last(name)
    if option is None:
        return
    try:
        found = parse_namespaces(option.value)
    except ValueError as error:
        settings.wrong(option, str(error), "write mount, net, ipc, pid, uts or user")
        return
    found = tuple(namespace for namespace in found if namespace not in already)
    if not found:
        return
    options = [f"--{namespace}" for namespace in found]
    if "user" in found:
        options.append("--map-root-user")
        settings.cannot(
            ("uid", "gid", "add-gid"),
            f'a user namespace of its own has nobody but root ("{name}")',
            f'take it out, or "user" out of "{name}"',
        )
    yield ("unshare", *options, "--", *(WAIT_OUTSIDE if "pid" in found else ()))
    if "pid" in found and settings.has(*PID_FILES):
        yield must(_REMEMBER_PID, "finding the number of the process")
        yield from pid_file(settings, "pidfile", number=OUTER_PID)


def _pivot(settings: Settings) -> Iterator[Step]:
    option = settings.last("pivot-root", "pivot_root")
    if option is None:
        return
    root, blank, old = option.value.partition(" ")
    if not blank or not root:
        settings.wrong(option, "it has no second directory", "write NEW-ROOT PUT-OLD")
        return
    place = shlex.quote(path(root))
    old = shlex.quote(path(old.removeprefix("/")))
    yield must(
        f"mount --make-rprivate / && cd {place} && pivot_root . {old} && cd /",
        label_of(option),
    )


# -- becoming the user -----------------------------------------------------------------------


def become(settings: Settings) -> Iterator[Step]:
    """One call of setpriv(1) for user, groups and capabilities; nothing if none is given."""
    uid, gid = settings.text("uid"), settings.text("gid")
    options = [f"--reuid={uid}"] if uid else []
    if gid:
        options += [f"--regid={gid}", _groups(settings, uid)]
    else:
        settings.idle(
            ("add-gid", "no-initgroups"), 'groups are set with "gid" only', "add a gid"
        )
    capabilities = _capabilities(settings)
    if capabilities:
        sets = ",".join(["-all", *(f"+{name}" for name in capabilities)])
        options += [f"--inh-caps={sets}", f"--ambient-caps={sets}"]
        if not uid:  # whoever is still root would have all of them again in the program
            options.append(f"--bounding-set={sets}")
    elif options:
        options += CLEARED
    if options:
        yield ("setpriv", *options, "--")


def _groups(settings: Settings, uid: str | None) -> str:
    """The supplementary groups. Who is in which group is known by name only: for a number
    there are none, as there may be no such user."""
    added = [option.value for option in settings.every("add-gid")]
    if added:
        settings.has("no-initgroups")
        return f"--groups={','.join(added)}"
    if settings.flag("no-initgroups") or not uid or uid.isdecimal():
        return "--clear-groups"
    return "--init-groups"


def _capabilities(settings: Settings) -> list[str]:
    option = settings.last("cap")
    if option is None:
        return []
    try:
        found = parse_capabilities(option.value)
    except UnknownCapability as error:
        settings.wrong(option, str(error), "write names as in setuid,net_bind_service")
        return []
    if not found:
        settings.wrong(option, "it names no capability", "name some, or take it out")
    return setpriv_names(found)


# -- who is not root -------------------------------------------------------------------------


def unprivileged(settings: Settings, host: Host) -> None:
    """Say what cannot be done for a vassal that is ``host``'s user from its start."""
    who = f"the vassal runs as {host.user} (uid {host.uid}) from its start"
    same = {"uid": {host.user, str(host.uid)}, "gid": {host.group, str(host.gid)}}
    same["add-gid"] = same["gid"]
    for name, names in same.items():
        for option in settings.every(name):
            if option.value not in names:
                settings.wrong(
                    option, f"it cannot become that: {who}", "take it out, or own the file"
                )
    settings.cannot((*_WALLS, "cap"), f"only root can do that: {who}", "take it out")
    settings.has("no-initgroups", "jailed")
    settings.idle(_HOOKS_OF_ROOT, who, 'make it one "as-user"')


def left_out(settings: Settings) -> None:
    """Say what a privileged-binary-patch is too early for."""
    settings.has("jailed")
    settings.idle(
        _TOO_LATE,
        "a privileged-binary-patch runs before privileges are dropped",
        "use unprivileged-binary-patch or vassal-exec",
    )
