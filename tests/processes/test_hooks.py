"""Hooks with real shells and tools: in front of a vassal's program, and under the guardian."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from emperor.compiler.actions import command_of
from emperor.compiler.diagnostics import Diagnostics
from emperor.compiler.hooks import parse_hook
from emperor.compiler.launching import launching_of
from emperor.compiler.moments import emperor_hooks
from emperor.compiler.vassal import Templates, VassalFile
from emperor.runtime.guardian.client import Guardian
from emperor.runtime.guardian.messages import Exited, Failed, Report, Spawned
from emperor.runtime.hooks import Hooks
from emperor.runtime.reader import FileReader

pytestmark = pytest.mark.process

DEADLINE_SECONDS = 20.0
PATH = "/usr/bin:/bin:/usr/sbin:/sbin"


def unshares(*kinds: str) -> bool:
    """Whether we may have namespaces of our own of these kinds."""
    tool = shutil.which("unshare")
    if tool is None or os.geteuid() != 0:
        return False
    return (
        subprocess.run([tool, *kinds, "true"], check=False, capture_output=True).returncode == 0
    )


# -- in front of a vassal's program ----------------------------------------------------------


def launch(
    directory: Path,
    *hooks: tuple[str, str],
    name: str = "app.ini",
    seconds: float = 10.0,
    program: Sequence[str] = ("sh", "-c", 'echo "program $*"', "sh"),
    prefix: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a program as the vassal that these hooks stand in front of."""
    launching = launching_of(
        VassalFile(name=name, directory=str(directory), monitor="test"),
        Templates(as_vassal=hooks, hook_timeout_seconds=seconds),
        binary="unused",
        environment={"PATH": PATH},
        reader=FileReader(cwd=str(directory)),
        diagnostics=Diagnostics(),
    )
    return subprocess.run(
        [*prefix, *launching.chain, *program, "--inherit", "emperor://app.ini"],
        cwd=directory,
        env={"PATH": PATH, **dict(launching.set)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def test_hooks_run_in_uwsgis_order_and_then_the_program(tmp_path: Path) -> None:
    hook = tmp_path / "start"
    hook.write_text('#!/bin/sh\necho "start $# $1 $UWSGI_VASSALS_DIR"\nexit 7\n')
    hook.chmod(0o755)
    done = launch(
        tmp_path,
        ("exec-as-vassal", "echo exec"),
        ("hook-as-vassal", "exec:echo one"),
        ("vassals-start-hook", str(hook)),
        ("hook-as-vassal", "exec:echo two"),
    )
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"start 1 app.ini {tmp_path}",
        "one",
        "two",
        "exec",
        "program --inherit emperor://app.ini",
    ]
    assert done.stderr.splitlines() == [
        f'[emperor] app.ini: running "vassals-start-hook = {hook}"',
        f'[emperor] app.ini: "vassals-start-hook = {hook}" exited with 7',
        '[emperor] app.ini: running "hook-as-vassal = exec:echo one"',
        '[emperor] app.ini: running "hook-as-vassal = exec:echo two"',
        '[emperor] app.ini: running "exec-as-vassal = echo exec"',
    ]


def test_a_hook_that_fails_keeps_the_program_from_running(tmp_path: Path) -> None:
    done = launch(tmp_path, ("hook-as-vassal", "exec:exit 3"), ("exec-as-vassal", "echo late"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == (
        '[emperor] app.ini: "hook-as-vassal = exec:exit 3" failed (exit code 3): '
        "the vassal is not started"
    )


def test_a_private_hook_leaves_no_trace_in_the_log(tmp_path: Path) -> None:
    done = launch(tmp_path, ("hook-as-vassal", "!exec:test sesame = street"))
    assert done.returncode == 1
    assert "sesame" not in done.stderr
    assert '"hook-as-vassal = (private)" failed' in done.stderr


def test_what_a_safe_command_exits_with_does_not_count(tmp_path: Path) -> None:
    done = launch(tmp_path, ("hook-as-vassal", "safeexec:false"))
    assert done.returncode == 0
    assert "exited with 1" in done.stderr


def test_exit_ends_the_process_with_its_code(tmp_path: Path) -> None:
    done = launch(tmp_path, ("hook-as-vassal", "exit:22"), ("exec-as-vassal", "echo late"))
    assert (done.returncode, done.stdout) == (22, "")


def test_directory_and_variables_are_the_programs_too(tmp_path: Path) -> None:
    (tmp_path / "-in here").mkdir()
    done = launch(
        tmp_path,
        ("hook-as-vassal", "putenv:GREETING=hello $(id) 'x'"),
        ("hook-as-vassal", "putenv:UWSGI_VASSALS_DIR"),
        ("hook-as-vassal", "cd:-in here"),
        program=["sh", "-c", 'pwd; echo "$GREETING" "${UWSGI_VASSALS_DIR-none}"', "sh"],
    )
    assert done.stdout.splitlines() == [f"{tmp_path}/-in here", "hello $(id) 'x' none"]


@pytest.mark.parametrize(
    "name", ["-n.ini", "a'; touch made; '.ini", "$(touch made).ini", "a\nb"]
)
def test_a_name_is_never_read_by_the_shell(tmp_path: Path, name: str) -> None:
    hook = tmp_path / "start"
    hook.write_text('#!/bin/sh\nprintf %s "$1" >told\n')
    hook.chmod(0o755)
    done = launch(tmp_path, ("vassals-start-hook", str(hook)), name=name)
    assert done.returncode == 0
    assert (tmp_path / "told").read_text() == name
    assert not (tmp_path / "made").exists()
    assert done.stderr.count("\n") == 1


def test_hooks_do_not_read_the_vassals_socket(tmp_path: Path) -> None:
    # it would be standard input of an on-demand vassal
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"a request")
        ours.shutdown(socket.SHUT_WR)
        launching = launching_of(
            VassalFile(name="app.ini", directory=str(tmp_path), monitor="test"),
            Templates(as_vassal=(("exec-as-vassal", "cat >taken"),)),
            binary="unused",
            environment={},
            reader=FileReader(cwd=str(tmp_path)),
            diagnostics=Diagnostics(),
        )
        done = subprocess.run(
            [*launching.chain, "cat"],
            cwd=tmp_path,
            stdin=theirs.fileno(),
            capture_output=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
    assert (tmp_path / "taken").read_text() == ""
    assert done.stdout == b"a request"


def test_a_hook_that_takes_too_long_is_ended_and_fails(tmp_path: Path) -> None:
    done = launch(tmp_path, ("exec-as-vassal", "exec sleep 100"), seconds=0.05)
    assert (done.returncode, done.stdout) == (1, "")
    assert "failed (exit code 124)" in done.stderr


def test_the_start_hook_may_take_too_long_and_may_be_missing(tmp_path: Path) -> None:
    done = launch(tmp_path, ("vassals-start-hook", "/nowhere/hook"))
    assert (done.returncode, done.stdout[:7]) == (0, "program")
    assert "exited with 127" in done.stderr


def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = launch(tmp_path, ("hook-as-vassal", "print:hello"), program=["/nowhere/uwsgi"])
    assert done.returncode == 127
    assert "hello\n" in done.stderr
    assert "/nowhere/uwsgi" in done.stderr


def test_a_hook_dies_with_its_vassals_group(tmp_path: Path) -> None:
    """The law kills groups; a time limit must not take a hook out of its own."""
    launching = launching_of(
        VassalFile(name="app.ini", directory=str(tmp_path), monitor="test"),
        Templates(as_vassal=(("exec-as-vassal", "echo up; sleep 100; true"),)),
        binary="unused",
        environment={},
        reader=FileReader(cwd=str(tmp_path)),
        diagnostics=Diagnostics(),
    )
    with subprocess.Popen(
        [*launching.chain, "cat"], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        os.killpg(process.pid, signal.SIGKILL)
        assert process.stdout.read() == b""  # nobody holds it any more


# -- actions ---------------------------------------------------------------------------------


def act(directory: Path, value: str, *, seconds: float = 10.0) -> int:
    """Do one hook; gives its exit code."""
    hook = parse_hook("hook-as-vassal", value)
    command = command_of(hook.action, hook.arguments, seconds=seconds)
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=directory,
        env={"PATH": PATH},
        stdin=subprocess.DEVNULL,
        timeout=DEADLINE_SECONDS,
        check=False,
    ).returncode


def test_files_are_written_as_they_are_said(tmp_path: Path) -> None:
    made = tmp_path / "-file"
    text = r"a  'b' $(c) %s \n"
    for value, content in [
        (f"write:-file {text}", text),
        ("append:-file  more", f"{text} more"),
        (f"writen:-file {text}", f"{text}\n"),
        ("appendn:-file", f"{text}\n\n"),
        ("appendn:-file end", f"{text}\n\nend\n"),
        ("write:-file ", ""),
        ("appendn:-file x", "x\n"),
        ("create:-file", ""),
    ]:
        assert act(tmp_path, value) == 0
        assert made.read_text() == content
    assert act(tmp_path, "unlink:-file") == 0
    assert not made.exists()
    assert act(tmp_path, "unlink:-file") != 0
    assert act(tmp_path, "write:nowhere/file x") != 0


def test_modes_and_directories(tmp_path: Path) -> None:
    assert act(tmp_path, "mkdir:a directory") == 0
    assert act(tmp_path, "mkdir:a directory") != 0
    made = tmp_path / "a directory"
    made.rename(tmp_path / "d")
    assert act(tmp_path, "chmod:d 710") == 0
    assert act(tmp_path, "sticky:d") == 0
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o1710


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owners(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    assert act(tmp_path, "chown:f daemon daemon") == 0
    found = (tmp_path / "f").stat()
    assert found.st_uid != 0
    assert found.st_gid != 0
    assert act(tmp_path, "chown2:f 4242 4343") == 0
    found = (tmp_path / "f").stat()
    assert (found.st_uid, found.st_gid) == (4242, 4343)
    assert act(tmp_path, "chown:f no-such-user daemon") != 0


def test_a_fifo_gets_its_text_if_somebody_reads_and_nobody_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    assert act(tmp_path, "writefifo:p nobody reads") == 0
    reader = os.open(tmp_path / "p", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert act(tmp_path, "writefifo:p some  text") == 0
        assert act(tmp_path, "spinningfifo:p more") == 0
        assert os.read(reader, 100) == b"some  textmore"
    finally:
        os.close(reader)
    assert act(tmp_path, "writefifo:nowhere x") != 0
    assert not (tmp_path / "nowhere").exists()
    assert act(tmp_path, "spinningfifo:p x", seconds=0.05) == 124


def test_waiting_for_what_is_there_is_short(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert act(tmp_path, "wait_for_fs:file") == 0
    assert act(tmp_path, "wait_for_file:file") == 0
    assert act(tmp_path, "wait_for_dir:.") == 0
    assert act(tmp_path, "wait_for_dir:file", seconds=0.05) == 124
    assert act(tmp_path, "wait_for_file:.", seconds=0.05) == 124


@pytest.mark.parametrize("form", ["unix", "abstract", "tcp"])
def test_waiting_for_a_socket_is_waiting_until_somebody_listens(
    tmp_path: Path, form: str
) -> None:
    if form == "tcp" and shutil.which("bash") is None:
        pytest.skip("no bash")
    family = socket.AF_INET if form == "tcp" else socket.AF_UNIX
    with socket.socket(family) as server:
        if form == "tcp":
            server.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{server.getsockname()[1]}"
        elif form == "unix":
            address = str(tmp_path / "a socket")
            server.bind(address)
        else:
            address = f"@emperor-test-{os.getpid()}"
            server.bind("\0" + address[1:])
        assert act(tmp_path, f"wait_for_socket:{address}", seconds=0.2) == 124
        server.listen()
        assert act(tmp_path, f"wait_for_socket:{address}") == 0


@pytest.mark.skipif(not unshares("--uts"), reason="no uts namespace of our own")
def test_a_host_name_for_the_vassal_alone(tmp_path: Path) -> None:
    before = os.uname().nodename
    done = launch(
        tmp_path,
        ("hook-as-vassal", "hostname:vassal.example.org"),
        program=["sh", "-c", "uname -n", "sh"],
        prefix=["unshare", "--uts"],
    )
    assert os.uname().nodename == before
    assert done.stdout == "vassal.example.org\n"


@pytest.mark.skipif(not unshares("--mount"), reason="no mount namespace of our own")
def test_mounts_for_the_vassal_alone(tmp_path: Path) -> None:
    for name in ("source", "bound", "fresh"):
        (tmp_path / name).mkdir()
    (tmp_path / "source" / "file").write_text("content\n")
    script = "cat bound/file; touch bound/x 2>/dev/null || echo read-only; stat -fc %T fresh"
    done = launch(
        tmp_path,
        ("hook-as-vassal", "mount:none none / rec,private"),
        ("mount-as-vassal", f"none {tmp_path}/source bound bind,ro"),
        ("mount-as-vassal", "tmpfs none fresh nosuid,noexec size=1m,mode=700"),
        ("mount-as-vassal", "tmpfs none source"),
        ("umount-as-vassal", "source rec,detach"),
        program=["sh", "-c", script, "sh"],
        prefix=["unshare", "--mount"],
    )
    assert done.stderr.count("running") == 5
    assert done.stdout.splitlines() == ["content", "read-only", "tmpfs"]
    assert os.listdir(tmp_path / "bound") == []


# -- under the guardian ----------------------------------------------------------------------


@dataclass
class GuardedSpawner:
    """A guardian as hooks see it."""

    guardian: Guardian = field(init=False)
    wishes: dict[int, tuple[Callable[[int], None], Callable[[str], None]]] = field(
        default_factory=dict
    )
    ends: dict[int, Callable[[int], None]] = field(default_factory=dict)
    on_exited: dict[int, Callable[[int], None]] = field(default_factory=dict)
    started: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    output: int = 1

    def spawn(
        self,
        *,
        argv: Sequence[str],
        environment: Mapping[str, str],
        cwd: str,
        descriptors: Mapping[int, int],
        on_spawned: Callable[[int], None],
        on_failed: Callable[[str], None],
        on_exited: Callable[[int], None],
    ) -> None:
        number = self.guardian.spawn(
            argv=argv, env=environment, cwd=cwd, descriptors={1: self.output, **descriptors}
        )
        self.wishes[number] = (on_spawned, on_failed)
        self.ends[number] = on_exited

    def signal(self, pid: int, signum: int, *, is_for_group: bool) -> None:
        self.guardian.signal(pid, signum, group=is_for_group)

    def take(self, report: Report) -> None:
        match report:
            case Spawned(request_id=number, pid=pid):
                self.started.put_nowait(pid)
                self.on_exited[pid] = self.ends.pop(number)
                self.wishes.pop(number)[0](pid)
            case Failed(request_id=number, message=message):
                self.wishes.pop(number)[1](message)
            case Exited(pid=pid, status=status):
                self.on_exited.pop(pid)(status)


@dataclass
class Guarded:
    """Hooks over a real guardian; ``said`` are the warnings, ``started`` the pids."""

    hooks: Hooks
    idle: asyncio.Event
    said: list[str]
    started: asyncio.Queue[int]
    output: int

    async def rest(self) -> list[str]:
        """Wait until all is done; gives what the hooks wrote."""
        await asyncio.wait_for(self.idle.wait(), DEADLINE_SECONDS)
        size = os.fstat(self.output).st_size
        return os.pread(self.output, size, 0).decode().splitlines()


@contextlib.asynccontextmanager
async def guarded(
    *hooks: tuple[str, str], timeout_seconds: float = 10.0
) -> AsyncIterator[Guarded]:
    """Hooks that run for real; everything is gone afterwards."""
    output = os.memfd_create("output")
    # as a log: each writes behind what is there
    appending = os.open(f"/proc/self/fd/{output}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    spawner = GuardedSpawner(output=appending)
    spawner.guardian = Guardian.start(on_report=spawner.take, on_death=lambda status: None)
    idle = asyncio.Event()
    said: list[str] = []

    def log(level: int, vassal: str, message: str) -> None:
        if level > 20:
            said.append(f"{vassal}: {message}")

    try:
        yield Guarded(
            Hooks(
                emperor_hooks(hooks),
                spawner=spawner,
                environment={"PATH": PATH},
                timeout_seconds=timeout_seconds,
                log=log,
                on_idle=idle.set,
            ),
            idle,
            said,
            spawner.started,
            output,
        )
    finally:
        await asyncio.wait_for(spawner.guardian.close(), DEADLINE_SECONDS)
        os.close(appending)
        os.close(output)


def test_the_emperors_hooks_know_the_vassal_and_run_in_its_directory(tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    stop.write_text('#!/bin/sh\necho "stop $# $1 $UWSGI_VASSAL_CONFIG"\n')
    stop.chmod(0o755)

    async def scenario() -> None:
        async with guarded(
            (
                "exec-as-emperor",
                'echo "$UWSGI_VASSAL_CONFIG $UWSGI_VASSAL_PID $UWSGI_VASSAL_UID"',
            ),
            ("hook-as-emperor", 'exec:echo "$UWSGI_VASSAL_GID $UWSGI_VASSALS_DIR"; pwd'),
            ("hook-as-emperor", "write:made by a hook"),
            ("hook-as-emperor", "exec:cat; exit 4"),
            ("vassals-stop-hook", str(stop)),
        ) as stage:
            for moment in ("as-emperor", "stop"):
                stage.hooks.run(
                    moment,
                    vassal="it's.ini",
                    config="it's.ini",
                    directory=str(tmp_path),
                    pid=4711,
                    uid=8,
                    gid=9,
                )
            assert await stage.rest() == [
                f"9 {tmp_path}",
                str(tmp_path),
                "it's.ini 4711 8",
                "stop 1 it's.ini it's.ini",
            ]
            assert stage.said == [
                'it\'s.ini: "hook-as-emperor = exec:cat; exit 4" exited with 4'
            ]
        assert (tmp_path / "made").read_text() == "by a hook"

    asyncio.run(scenario())


def test_a_hook_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with guarded(
            ("exec-as-emperor", "sleep 100 & echo up; sleep 100"),
            ("exec-as-emperor", "echo next"),
            timeout_seconds=1.0,
        ) as stage:
            begin = time.monotonic()
            stage.hooks.run("as-emperor", config="a.ini", directory=str(tmp_path))
            assert await stage.rest() == ["up", "next"]
            assert time.monotonic() - begin < DEADLINE_SECONDS / 2
            (warning,) = stage.said
            assert "takes more than 1 seconds: killing it" in warning

    asyncio.run(scenario())


def test_a_stop_hook_runs_when_the_directory_is_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with guarded(("vassals-stop-hook", "/bin/echo")) as stage:
            stage.hooks.run("stop", config="a.ini", directory=str(tmp_path / "gone"))
            assert await stage.rest() == ["a.ini"]
            assert stage.said == []

    asyncio.run(scenario())


def test_many_vassals_have_their_hooks_side_by_side(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with guarded(
            ("hook-as-emperor", "exec:echo first"), ("hook-as-emperor", "exec:echo second")
        ) as stage:
            for number in range(40):
                stage.hooks.run(
                    "as-emperor", vassal=f"{number}", config="x", directory=str(tmp_path)
                )
            said = await stage.rest()
            assert (said.count("first"), said.count("second")) == (40, 40)

    asyncio.run(scenario())


def test_hooks_die_with_the_daemon(tmp_path: Path) -> None:
    async def scenario() -> int:
        async with guarded(("hook-emperor-start", "exec:exec sleep 100")) as stage:
            stage.hooks.run("emperor-start", config="", directory=str(tmp_path))
            return await asyncio.wait_for(stage.started.get(), DEADLINE_SECONDS)

    pid = asyncio.run(scenario())
    assert not os.path.exists(f"/proc/{pid}")
