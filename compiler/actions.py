"""What the actions of hooks are as commands of the shell.

Standard tools do the work, so that it can be read, copied and tried in a shell. Every word that
comes from a configuration is quoted; only what ``exec`` and ``safeexec`` run is shell.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence

#: What every script of ours says and ends with; ``$0`` is the vassal.
FUNCTIONS = r"""say() { printf '[emperor] %s: %s\n' "$0" "$1" >&2; }
end() { say "$1 failed (exit code $2): the vassal is not started"; exit 1; }"""

#: Action -> its arguments, as people are told.
ARGUMENTS: dict[str, str] = {
    "exec": "COMMAND",
    "safeexec": "COMMAND",
    "cd": "DIRECTORY",
    "chdir": "DIRECTORY",
    "putenv": "NAME=VALUE",
    "mkdir": "DIRECTORY",
    "create": "FILE",
    "creat": "FILE",
    "write": "FILE TEXT",
    "writen": "FILE TEXT",
    "append": "FILE TEXT",
    "appendn": "FILE [TEXT]",
    "writefifo": "FIFO TEXT",
    "spinningfifo": "FIFO TEXT",
    "unlink": "FILE",
    "chmod": "FILE MODE",
    "sticky": "FILE",
    "chown": "FILE USER GROUP",
    "chown2": "FILE UID GID",
    "mount": "FILESYSTEM SOURCE DIRECTORY [FLAGS [DATA]]",
    "umount": "DIRECTORY [FLAGS]",
    "hostname": "NAME",
    "wait_for_fs": "PATH",
    "wait_for_file": "PATH",
    "wait_for_dir": "PATH",
    "wait_for_socket": "ADDRESS",
    "print": "[TEXT]",
    "log": "[TEXT]",
    "exit": "[CODE]",
}

#: Actions that are calls inside a running uWSGI.
INSIDE_UWSGI = frozenset(
    "call callret callint callintret rpc retryrpc alarm unix_signal".split()
)

#: Actions that hold for what comes after them.
LASTING = frozenset({"cd", "chdir", "putenv"})

#: How long to wait for something to appear where hooks have no time limit, in seconds.
WAIT_SECONDS = 60.0

#: Flags of mount that uWSGI knows -> the option of mount(8).
_MOUNT_OPTIONS = {
    "dirsync": "dirsync",
    "mandlock": "mand",
    "noatime": "noatime",
    "nodev": "nodev",
    "noexec": "noexec",
    "rdonly": "ro",
    "readonly": "ro",
    "ro": "ro",
    "remount": "remount",
    "nosuid": "nosuid",
    "sync": "sync",
}
_RECURSIVE = frozenset({"rec", "recursive"})
_PROPAGATION = frozenset({"private", "shared"})
_UMOUNT_OPTIONS = {"force": "-f", "detach": "-l", "rec": "-R", "recursive": "-R"}

_LISTENING = "s/^[^ ]* [^ ]* [^ ]* 00010000 [^ ]* [^ ]*  *[0-9]* //p"


class Unfit(ValueError):
    """Arguments that an action cannot work with. ``remedy`` is what to write instead."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def command_of(action: str, arguments: Sequence[str], *, seconds: float) -> str:
    """One shell command, which fails if the action does.

    It is killed after ``seconds``; 0 is no limit. Raises ``Unfit``.
    """
    return _COMMANDS[action](arguments, seconds)


def limited(words: Sequence[str], seconds: float) -> str:
    """A command that is told to end after so many seconds, and killed five seconds later.

    It stays in the process group it is started in, so that it dies with the vassal.
    """
    if not 0 < seconds < 1e9:
        return shlex.join(words)
    limit = f"{seconds:.3f}".rstrip("0").rstrip(".")
    return shlex.join(["timeout", "--foreground", "--kill-after=5", limit, *words])


def _tool(*words: str) -> Callable[[Sequence[str], float], str]:
    """A tool that takes one path."""
    return lambda arguments, seconds: limited([*words, path(arguments[0])], seconds)


def _script(text: str) -> Callable[[Sequence[str], float], str]:
    """A piece of shell with a path as ``$1`` and perhaps a text as ``$2``."""

    def command(arguments: Sequence[str], seconds: float) -> str:
        words = [path(arguments[0]), *(arguments[1:] or [""])]
        return limited(["/bin/sh", "-c", text, "sh", *words], seconds)

    return command


def path(text: str) -> str:
    """A path that no tool takes for an option, and ``cd`` for nothing but a path."""
    return text if text.startswith("/") else f"./{text}"


def _exec(arguments: Sequence[str], seconds: float) -> str:
    return limited(["/bin/sh", "-c", arguments[0]], seconds)


def _putenv(arguments: Sequence[str], seconds: float) -> str:
    name, equals, value = arguments[0].partition("=")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise Unfit(
            f'the shell cannot set a variable called "{name}"',
            "use letters, digits and underscores",
        )
    return f"export {name}={shlex.quote(value)}" if equals else f"unset {name}"


def _exit(arguments: Sequence[str], seconds: float) -> str:
    code = arguments[0] if arguments else "0"
    if not re.fullmatch(r"[0-9]{1,3}", code) or int(code) > 255:
        raise Unfit(f'"{code}" is no exit code', "write a number up to 255")
    return f"exit {int(code)}"


