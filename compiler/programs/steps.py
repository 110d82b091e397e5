"""What is done in front of a program by everybody: log, pid files, limits, directory.

uWSGI's order, as a list of steps; what a jail and another user want stands between
(``jail.py``).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from emperor.compiler.actions import Unfit, command_of, limited, path
from emperor.compiler.delivered import Acting
from emperor.compiler.programs.script import Step, hooks, label_of, must, should
from emperor.compiler.programs.settings import Settings
from emperor.compiler.reader import Host

#: How long uWSGI waits for things to appear, in seconds.
_WAIT_SECONDS = 60

#: Files that are given the number of the process.
PID_FILES = ("pidfile", "pidfile2", "safe-pidfile", "safe-pidfile2")

_CGROUP = ("cgroup", "cgroup-opt", "cgroup-dir-mode")
_INTO_CGROUP = """if [ -e "$1/cgroup.procs" ]; then echo "$2" >"$1/cgroup.procs"
else echo "$2" >"$1/tasks"; fi"""

_FOR_INTERFACE = 'until grep -q "^ *$1:" /proc/net/dev; do sleep 1; done'
_FOR_MOUNTPOINT = 'until mountpoint -q "$1"; do sleep 1; done'


# -- at first --------------------------------------------------------------------------------


def first(settings: Settings, *, has_pid: bool) -> Iterator[Step]:
    """From the start to the hooks before the jail; ``has_pid``: the process here is the one
    that becomes the program, so its number can be written down."""
    yield from _umask(settings)
    yield from hooks(settings, "asap")
    # a vassal that daemonizes would be lost: uWSGI takes it for its log then, too
    yield from _log(settings, "daemonize" if settings.has("daemonize") else "logto")
    settings.has("logto")
    if has_pid:
        yield from pid_file(settings, "pidfile")
    yield from hooks(settings, "pre-jail")


def _umask(settings: Settings) -> Iterator[Step]:
    option = settings.last("umask")
    if option is None:
        return
    if re.fullmatch("[0-7]{1,4}", option.value):
        yield f"umask {option.value}"
    else:
        settings.wrong(option, "it is no mask of modes", "write octal digits, such as 022")


def _log(settings: Settings, name: str) -> Iterator[Step]:
    """Standard output and error to a file, with uWSGI's mode."""
    option = settings.last(name)
    mode, is_owned = settings.text("logfile-chmod"), settings.flag("logfile-chown")
    opened = ">" if settings.flag("log-truncate") else ">>"
    if option is None:
        return
    if ":" in option.value:
        settings.wrong(
            option,
            "it is the address of a log server, which only a uWSGI could send to",
            'name a file, or use "vassal-log"',
        )
        return
    file = shlex.quote(path(option.value))
    yield must(f"( umask 0137; : {opened}{file} )", label_of(option))
    yield must(f"command exec >>{file} 2>&1", label_of(option))
    if mode is not None:
        yield should(f"chmod {shlex.quote(mode)} {file}", "logfile-chmod")
    if is_owned and name != "logto2":
        owner = f"{settings.text('uid') or ''}:{settings.text('gid') or ''}"
        yield must(f"chown {shlex.quote(owner)} {file}", "logfile-chown")


def pid_file(settings: Settings, *names: str, number: str = "$$") -> Iterator[Step]:
    """The process's number into files."""
    for option in settings.every(*names):
        file = shlex.quote(path(option.value))
        yield should(f"echo {number} >{file}", label_of(option))


# -- limits ----------------------------------------------------------------------------------


def limits(settings: Settings, host: Host) -> Iterator[Step]:
    """The control group, and what only root may raise; the host's tools do it."""
    if host.uid == 0:
        yield from _cgroups(settings)
    else:
        settings.idle(_CGROUP, "only root puts processes there", "take it out")
    if files := settings.number("max-fd"):
        yield should(f"ulimit -n {files}", f"max-fd = {files}")
    if priority := settings.number("prio"):
        yield should(f"renice -n {priority} -p $$ >/dev/null", f"prio = {priority}")
    if cores := settings.number("cpu-affinity"):
        last = min(cores, host.cpu_count) - 1  # a single process: the first of them
        yield should(f"taskset -pc 0-{last} $$ >/dev/null", f"cpu-affinity = {cores}")
    option = settings.last("vassal-oom-score")
    if option is not None and not _is_score(option.value):
        settings.wrong(option, "it is no score", "write a number from -1000 to 1000")
    elif option is not None:
        yield should(f"choom -n {option.value} -p $$ >/dev/null", label_of(option))


