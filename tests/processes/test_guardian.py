"""The guardian starts real processes, tells how they end, and leaves none behind."""

import asyncio
import contextlib
import errno
import json
import os
import re
import resource
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.guardian_court import (
    DEADLINE_SECONDS,
    Court,
    Lifeline,
    compile_child,
    court,
    exists,
    no_descriptor_leaks,
)

from emperor.runtime.guardian.messages import Adopt, Failed, Spawn, Spawned
from emperor.runtime.guardian.orphans import UNKNOWN_STATUS, Orphans

pytestmark = pytest.mark.process

DAEMON = Path(__file__).parents[1] / "support" / "guardian_daemon.py"


@pytest.fixture(scope="session")
def child(tmp_path_factory: pytest.TempPathFactory) -> str:
    program = compile_child(str(tmp_path_factory.mktemp("guardian")))
    if program is None:
        pytest.skip("no C compiler on PATH")
    return program


@contextlib.asynccontextmanager
async def audience(*, soft_nofile: int | None = None) -> AsyncIterator[tuple[Court, Lifeline]]:
    """A guardian and a lifeline; afterwards nobody holds the line any more."""
    with Lifeline() as lifeline:
        async with court(soft_nofile=soft_nofile) as session:
            yield session, lifeline
        assert lifeline.ends_within(0.0)


def test_a_program_runs_and_its_end_is_told(child: str) -> None:
    async def scenario() -> None:
        async with audience() as (session, _):
            request_id = session.guardian.spawn(argv=[child, "exit", "22"], env={})
            report = await session.report()
            assert isinstance(report, Spawned)
            assert report.request_id == request_id
            assert await session.exited() == (report.pid, 22)
            assert not exists(report.pid)

    with no_descriptor_leaks():
        asyncio.run(scenario())


def output_of(argv: list[str], *, soft_nofile: int | None = None, **request: Any) -> str:
    """What a program writes to its standard output, started by a guardian."""

    async def scenario() -> str:
        async with court(soft_nofile=soft_nofile) as session:
            output = os.memfd_create("output")
            try:
                descriptors = {1: output, **request.pop("descriptors", {})}
                env = request.pop("env", {"PATH": "/usr/bin:/bin"})
                session.guardian.spawn(argv=argv, env=env, descriptors=descriptors, **request)
                pid = await session.spawned()
                assert await session.exited() == (pid, 0)
                content = os.pread(output, os.fstat(output).st_size, 0)
                return content.decode("utf-8", "surrogateescape")
            finally:
                os.close(output)

    with no_descriptor_leaks():
        return asyncio.run(scenario())


LIST_DESCRIPTORS = """
import os
for number in range(20_000):
    try:
        print(number, os.readlink(f"/proc/self/fd/{number}"))
    except FileNotFoundError:
        pass
"""


def test_descriptors_get_the_numbers_asked_for_and_no_other_leaks(tmp_path: Path) -> None:
    names = [tmp_path / "three", tmp_path / "four"]
    files = [os.open(name, os.O_RDWR | os.O_CREAT) for name in names]
    os.set_inheritable(files[0], True)
    try:
        # crosswise, and onto numbers that the guardian itself was started with
        listing = output_of(
            [sys.executable, "-I", "-S", "-c", LIST_DESCRIPTORS],
            descriptors={4: files[0], 3: files[1], 63: files[0]},
        )
        null, _, _, *others = listing.splitlines()
        assert null == "0 /dev/null"
        assert others == [f"3 {names[1]}", f"4 {names[0]}", f"63 {names[0]}"]
    finally:
        for descriptor in files:
            os.close(descriptor)


def test_standard_input_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("hail")
    words = os.open(tmp_path / "words", os.O_RDONLY)
    try:
        assert output_of(["cat"], descriptors={0: words}) == "hail"
    finally:
        os.close(words)


def test_signals_are_as_a_program_expects_them() -> None:
    status = dict(
        line.split(":\t", 1)
        for line in output_of(["cat", "/proc/self/status"]).splitlines()
        if line.startswith("Sig")
    )
    ours_and_pythons = sum(
        1 << number - 1
        for number in (
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGHUP,
            signal.SIGQUIT,
            signal.SIGPIPE,
            signal.SIGXFSZ,
            signal.SIGCHLD,
        )
    )
    assert int(status["SigIgn"], 16) & ours_and_pythons == 0
    assert int(status["SigBlk"], 16) == 0


