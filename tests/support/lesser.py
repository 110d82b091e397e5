"""Doing something as a lesser user: in a forked child, which tells what came of it."""

import json
import os
import select
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emperor.runtime.tenants.privileges import Identity

SECONDS = 20.0

TENANT = 20_002
#: An Emperor that kept setgid and setuid, and no more.
REDUCED = Identity(uid=20_001, gid=20_001, capabilities=(6, 7))
#: What such an Emperor puts in front of a tenant's program.
CHAIN = [
    *f"setpriv --reuid {TENANT} --regid {TENANT} --clear-groups".split(),
    *"--inh-caps=-all --ambient-caps=-all --".split(),
]


def told_by_child(action: Callable[[], Any]) -> Any:
    """What ``action`` returns, as JSON brings it, when it is called in a forked child."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _tell(write, action)
    os.close(write)
    try:
        text = _all_of(read)
    finally:
        os.close(read)
        os.kill(pid, signal.SIGKILL)  # it has said all, or too little in time
        os.waitpid(pid, 0)
    assert text, "the child said nothing: see its traceback"
    return json.loads(text)


def _tell(write: int, action: Callable[[], Any]) -> None:
    try:
        os.write(write, json.dumps(action()).encode())
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(0)


def _all_of(read: int) -> bytes:
    text = b""
    while select.select([read], [], [], SECONDS)[0]:
        chunk = os.read(read, 65_536)
        if not chunk:
            return text
        text += chunk
    raise TimeoutError(f"after {text!r}")


def output_of(*argv: str) -> str:
    """What a program writes that this process starts, as the daemon starts one."""
    read, write = os.pipe()
    to_output = (os.POSIX_SPAWN_DUP2, write, 1)
    pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=[to_output])
    os.close(write)
    text = _all_of(read)
    os.close(read)
    assert os.waitpid(pid, 0)[1] == 0
    return text.decode()


def status_fields(text: str | None = None) -> dict[str, str]:
    """What is in /proc/PID/status, by default this process's."""
    text = Path("/proc/self/status").read_text() if text is None else text
    fields = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in fields}


def capability_sets(status: dict[str, str]) -> dict[str, int]:
    """The four sets that a process can use, as bits."""
    return {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
