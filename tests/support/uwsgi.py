"""The real uWSGI as an oracle: what it lists for a command line, or that it refuses."""

import contextlib
import functools
import os
import resource
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import pytest

from emperor.compiler.target import Target
from emperor.runtime.targets import NoTarget, probe

#: What every run starts from; nothing of the tester's own environment gets in.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/root", "LANG": "C"}

#: A runaway expansion ends at these; uWSGI itself would take the machine.
CPU_SECONDS = 2
MEMORY_BYTES = 900 * 2**20
DEADLINE_SECONDS = 20

OWN = ("show-config", "no-server")
_BEGIN = ";uWSGI instance configuration\n[uwsgi]\n"
_END = ";end of configuration\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What ``--show-config`` printed, without the options that asked for it; nothing if uWSGI
    gave up before. ``log`` is everything it wrote to standard error."""

    listed: str | None
    log: str


@functools.cache
def full_uwsgi() -> Target | None:
    """A uWSGI whose readers are those of a full build (libyaml, yajl, libxml2), if there is
    one on PATH."""
    for name in ("uwsgi-core", "uwsgi"):
        path = shutil.which(name)
        if path is None:
            continue
        with contextlib.suppress(NoTarget):
            target = probe(path)
            if target.reads_json == "yajl":
                return target
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A uWSGI that serves WSGI apps, and the options that a vassal needs for that."""

    label: str
    path: str
    python: tuple[tuple[str, str], ...]
    is_wheel: bool


@functools.cache
def servers() -> tuple[Server, ...]:
    """Every uWSGI of this machine that has python or can load it, the PyPI wheel's first."""
    scripts = sysconfig.get_path("scripts")
    found: dict[str, Server] = {}
    for name, place in (("uwsgi", scripts), ("uwsgi-core", None), ("uwsgi", None)):
        path = shutil.which(name, path=place)
        if path is None or os.path.realpath(path) in found:
            continue
        with contextlib.suppress(NoTarget):
            server = _server(path, probe(path))
            if server is not None:
                found[os.path.realpath(path)] = server
    return tuple(found.values())


def _server(path: str, target: Target) -> Server | None:
    plugins: list[tuple[tuple[str, str], ...]] = [()] if "python" in target.built_in else []
    plugins += [
        (("plugin", name),) for name in ("python3", "python") if name in (target.loadable or ())
    ]
    if not plugins:
        return None
    is_wheel = target.interpreter is not None
    return Server(
        label="wheel" if is_wheel else os.path.basename(path),
        path=path,
        python=plugins[0],
        is_wheel=is_wheel,
    )


def a_server() -> Server:
    """A uWSGI for apps, an ordinary binary if there is one; without any the test is skipped, or
    failed where ``CI`` is set."""
    found = sorted(servers(), key=lambda server: server.is_wheel)
    if not found:
        do_without("no uWSGI with python (pip: pyuwsgi; Debian: uwsgi-plugin-python3)")
    return found[0]


def the_uwsgi() -> Target:
    """``full_uwsgi``; without one the test is skipped, or failed where ``CI`` is set."""
    found = full_uwsgi()
    if found is None:
        do_without("no uWSGI with libyaml, yajl and libxml2 on PATH (Debian: uwsgi-core)")
    return found


@functools.cache
def _wheel() -> Target | None:
    path = shutil.which("pyuwsgi", path=sysconfig.get_path("scripts"))
    return None if path is None else probe(path)


def the_wheel() -> Target:
    """The uWSGI of the pyuwsgi wheel in this environment, or as ``the_uwsgi`` without one."""
    found = _wheel()
    if found is None:
        do_without("no pyuwsgi in this environment (pip install pyuwsgi)")
    return found


def do_without(reason: str) -> NoReturn:
    """Skip the test, or fail it where ``CI`` is set: there everything is installed."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def show_config(
    target: Target,
    arguments: Sequence[str],
    *,
    cwd: str,
    environment: Mapping[str, str] | None = None,
    descriptors: Iterable[int] = (),
) -> Answer:
    """Ask the real binary; ``environment`` is added to ``ENVIRONMENT``."""
    process = subprocess.Popen(
        [target.path, *(f"--{option}" for option in OWN), *arguments],
        cwd=cwd,
        env={**ENVIRONMENT, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=tuple(descriptors),
        start_new_session=True,
    )
    with contextlib.suppress(ProcessLookupError):
        for limit, most in (
            (resource.RLIMIT_CPU, CPU_SECONDS),
            (resource.RLIMIT_AS, MEMORY_BYTES),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.prlimit(process.pid, limit, (most, most))
    try:
        _, log = process.communicate(timeout=DEADLINE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        _, log = process.communicate()
    return _answer(log.decode("utf-8", "surrogateescape"))


def _answer(log: str) -> Answer:
    _, begin, rest = log.partition(_BEGIN)
    body, end, _ = rest.partition(_END)
    if not (begin and end):
        return Answer(listed=None, log=log)
    for option in OWN:
        line = f"{option} = true\n"
        index = 0 if body.startswith(line) else body.index("\n" + line) + 1
        body = body[:index] + body[index + len(line) :]
    return Answer(listed=body, log=log)


def as_listed(options: Iterable[tuple[str, str | None]]) -> str:
    """Options as ``--show-config`` prints them: a value with line ends is several lines, a
    flag without a value shows as ``true``."""
    return "".join(f"{key} = {'true' if value is None else value}\n" for key, value in options)