def _is_score(text: str) -> bool:
    return bool(re.fullmatch("-?[0-9]{1,4}", text)) and -1000 <= int(text) <= 1000


def _cgroups(settings: Settings) -> Iterator[Step]:
    groups, contents, modes = (settings.every(name) for name in _CGROUP)
    mode = modes[-1].value if modes else "0700"
    for option in groups:
        label = f'"cgroup = {option.value}"'
        group = path(option.value)
        place = shlex.quote(group)
        mode_word = shlex.quote(mode)
        yield must(
            f"if [ -d {place} ]; then chmod {mode_word} {place}; "
            f"else mkdir -m {mode_word} {place}; fi",
            label,
        )
        script = shlex.join(["/bin/sh", "-c", _INTO_CGROUP, "sh", group])
        yield must(f"{script} $$", label)
        for setting in contents:
            yield from _of_cgroup(settings, group, setting)


def _of_cgroup(settings: Settings, group: str, option: Acting) -> Iterator[Step]:
    name, mark, value = option.value.partition("=" if "=" in option.value else ":")
    if not mark:
        settings.wrong(option, "it has no equals sign", "write cgroup-opt = FILE=VALUE")
        return
    file = shlex.quote(f"{group}/{name}")
    write = f"printf '%s\\n' {shlex.quote(value)} >{file}"
    # uWSGI takes no notice of a file that this kind of group does not have
    yield must(f"[ ! -e {file} ] || {write}", label_of(option))


# -- waiting ---------------------------------------------------------------------------------


def waits(settings: Settings) -> Iterator[Step]:
    """For what has to be there before the program is, each for a minute if nothing is said."""
    seconds = settings.number("wait-for-interface-timeout", "wait-for-iface-timeout")
    for option in settings.every("wait-for-interface", "wait-for-iface"):
        yield from _wait(settings, option, _FOR_INTERFACE, seconds)
    seconds = settings.number("wait-for-fs-timeout")
    for name in ("wait-for-fs", "wait-for-file", "wait-for-dir"):
        for option in settings.every(name):
            yield from _wait(settings, option, name.replace("-", "_"), seconds)
    for option in settings.every("wait-for-mountpoint"):
        yield from _wait(settings, option, _FOR_MOUNTPOINT, seconds)


def _wait(settings: Settings, option: Acting, how: str, seconds: int | None) -> Iterator[Step]:
    """``how`` is an action of hooks, or a script."""
    limit = float(seconds or _WAIT_SECONDS)
    label = label_of(option)
    try:
        if how.startswith("wait_for_"):
            command = command_of(how, (option.value,), seconds=limit)
        else:
            command = limited(["/bin/sh", "-c", how, "sh", option.value], limit)
    except Unfit as error:
        settings.wrong(option, str(error), error.remedy)
        return
    yield f"say {shlex.quote(f'waiting: {label}')}"
    yield must(command, label)


# -- at last ---------------------------------------------------------------------------------


def last(settings: Settings, *, number: str = "$$") -> Iterator[Step]:
    """From the hooks of the user to the program."""
    seconds = settings.number("wait-for-socket-timeout")
    for option in settings.every("wait-for-socket"):
        yield from _wait(settings, option, "wait_for_socket", seconds)
    yield from _log(settings, "logto2")
    yield from _directory(settings, "chdir")
    yield from pid_file(settings, "pidfile2", number=number)
    yield from hooks(settings, "pre-app")
    yield from pid_file(settings, *PID_FILES[2:], number=number)
    yield from _directory(settings, "chdir2")
    yield from _own_limits(settings)


def _directory(settings: Settings, name: str) -> Iterator[Step]:
    option = settings.last(name)
    if option is not None and option.value:
        place = shlex.quote(path(option.value))
        yield must(f"cd {place}", label_of(option))


def _own_limits(settings: Settings) -> Iterator[Step]:
    """What everybody may lower, by the shell itself: in a new root there may be no tool."""
    if processes := settings.number("limit-nproc"):
        # two shells, two letters
        command = f"{{ ulimit -u {processes} || ulimit -p {processes}; }} 2>/dev/null"
        yield should(command, f"limit-nproc = {processes}")
    if megabytes := settings.number("limit-as"):
        yield should(f"ulimit -v {megabytes * 1024}", f"limit-as = {megabytes}")
