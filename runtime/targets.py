"""Which uWSGI a compile is for: a version by name, or a binary that is asked.

What the binary says of itself is all that is used. ``subprocess`` asks it and not ``sh``, whose
import alone would take longer than all the questions: the daemon waits for the answers.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

from emperor.compiler.catalogue import plugin_of
from emperor.compiler.source import from_bytes
from emperor.compiler.target import NEWEST, Target

#: How long a binary may take to answer a question about itself.
PROBE_SECONDS = 10.0

_VERSION = re.compile(r"\d+(\.\d+)+([-.+\w]*)?")
_PROBED_JSON = '{"uwsgi": {"probe": "1", "probe": "2"}}'


class NoTarget(Exception):
    """There is no uWSGI to be asked; the text says what to do."""


def target_of(wanted: str | None) -> Target:
    """The target that ``--uwsgi`` names: a version, or a binary's path; raises NoTarget."""
    if wanted is None:
        return Target(version=NEWEST)
    if _VERSION.fullmatch(wanted):
        return Target(version=wanted)
    return probe(find_binary(wanted))


def find_binary(wanted: str | None = None) -> str:
    """The path of the uWSGI to run; raises ``NoTarget``.

    It is the one wanted, or the first of ``uwsgi`` and ``uwsgi-core`` on PATH, or that of the
    pyuwsgi wheel beside our own interpreter.
    """
    scripts = os.path.dirname(sys.executable)
    if wanted is not None:
        found = shutil.which(wanted)
        if found is None:
            raise NoTarget(f'there is no program "{wanted}"')
        return os.path.abspath(found)
    for name in ("uwsgi", "uwsgi-core"):
        if found := shutil.which(name):
            return found
    for name in ("uwsgi", "pyuwsgi"):
        if found := shutil.which(name, path=scripts):
            return found
    raise NoTarget(
        "there is no uWSGI on PATH: install one, or emperor-compiler[uwsgi], "
        "or name it with --binary-path"
    )


def probe(path: str) -> Target:
    """What a binary says of itself; raises ``NoTarget`` if it is no uWSGI."""
    version = _ask(path, "--version").strip().splitlines()
    if not version or not _VERSION.match(version[-1]):
        raise NoTarget(f'"{path}" does not say a version of uWSGI')
    directory, built_in = _plugins(path)
    return Target(
        version=version[-1],
        path=path,
        built_in=frozenset(built_in) | {plugin_of(name) for name in built_in},
        loadable=_loadable(directory),
        reads_json=_json_reader(path),
        interpreter=_interpreter(path),
    )


def _ask(path: str, *arguments: str, stdin: str = "") -> str:
    """What the binary prints, both streams."""
    try:
        done = subprocess.run(
            [path, *arguments],
            input=stdin.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PROBE_SECONDS,
            env={**os.environ, "LANG": "C"},
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError):
        raise NoTarget(f'"{path}" does not answer as uWSGI does') from None
    return from_bytes(done.stdout)


def _plugins(path: str) -> tuple[str | None, set[str]]:
    """The plugin directory and the plugins built in, from ``--plugins-list``."""
    text = _ask(path, "--no-server", "--plugins-list")
    built_in = set()
    for line in text.splitlines():
        found = re.fullmatch(r"(?:\d+: )?([a-z_0-9]+)", line.strip())
        if found:
            built_in.add(found.group(1))
    directory = None
    for line in _ask(path, "--cflags").split():
        found = re.fullmatch(r'-DUWSGI_PLUGIN_DIR=\\?"?\\?"?([^"\\]+).*', line)
        if found:
            directory = found.group(1)
    return directory, built_in


def _loadable(directory: str | None) -> frozenset[str]:
    if directory is None or not os.path.isdir(directory):
        return frozenset()
    ending = "_plugin.so"
    return frozenset(
        n.removesuffix(ending) for n in os.listdir(directory) if n.endswith(ending)
    )


def _json_reader(path: str) -> str:
    """ "yajl" keeps repeated keys, "jansson" the last one; "" where there is no reader."""
    text = _ask(
        path, "--no-server", "--show-config", "--json", "/dev/stdin", stdin=_PROBED_JSON
    )
    values = re.findall(r"^probe = (.*)$", text, re.MULTILINE)
    return {2: "yajl", 1: "jansson"}.get(len(values), "")


def _interpreter(path: str) -> str | None:
    """The python of the PyPI wheel's environment; nothing for an ordinary binary."""
    with open(path, "rb") as file:
        first = file.readline(256)
    if not first.startswith(b"#!"):
        return None
    program = first[2:].split()[0].decode("utf-8", "surrogateescape")
    return program if os.path.basename(program).startswith("python") else sys.executable


def main() -> None:
    """Print what is known of a binary: for people who wonder what ``--uwsgi PATH`` sees."""
    target = target_of(sys.argv[1] if len(sys.argv) > 1 else find_binary())
    loadable = sorted(target.loadable) if target.loadable is not None else None
    shown = {
        "version": target.version,
        "path": target.path,
        "built_in": sorted(target.built_in),
        "loadable": loadable,
        "reads_json": target.reads_json,
        "interpreter": target.interpreter,
    }
    sys.stdout.write(json.dumps(shown, indent=2) + "\n")


if __name__ == "__main__":
    main()