def _print(arguments: Sequence[str], seconds: float) -> str:
    return f"printf '%s\\n' {shlex.quote(arguments[0] if arguments else '')} >&2"


def _chmod(arguments: Sequence[str], seconds: float) -> str:
    name, mode = arguments
    if not re.fullmatch(r"[0-7]{3,4}", mode):
        raise Unfit(f'"{mode}" is no mode', "write three or four octal digits")
    return limited(["chmod", mode, path(name)], seconds)


def _chown(arguments: Sequence[str], seconds: float) -> str:
    name, user, group = arguments
    return limited(["chown", "--", f"{user}:{group}", path(name)], seconds)


def _chown2(arguments: Sequence[str], seconds: float) -> str:
    name, *numbers = arguments
    if not all(re.fullmatch("[0-9]+", number) for number in numbers):
        raise Unfit("a user or group is no number", "write numbers, or use chown")
    return limited(["chown", f"+{numbers[0]}:+{numbers[1]}", path(name)], seconds)


def _hostname(arguments: Sequence[str], seconds: float) -> str:
    return limited(["hostname", "--", arguments[0]], seconds)


def _mount(arguments: Sequence[str], seconds: float) -> str:
    kind, source, place, flags, data = (*arguments, "", "")[:5]
    words = _flags(flags)
    is_recursive = not _RECURSIVE.isdisjoint(words)
    words = [word for word in words if word not in _RECURSIVE]
    prefix = "r" if is_recursive else ""
    if len(words) == 1 and words[0] in _PROPAGATION:
        return limited(["mount", f"--make-{prefix}{words[0]}", path(place)], seconds)
    if words == ["move"]:
        return limited(["mount", "--move", "--", source, path(place)], seconds)
    known = {"bind": f"{prefix}bind", **_MOUNT_OPTIONS}
    options = [_flag("mount", word, known) for word in words] + ([data] if data else [])
    chosen = ["-o", ",".join(options)] if options else []
    return limited(["mount", "-t", kind, *chosen, "--", source, path(place)], seconds)


def _umount(arguments: Sequence[str], seconds: float) -> str:
    place, flags = (*arguments, "")[:2]
    options = [_flag("umount", word, _UMOUNT_OPTIONS) for word in _flags(flags)]
    return limited(["umount", *options, "--", path(place)], seconds)


def _flags(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _flag(tool: str, flag: str, known: Mapping[str, str]) -> str:
    if flag not in known:
        raise Unfit(f'"{flag}" is no flag of {tool} here', f"use {', '.join(known)}")
    return known[flag]


def _wait(test: str) -> Callable[[Sequence[str], float], str]:
    script = f'until [ {test} "$1" ]; do sleep 1; done'
    return lambda arguments, seconds: _script(script)(arguments, seconds or WAIT_SECONDS)


def _wait_for_socket(arguments: Sequence[str], seconds: float) -> str:
    """A connection tells for TCP; for unix sockets the kernel's list of those that listen."""
    address = arguments[0]
    limit = seconds or WAIT_SECONDS
    if ":" not in address or address.startswith("/"):
        script = f"""until sed -n '{_LISTENING}' /proc/net/unix | grep -qxF -e "$1"
do sleep 1; done"""
        return limited(["/bin/sh", "-c", script, "sh", address], limit)
    host, _, port = address.rpartition(":")
    if not re.fullmatch("[0-9]{1,5}", port):
        raise Unfit(f'"{port}" is no port', "write HOST:PORT, a path, or @NAME")
    script = 'until (: <>"/dev/tcp/$1/$2") 2>/dev/null; do sleep 1; done'
    words = [host.strip("[]") or "127.0.0.1", port]
    return limited(["bash", "-c", script, "bash", *words], limit)


_FIFO = """printf %s "$2" | dd of="$1" oflag=nonblock conv=nocreat,notrunc status=none"""

_COMMANDS: dict[str, Callable[[Sequence[str], float], str]] = {
    "exec": _exec,
    "safeexec": _exec,
    "cd": lambda arguments, seconds: f"cd {shlex.quote(path(arguments[0]))}",
    "chdir": lambda arguments, seconds: f"cd {shlex.quote(path(arguments[0]))}",
    "putenv": _putenv,
    "mkdir": _tool("mkdir"),
    "create": _script(': >"$1"'),
    "creat": _script(': >"$1"'),
    "write": _script('printf %s "$2" >"$1"'),
    "writen": _script('printf \'%s\\n\' "$2" >"$1"'),
    "append": _script('printf %s "$2" >>"$1"'),
    "appendn": _script('printf \'%s\\n\' "$2" >>"$1"'),
    # nobody reads the pipe: that is no failure, as in uWSGI
    "writefifo": _script(f'{_FIFO} || {{ [ -p "$1" ] && [ -w "$1" ]; }}'),
    "spinningfifo": _script(f"until {_FIFO} 2>/dev/null; do sleep 1; done"),
    "unlink": _tool("unlink"),
    "chmod": _chmod,
    "sticky": _tool("chmod", "a+t"),
    "chown": _chown,
    "chown2": _chown2,
    "mount": _mount,
    "umount": _umount,
    "hostname": _hostname,
    "wait_for_fs": _wait("-e"),
    "wait_for_file": _wait("-f"),
    "wait_for_dir": _wait("-d"),
    "wait_for_socket": _wait_for_socket,
    "print": _print,
    "log": _print,
    "exit": _exit,
}