def test_it_leads_a_session_in_the_directory_and_with_the_mask_asked_for(
    tmp_path: Path,
) -> None:
    script = "pwd; umask; cut -d' ' -f1,5,6 /proc/$$/stat; touch made"
    where, mask, ids = output_of(
        ["sh", "-c", script], cwd=str(tmp_path), umask=0o027
    ).splitlines()
    assert where == os.path.realpath(tmp_path)
    assert int(mask, 8) == 0o027
    assert len(set(ids.split())) == 1
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o640


def test_directory_and_mask_do_not_outlast_a_spawn(child: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with audience() as (session, _):
            before = guardian_state(session.guardian.pid)
            session.guardian.spawn(argv=[child, "exit"], env={}, cwd="/", umask=0o777)
            session.guardian.spawn(argv=["/nowhere"], env={}, cwd="/", umask=0o777)
            for _ in range(3):
                await session.report()
            assert guardian_state(session.guardian.pid) == before

    asyncio.run(scenario())


def guardian_state(pid: int) -> tuple[str, str]:
    status = Path(f"/proc/{pid}/status").read_text()
    mask = next(line for line in status.splitlines() if line.startswith("Umask"))
    return os.readlink(f"/proc/{pid}/cwd"), mask


def test_the_soft_limit_is_given_back() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limits = output_of(["sh", "-c", "ulimit -Sn; ulimit -Hn"], soft_nofile=321).split()
    assert limits == ["321", str(hard) if hard != resource.RLIM_INFINITY else "unlimited"]


def test_an_environment_of_any_size_and_bytes_arrives() -> None:
    env = {f"VAR_{index}": "x" * 1000 for index in range(300)} | {"ODD": "caf\udce9 ü\n"}
    told = output_of(["/bin/cat", "/proc/self/environ"], env=env)
    assert dict(item.split("=", 1) for item in told.split("\0")[:-1]) == env


def test_a_bare_name_is_found_on_the_path_of_the_request(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "herald"
    program.write_text("#!/bin/sh\necho hail\n")
    program.chmod(0o755)
    for path in (f"/nowhere:{tmp_path}/bin", "bin"):
        assert output_of(["herald"], env={"PATH": path}, cwd=str(tmp_path)) == "hail\n"


@pytest.mark.parametrize(
    ("name", "content", "mode", "number", "message"),
    [
        ("missing", None, 0, errno.ENOENT, "missing: No such file"),
        ("bare", "echo hail\n", 0o755, errno.ENOEXEC, "bare: Exec format error"),
        ("locked", "#!/bin/sh\n", 0o644, errno.EACCES, "locked: Permission denied"),
        ("broken", "#!/nowhere/sh\n", 0o755, errno.ENOENT, "the interpreter of .*broken"),
    ],
)
@pytest.mark.parametrize("by_path", [True, False])
def test_a_program_that_cannot_be_started_is_told(
    tmp_path: Path,
    name: str,
    content: str | None,
    mode: int,
    number: int,
    message: str,
    by_path: bool,
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(mode)
    failed = refusal(
        argv=[name if by_path else str(tmp_path / name)], env={"PATH": str(tmp_path)}
    )
    assert failed.errno == number
    assert re.search(message, failed.message)


@pytest.mark.parametrize(
    ("request_", "number"),
    [
        ({"argv": []}, errno.EINVAL),
        ({"argv": [""]}, errno.ENOENT),
        ({"argv": ["/bin/true", "a\0b"]}, errno.EINVAL),
        ({"argv": ["/bin/true"], "env": {"A=B": "C"}}, errno.EINVAL),
        ({"argv": ["/bin/true"], "cwd": "/nowhere"}, errno.ENOENT),
        ({"argv": ["/bin/true", "x" * 200_000]}, errno.E2BIG),
        ({"argv": ["/"]}, errno.EACCES),
    ],
)
def test_a_request_that_cannot_be_met_is_told(request_: dict[str, Any], number: int) -> None:
    assert refusal(**{"env": {}, **request_}).errno == number


def refusal(**request: Any) -> Failed:
    async def scenario() -> Failed:
        async with court() as session:
            request_id = session.guardian.spawn(**request)
            report = await session.report()
            assert isinstance(report, Failed), report
            assert report.request_id == request_id
            return report

    return asyncio.run(scenario())


def test_signals_reach_the_process_or_its_group(child: str) -> None:
    async def scenario() -> None:
        async with audience() as (session, lifeline):
            for mode in (["idle"], ["workers", "2"]):
                session.guardian.spawn(
                    argv=[child, *mode], env={}, descriptors={3: lifeline.write}
                )
            idle, workers = await session.spawned(), await session.spawned()
            lifeline.announced(4)
            session.guardian.signal(idle, signal.SIGTERM)
            assert await session.exited() == (idle, -signal.SIGTERM)
            session.guardian.signal(idle, signal.SIGTERM)  # gone: nothing happens
            session.guardian.signal(os.getpid(), signal.SIGTERM)  # not a vassal
            session.guardian.signal(workers, signal.SIGUSR1, group=True)
            assert await session.exited() == (workers, -signal.SIGUSR1)

    asyncio.run(scenario())


def test_signals_to_a_wrapper_are_for_its_child() -> None:
    polite = 'trap "exit 7" TERM; echo $$ >&3; sleep 1000 & wait'

    async def scenario() -> None:
        async with audience() as (session, lifeline):
            for forks, status in ((True, 7), (False, -signal.SIGTERM)):
                session.guardian.spawn(
                    argv=["/bin/sh", "-c", f"/bin/sh -c '{polite}' & wait $!"],
                    env={"PATH": "/usr/bin:/bin"},
                    descriptors={3: lifeline.write},
                    forks=forks,
                )
                pid = await session.spawned()
                lifeline.announced(1 if forks else 2)
                session.guardian.signal(pid, signal.SIGTERM)
                assert await session.exited() == (pid, status)

    with no_descriptor_leaks():
        asyncio.run(scenario())


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_wrapper_without_a_child_is_signalled_itself(
    child: str, signum: signal.Signals
) -> None:
    async def scenario() -> None:
        async with audience() as (session, lifeline):
            session.guardian.spawn(
                argv=[child], env={}, descriptors={3: lifeline.write}, forks=True
            )
            pid = await session.spawned()
            lifeline.announced(1)
            session.guardian.signal(pid, signum)
            assert await session.exited() == (pid, -signum)

    asyncio.run(scenario())


@pytest.mark.parametrize("owner", [0, -1])
def test_nobody_is_signalled_as_root(owner: int) -> None:
    with pytest.raises(ValueError, match="no tenant"):
        Spawn(request_id=1, argv=("true",), env={}, owner=owner)
    with pytest.raises(ValueError, match="no tenant"):
        Adopt(pid=1, owner=owner)


def test_the_group_is_dead_before_the_end_is_told(child: str) -> None:
    async def scenario() -> None:
        async with audience() as (session, lifeline):
            session.guardian.spawn(
                argv=[child, "workers", "40"], env={}, descriptors={3: lifeline.write}
            )
            pid = await session.spawned()
            pids = lifeline.announced(41)
            os.kill(pid, signal.SIGTERM)
            assert await session.exited() == (pid, -signal.SIGTERM)
            assert [left for left in pids if exists(left)] == []

    asyncio.run(scenario())


def test_who_leaves_the_session_lives_until_the_daemon_goes(child: str) -> None:
    async def scenario() -> None:
        async with audience() as (session, lifeline):
            session.guardian.spawn(
                argv=[child, "stray"], env={}, descriptors={3: lifeline.write}
            )
            pid = await session.spawned()
            (stray,) = set(lifeline.announced(2)) - {pid}
            os.kill(pid, signal.SIGKILL)
            assert await session.exited() == (pid, -signal.SIGKILL)
            assert not lifeline.ends_within(0.0)
            await session.guardian.close()
            assert lifeline.ends_within(0.0)
            assert not exists(stray)

    asyncio.run(scenario())


def test_a_zombie_that_nobody_buries_does_not_hold_up_the_report(child: str) -> None:
    async def scenario() -> None:
        async with audience() as (session, lifeline):
            session.guardian.spawn(
                argv=[child, "careless"], env={}, descriptors={3: lifeline.write}
            )
            pid = await session.spawned()
            lifeline.announced(3)
            os.kill(pid, signal.SIGKILL)
            assert await session.exited() == (pid, -signal.SIGKILL)

    asyncio.run(scenario())


def test_no_report_is_lost_when_the_daemon_reads_slowly(child: str) -> None:
    count = 700  # more than the socket holds

    async def scenario() -> None:
        async with audience() as (session, lifeline):
            for _ in range(count):
                session.guardian.spawn(argv=[child], env={}, descriptors={3: lifeline.write})
            pids = [await session.spawned() for _ in range(count)]
            assert session.guardian.backlog == 0
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            assert lifeline.ends_within(DEADLINE_SECONDS)  # while the loop stands still
            ends = [await session.exited() for _ in range(count)]
            assert sorted(ends) == sorted((pid, -signal.SIGKILL) for pid in pids)

    with no_descriptor_leaks():
        asyncio.run(scenario())


def test_a_daemon_that_leaves_in_the_middle_of_it_leaves_nothing(child: str) -> None:
    async def scenario() -> None:
        async with audience() as (session, lifeline):
            for _ in range(700):
                session.guardian.spawn(argv=[child], env={}, descriptors={3: lifeline.write})
            assert session.guardian.backlog > 0
            await session.spawned()

    with no_descriptor_leaks():
        asyncio.run(scenario())


def test_only_the_end_of_the_daemon_makes_it_leave(child: str) -> None:
    async def scenario() -> None:
        async with audience() as (session, lifeline):
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
                os.kill(session.guardian.pid, number)
            session.guardian.spawn(argv=[child], env={}, descriptors={3: lifeline.write})
            await session.spawned()
            assert os.getsid(session.guardian.pid) == session.guardian.pid
            assert await session.guardian.close() == 0
            assert session.deaths.empty()

    asyncio.run(scenario())


def test_its_death_is_told_after_its_last_report(child: str) -> None:
    async def scenario() -> None:
        async with court() as session:
            session.guardian.spawn(argv=[child, "exit"], env={})
            await session.spawned()
            await session.exited()
            os.kill(session.guardian.pid, signal.SIGKILL)
            session.guardian.signal(1, 0)  # to nobody
            assert await session.death() == -signal.SIGKILL
            session.guardian.spawn(argv=[child, "exit"], env={})
            assert session.reports.empty()

    with no_descriptor_leaks():
        asyncio.run(scenario())


@contextlib.contextmanager
def foundling(child: str) -> Iterator[tuple[int, Lifeline]]:
    """A vassal that no guardian of ours has started; killed and reaped afterwards."""
    with Lifeline() as lifeline:
        to_three = (os.POSIX_SPAWN_DUP2, lifeline.write, 3)
        pid = os.posix_spawn(child, [child], {}, file_actions=[to_three], setsid=True)
        try:
            lifeline.announced(1)
            yield pid, lifeline
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@pytest.mark.parametrize("has_read", [True, False])
def test_adopted_vassals_die_with_the_daemon(child: str, has_read: bool) -> None:
    async def scenario(adopted: int, forgotten: int) -> None:
        async with court() as session:
            session.guardian.adopt(forgotten)
            session.guardian.adopt(adopted)
            session.guardian.forget(forgotten)
            if has_read:
                session.guardian.spawn(argv=[child, "exit"], env={})
                await session.spawned()

    with foundling(child) as (adopted, line), foundling(child) as (forgotten, other_line):
        asyncio.run(scenario(adopted, forgotten))
        assert line.ends_within(3.0)
        assert not other_line.ends_within(0.0)


def test_an_orphan_that_was_reaped_unseen_is_reported(child: str) -> None:
    pid = os.posix_spawn(child, [child, "exit"], {}, setsid=True)
    os.waitpid(pid, 0)

    async def scenario() -> None:
        told: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        orphans = Orphans(on_exited=lambda *end: told.put_nowait(end), own=tuple)
        orphans.watch(pid)
        assert await asyncio.wait_for(told.get(), DEADLINE_SECONDS) == (pid, UNKNOWN_STATUS)
        orphans.close()

    with no_descriptor_leaks():
        asyncio.run(scenario())


def test_impossible_requests_are_refused_at_once() -> None:
    async def scenario() -> None:
        async with court() as session:
            with pytest.raises(ValueError, match="descriptor number"):
                session.guardian.spawn(argv=["true"], env={}, descriptors={64: 0})
            with pytest.raises(OSError, match="Bad file descriptor"):
                session.guardian.spawn(argv=["true"], env={}, descriptors={3: 10**6})

    asyncio.run(scenario())


class Reign:
    """The daemon as a process of its own, and what it says."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        assert process.stdout is not None
        self._output = process.stdout.fileno()
        self._text = b""

    def event(self, name: str) -> list[int]:
        """The rest of the next event of that name; TimeoutError if none comes."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            line, newline, self._text = self._text.partition(b"\n")
            if not newline:
                self._text = line
                self._read(deadline)
                continue
            said, *values = json.loads(line)
            if said == name:
                return list(values)

    def _read(self, deadline: float) -> None:
        left = max(0.0, deadline - time.monotonic())
        if not select.select([self._output], [], [], left)[0]:
            raise TimeoutError(f"after {self._text!r}")
        chunk = os.read(self._output, 65_536)
        if not chunk:
            raise EOFError(f"after {self._text!r}")
        self._text += chunk


@contextlib.contextmanager
def reign(child: str, lifeline: Lifeline, *modes: str) -> Iterator[Reign]:
    """A daemon with one vassal a mode, killed at the end if it is still there."""
    with subprocess.Popen(
        [sys.executable, str(DAEMON), str(lifeline.write), child, *modes],
        stdout=subprocess.PIPE,
        pass_fds=[lifeline.write],
    ) as process:
        try:
            yield Reign(process)
        finally:
            process.kill()


@contextlib.contextmanager
def gone_within(pid: int, seconds: float) -> Iterator[None]:
    """Fail unless the process ends in that time from the end of the block."""
    pidfd = os.pidfd_open(pid)
    try:
        yield
        assert select.select([pidfd], [], [], seconds)[0]
    finally:
        os.close(pidfd)


def test_when_the_daemon_is_killed_all_its_vassals_die(child: str) -> None:
    modes = ["busy", "workers 3", "stray", *["idle"] * 47]
    with Lifeline() as lifeline, reign(child, lifeline, *modes) as daemon:
        (guardian,) = daemon.event("guardian")
        pids = lifeline.announced(54)
        with gone_within(guardian, 3.0):
            os.kill(daemon.pid, signal.SIGKILL)
            assert lifeline.ends_within(3.0)
        assert [pid for pid in pids if exists(pid)] == []


def test_when_the_guardian_is_killed_its_vassals_live_and_are_adopted(child: str) -> None:
    with Lifeline() as lifeline, reign(child, lifeline, "workers 3", "idle", "busy") as daemon:
        (first,) = daemon.event("guardian")
        workers, idle, busy = (daemon.event("spawned")[0] for _ in range(3))
        pids = lifeline.announced(6)
        os.kill(first, signal.SIGKILL)
        (second,) = daemon.event("guardian")
        assert daemon.event("replaced") == [-signal.SIGKILL]
        assert [pid for pid in pids if not exists(pid)] == []

        os.kill(workers, signal.SIGKILL)
        assert daemon.event("exited") == [workers, -signal.SIGKILL]
        assert sorted(pid for pid in pids if exists(pid)) == sorted((idle, busy))

        with gone_within(second, 3.0):
            os.kill(daemon.pid, signal.SIGKILL)
            assert lifeline.ends_within(3.0)


def test_adopted_vassals_outlive_a_second_guardian(child: str) -> None:
    with Lifeline() as lifeline, reign(child, lifeline, "idle") as daemon:
        (guardian,) = daemon.event("guardian")
        (pid,) = daemon.event("spawned")
        lifeline.announced(1)
        for _ in range(2):
            os.kill(guardian, signal.SIGKILL)
            (guardian,) = daemon.event("guardian")
            daemon.event("replaced")
        os.kill(pid, signal.SIGTERM)
        assert daemon.event("exited") == [pid, -signal.SIGTERM]
        assert not exists(pid)
