"""A compile worker: one request after the other, as the user that it has become."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emperor.compiler.diagnostics import Diagnostic, Severity
from emperor.compiler.loading import split_section
from emperor.compiler.render import render
from emperor.compiler.source import to_bytes
from emperor.compiler.spec import compile_vassal
from emperor.compiler.target import Target
from emperor.compiler.vassal import Templates, VassalFile, own_command
from emperor.runtime.compiling.wire import TooLong, encode, receive
from emperor.runtime.launch import answer_data
from emperor.runtime.reader import FileReader

#: What a worker may take of the machine's address space, in bytes; and one of a tenant's.
MOST_MEMORY = 2 * 1024**3
MOST_TENANT_MEMORY = 512 * 1024**2

#: What one compile of a tenant's, and each command in it, may take of a processor, in seconds.
MOST_CPU_SECONDS = 20

#: How many processes and threads a tenant's command may add to those that the tenant has.
MOST_PROCESSES = 256

#: The largest file that a tenant's commands may write, in bytes.
MOST_FILE_BYTES = 64 * 1024**2

#: What uWSGI reads when the Emperor starts it.
ALLOWED = frozenset({"file", "fd", "exec", "http"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is the same for every vassal that a daemon has compiled."""

    templates: Templates = field(default_factory=Templates)
    environment: Mapping[str, str] = field(default_factory=dict)
    target: Target = field(default_factory=Target)
    is_for_tenant: bool = False

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Job:
        """The job in a settings message."""
        return cls(
            templates=templates_from_data(data["templates"]),
            environment=dict(data["environment"]),
            target=target_from_data(data["target"]),
        )


def templates_from_data(data: Mapping[str, Any]) -> Templates:
    """Templates as JSON has them."""
    return Templates(**{name: _frozen(value) for name, value in data.items()})


def _frozen(value: Any) -> Any:
    """A value of JSON's with tuples for its lists."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def target_from_data(data: Mapping[str, Any]) -> Target:
    """A target as JSON has it."""
    loadable = data["loadable"]
    return Target(
        version=data["version"],
        path=data["path"],
        built_in=frozenset(data["built_in"]),
        loadable=None if loadable is None else frozenset(loadable),
        reads_json=data["reads_json"],
        interpreter=data["interpreter"],
    )


def serve(channel: socket.socket, job: Job) -> None:
    """Answer requests in their order until the daemon hangs up."""
    _limit(is_for_tenant=job.is_for_tenant)
    gc.freeze()  # what the server loaded is never garbage
    while (received := receive(channel)) is not None:
        message, descriptors = received
        if job.is_for_tenant:
            _renew_cpu_limit()
        try:
            answer = encode(_answer(message, job, descriptors))
        except TooLong as error:
            answer = encode(
                {"id": message["id"], **_refusal(f"its config is too long: {error}")}
            )
        except MemoryError:
            answer = encode({"id": message["id"], **_refusal("it takes too much memory")})
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        channel.sendall(answer)


def _limit(*, is_for_tenant: bool) -> None:
    """What the kernel holds this worker, and the commands that it runs, to."""
    memory = MOST_TENANT_MEMORY if is_for_tenant else MOST_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    if is_for_tenant:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_FILE_BYTES, MOST_FILE_BYTES))


def _limits() -> tuple[str, ...]:
    """What the kernel holds a tenant's command to, as the words in front of it: a bomb of 4,096
    processes keeps a small host busy before anybody can end it."""
    most = _threads_of(os.getuid()) + MOST_PROCESSES
    return ("prlimit", f"--cpu={MOST_CPU_SECONDS}", f"--nproc={most}", "--")


def _threads_of(uid: int) -> int:
    """How many threads a user has, which is what counts for the limit."""
    found = 0
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{name}").st_uid == uid:
                found += len(os.listdir(f"/proc/{name}/task"))
    return found


def _renew_cpu_limit() -> None:
    """Let the next compile have its time on the processor; whoever exceeds it is killed."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(usage.ru_utime + usage.ru_stime) + MOST_CPU_SECONDS
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard))


def _refusal(reason: str) -> dict[str, object]:
    text = f"error[too-large]: {reason}"
    return answer_data(None, [text], {})


def _answer(
    message: Mapping[str, Any], job: Job, descriptors: Sequence[int]
) -> dict[str, object]:
    match message:
        case {"op": "emperor"}:
            from emperor.runtime.compiling.emperor import answer_emperor

            return {"id": message["id"], **answer_emperor(message)}
        case _:
            return {"id": message["id"], **_compile(message, job, descriptors)}


def _compile(
    message: Mapping[str, Any], job: Job, descriptors: Sequence[int]
) -> dict[str, object]:
    file = VassalFile(
        name=message["name"],
        directory=message["directory"],
        monitor=message["monitor"],
        section=message["section"],
        text=message.get("text"),
        socket=message.get("socket"),
    )
    cwd = file.directory
    reader = FileReader(
        cwd=None if cwd == os.getcwd() else cwd,
        allowed=ALLOWED,
        given=_given(file),
        opened={name: number for number in descriptors for name in _names(file)},
        vital=frozenset({own_command(file)} if job.templates.magic_exec else ()),
        before_commands=_limits if job.is_for_tenant else tuple,
    )
    result = compile_vassal(
        file,
        templates=job.templates,
        environment=job.environment,
        reader=reader,
        target=job.target,
    )
    ordered = sorted(result.diagnostics, key=lambda d: d.severity is not Severity.ERROR)
    plan = None if _is_section_missing(file, ordered) else result.plan
    return answer_data(plan, [render(d) for d in ordered], reader.looked)


def _is_section_missing(file: VassalFile, findings: Sequence[Diagnostic]) -> bool:
    """Whether the one section that the vassal is made of is not in its file: uWSGI would run
    an instance that does nothing."""
    return file.section is not None and any(
        finding.code == "missing-section" and not finding.included_from for finding in findings
    )


def _names(file: VassalFile) -> tuple[str, str]:
    """What a compile may call the vassal's own file."""
    return file.name, os.path.join(file.directory, file.name)


def _given(file: VassalFile) -> dict[str, bytes]:
    """The vassal's own text, by the address that its arguments name it with."""
    if file.text is None:
        return {}
    name = file.name if file.section is None else f"{file.name}:{file.section}"
    address, _ = split_section(f"emperor://{name}")
    return {address: to_bytes(file.text)}
