"""Vassals that are other users' processes: a guardian without CAP_KILL ends them, too."""

import asyncio
import contextlib
import logging
import os
import select
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.guardian_court import (
    DEADLINE_SECONDS,
    Court,
    Lifeline,
    court,
    exists,
    no_descriptor_leaks,
)
from tests.support.lesser import (
    CHAIN,
    REDUCED,
    TENANT,
    capability_sets,
    status_fields,
    told_by_child,
)
from tests.support.marks import needs_root

from emperor.runtime.guardian.children import become_subreaper, children, reap_all
from emperor.runtime.guardian.groups import kill_group
from emperor.runtime.guardian.lingering import Lingering
from emperor.runtime.guardian.messages import Failed
from emperor.runtime.guardian.orphans import Orphans
from emperor.runtime.processes import Processes
from emperor.runtime.tenants.privileges import Identity, drop

pytestmark = [pytest.mark.process, needs_root]

#: Three processes in one group that do not mind SIGTERM; each is announced on descriptor 3.
STUBBORN = """
trap "" TERM
sleep 1000 & echo $! >&3
sleep 1000 & echo $! >&3
echo $$ >&3
wait
"""
SHELL = ["/bin/sh", "-c"]
TENANTS = [*CHAIN, *SHELL, STUBBORN]
PATH = {"PATH": "/usr/bin:/bin"}

NAMESPACE = "unshare --pid --fork --kill-child --".split()
POLITE = 'trap "exit 7" TERM; sleep 1000 & echo $$ >&3; wait'
#: An Emperor that may make namespaces, too.
ARCHITECT = replace(REDUCED, capabilities=(*REDUCED.capabilities, 21))


@contextlib.asynccontextmanager
async def audience(identity: Identity | None) -> AsyncIterator[tuple[Court, Lifeline]]:
    """A guardian that became a lesser user, and a lifeline that nobody holds afterwards."""
    with Lifeline() as lifeline:
        async with court() as session:
            if identity is not None:
                session.guardian.become(identity)
            yield session, lifeline
        assert lifeline.ends_within(3.0)


async def spawned(session: Court, lifeline: Lifeline, argv: list[str], **request: Any) -> int:
    """The pid of a process that has begun; its group has told ``announced`` pids."""
    announced = request.pop("announced", 3)
    session.guardian.spawn(argv=argv, env=PATH, descriptors={3: lifeline.write}, **request)
    pid = await session.spawned()
    lifeline.announced(announced)
    return pid


async def has_listened(session: Court) -> None:
    """Wait until the guardian has carried out what it was asked for before."""
    session.guardian.spawn(argv=["/nowhere"], env={})
    assert isinstance(await session.report(), Failed)


# Signals


@pytest.mark.parametrize("identity", [None, REDUCED])
def test_a_group_of_a_tenants_is_killed(identity: Identity | None) -> None:
    async def scenario() -> None:
        async with audience(identity) as (session, lifeline):
            pid = await spawned(session, lifeline, TENANTS, owner=TENANT)
            pids = lifeline.announced(3)
            session.guardian.signal(pid, signal.SIGTERM, group=True)
            await has_listened(session)
            assert all(map(exists, pids))
            session.guardian.signal(pid, signal.SIGKILL, group=True)
            assert await session.exited() == (pid, -signal.SIGKILL)
            assert not any(map(exists, pids))

    with no_descriptor_leaks():
        asyncio.run(scenario())


def test_a_tenants_main_process_is_signalled_and_its_group_dies_with_it() -> None:
    async def scenario() -> None:
        async with audience(REDUCED) as (session, lifeline):
            pid = await spawned(session, lifeline, TENANTS, owner=TENANT)
            session.guardian.signal(pid, signal.SIGUSR1)
            assert await session.exited() == (pid, -signal.SIGUSR1)
            assert not any(map(exists, lifeline.announced(3)))

    asyncio.run(scenario())


def test_a_tenant_dies_with_the_daemon() -> None:
    async def scenario() -> None:
        async with audience(REDUCED) as (session, lifeline):
            await spawned(session, lifeline, TENANTS, owner=TENANT)
            began = time.monotonic()
            assert await session.guardian.close() == 0
            assert time.monotonic() - began < 3.0
            assert not any(map(exists, lifeline.announced(3)))

    asyncio.run(scenario())


def test_who_left_a_tenants_session_dies_with_the_daemon() -> None:
    leaves = "setsid /bin/sh -c 'echo $$ >&3; exec sleep 1000' & wait"

    async def scenario() -> None:
        async with audience(REDUCED) as (session, lifeline):
            argv = [*CHAIN, *SHELL, leaves]
            pid = await spawned(session, lifeline, argv, owner=TENANT, announced=1)
            session.guardian.signal(pid, signal.SIGKILL, group=True)
            assert await session.exited() == (pid, -signal.SIGKILL)
            assert all(map(exists, lifeline.announced(1)))

    asyncio.run(scenario())


def test_nobody_says_whose_it_is_and_it_is_not_reached() -> None:
    async def scenario() -> None:
        async with audience(REDUCED) as (session, lifeline):
            pid = await spawned(session, lifeline, TENANTS)
            session.guardian.signal(pid, signal.SIGKILL, group=True)
            session.guardian.signal(pid, signal.SIGUSR1)
            await has_listened(session)
            assert all(map(exists, lifeline.announced(3)))
            os.killpg(pid, signal.SIGKILL)
            assert await session.exited() == (pid, -signal.SIGKILL)

    asyncio.run(scenario())


def test_a_vassal_is_reached_in_the_middle_of_the_change() -> None:
    count = 40

    async def scenario() -> None:
        async with audience(REDUCED) as (session, lifeline):
            for _ in range(count):
                session.guardian.spawn(
                    argv=TENANTS, env=PATH, descriptors={3: lifeline.write}, owner=TENANT
                )
                pid = await session.spawned()
                session.guardian.signal(pid, signal.SIGKILL, group=True)
                assert await session.exited() == (pid, -signal.SIGKILL)

    asyncio.run(scenario())


def test_the_guardian_stays_itself() -> None:
    async def scenario() -> None:
        async with audience(REDUCED) as (session, lifeline):
            pid = await spawned(session, lifeline, TENANTS, owner=TENANT)
            session.guardian.signal(pid, signal.SIGTERM, group=True)
            await has_listened(session)
            status = status_of(session.guardian.pid)
            assert status["Uid"].split() == ["20001"] * 4
            assert set(capability_sets(status).values()) == {0xC0}
            assert not can_be_signalled_by_a_tenant(session.guardian.pid)
            assert can_be_signalled_by_a_tenant(pid)

    asyncio.run(scenario())


def status_of(pid: int) -> dict[str, str]:
    return status_fields(Path(f"/proc/{pid}/status").read_text())


def can_be_signalled_by_a_tenant(pid: int) -> bool:
    command = [*CHAIN, *SHELL, f"kill -0 {pid}"]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


def test_the_first_tool_is_looked_up_on_the_guardians_own_path(tmp_path: Path) -> None:
    impostor = tmp_path / "setpriv"
    impostor.write_text("#!/bin/sh\nexit 66\n")
    impostor.chmod(0o755)

    async def scenario() -> None:
        async with court() as session:
            for owner, status in ((None, 66), (TENANT, 0)):
                session.guardian.spawn(
                    argv=[*CHAIN, "/bin/sh", "-c", "exit 0"],
                    env={"PATH": str(tmp_path)},
                    cwd=str(tmp_path),
                    owner=owner,
                )
                pid = await session.spawned()
                assert await session.exited() == (pid, status)

    asyncio.run(scenario())


# Wrappers


@pytest.mark.parametrize(
    ("identity", "argv", "owner"),
    [
        (None, [*NAMESPACE, *SHELL, POLITE], None),
        (None, [*NAMESPACE, *CHAIN, *SHELL, POLITE], TENANT),
        (ARCHITECT, [*NAMESPACE, *CHAIN, *SHELL, POLITE], TENANT),
    ],
)
def test_a_signal_goes_through_a_wrapper_and_the_exit_code_comes_back(
    identity: Identity | None, argv: list[str], owner: int | None
) -> None:
    async def scenario() -> None:
        async with audience(identity) as (session, lifeline):
            request: dict[str, Any] = {"owner": owner, "announced": 1}
            pid = await spawned(session, lifeline, argv, forks=True, **request)
            session.guardian.signal(pid, signal.SIGTERM)
            assert await session.exited() == (pid, 7)

    with no_descriptor_leaks():
        asyncio.run(scenario())


def test_a_wrapper_that_nobody_knows_of_keeps_the_signal_to_itself() -> None:
    async def scenario() -> None:
        async with audience(None) as (session, lifeline):
            argv = [*NAMESPACE, *SHELL, POLITE]
            pid = await spawned(session, lifeline, argv, announced=1)
            session.guardian.signal(pid, signal.SIGTERM)
            await has_listened(session)
            assert exists(pid)

    asyncio.run(scenario())


@pytest.mark.parametrize("group", [True, False])
def test_a_wrapper_is_killed_with_what_is_in_it(group: bool) -> None:
    async def scenario() -> None:
        async with audience(ARCHITECT) as (session, lifeline):
            argv = [*NAMESPACE, *CHAIN, *SHELL, POLITE]
            pid = await spawned(session, lifeline, argv, owner=TENANT, forks=True, announced=1)
            session.guardian.signal(pid, signal.SIGKILL, group=group)
            assert await session.exited() == (pid, -signal.SIGKILL)
            assert lifeline.ends_within(0.0)

    asyncio.run(scenario())


# What outlives a guardian


def begun(lifeline: Lifeline, argv: list[str], *, announced: int) -> int:
    """The pid of a child of ours that leads a session, and has begun."""
    to_three = (os.POSIX_SPAWN_DUP2, lifeline.write, 3)
    pid = os.posix_spawnp(argv[0], argv, PATH, file_actions=[to_three], setsid=True)
    lifeline.announced(announced)
    return pid


@contextlib.contextmanager
def foundling(lifeline: Lifeline, argv: list[str], *, announced: int = 3) -> Iterator[int]:
    """A tenant's process that no guardian has started; killed and reaped afterwards."""
    pid = begun(lifeline, argv, announced=announced)
    try:
        yield pid
    finally:
        kill_group(pid, TENANT)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


@pytest.mark.parametrize(("owner", "has_read"), [(TENANT, True), (TENANT, False), (None, True)])
def test_adopted_tenants_die_with_the_daemon(owner: int | None, has_read: bool) -> None:
    async def scenario(adopted: int) -> None:
        async with court() as session:
            session.guardian.become(REDUCED)
            await has_listened(session)
            session.guardian.adopt(adopted, owner)
            if has_read:
                await has_listened(session)

    with Lifeline() as lifeline, foundling(lifeline, TENANTS) as adopted:
        asyncio.run(scenario(adopted))
        assert lifeline.ends_within(3.0 if owner else 0.0) is (owner is not None)


def test_what_lingers_of_a_tenants_group_is_killed() -> None:
    def scenario() -> list[Any]:
        become_subreaper()
        drop(REDUCED)
        with Lifeline() as lifeline:
            leaves = [*CHAIN, *SHELL, "sleep 1000 & echo $! >&3"]
            pid = begun(lifeline, leaves, announced=1)
            os.waitpid(pid, 0)
            lingering = Lingering()
            lingering.add(pid, 3, time.monotonic(), TENANT)
            first = lingering.settle([pid])
            is_dead = lifeline.ends_within(DEADLINE_SECONDS)
            while is_dead and reap_all():
                select.select([], [], [], 0.001)
            return [first, is_dead, lingering.settle([pid]) == [(pid, 3)]]

    assert told_by_child(scenario) == [[], True, True]


@pytest.mark.parametrize("group", [True, False])
def test_an_orphan_of_a_tenants_is_killed(group: bool) -> None:
    async def seen(lifeline: Lifeline) -> list[Any]:
        told: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        orphans = Orphans(on_exited=lambda *end: told.put_nowait(end), own=tuple)
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, orphans.sweep)
        pid = begun(lifeline, TENANTS, announced=3)
        orphans.watch(pid, owner=TENANT)
        orphans.signal(pid, signal.SIGKILL, group=group)
        end = await asyncio.wait_for(told.get(), DEADLINE_SECONDS)
        orphans.close()
        return [end == (pid, -signal.SIGKILL), any(map(exists, lifeline.announced(3)))]

    def scenario() -> list[Any]:
        become_subreaper()
        drop(REDUCED)
        with Lifeline() as lifeline:
            return asyncio.run(seen(lifeline))

    assert told_by_child(scenario) == [True, False]


class _Heard(logging.Handler):
    """Whether anything was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.event = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.event.set()


def test_a_tenants_vassal_whose_guardian_died_is_killed_all_the_same() -> None:
    async def seen(lifeline: Lifeline) -> int:
        processes = Processes(own=tuple)
        (guardian,) = children()
        processes.become(REDUCED)
        drop(REDUCED)
        started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        processes.spawn(
            argv=TENANTS,
            environment=PATH,
            cwd="/",
            descriptors={3: lifeline.write},
            on_spawned=started.set_result,
            on_failed=lambda text: started.set_exception(AssertionError(text)),
            on_exited=ended.set_result,
            owner=TENANT,
        )
        pid = await asyncio.wait_for(started, DEADLINE_SECONDS)
        lifeline.announced(3)
        logging.getLogger("emperor").addHandler(heard := _Heard())
        os.kill(guardian, signal.SIGKILL)
        await asyncio.wait_for(heard.event.wait(), DEADLINE_SECONDS)
        processes.signal(pid, signal.SIGKILL, is_for_group=True)
        status = await asyncio.wait_for(ended, DEADLINE_SECONDS)
        await processes.close()
        return status

    def scenario() -> list[Any]:
        become_subreaper()
        with Lifeline() as lifeline:
            return [asyncio.run(seen(lifeline)), lifeline.ends_within(0.0)]

    assert told_by_child(scenario) == [-signal.SIGKILL, True]


def test_of_tenants_strays_only_what_a_compile_worker_left_is_killed() -> None:
    async def seen() -> list[bool]:
        processes = Processes(own=tuple)
        drop(REDUCED)
        sleeper = [*SHELL, "echo $$ >&3; exec sleep 1000"]
        bound = [*CHAIN[:-1], "--no-new-privs", "--", *sleeper]
        with (
            Lifeline() as workers,
            Lifeline() as vassals,
            foundling(workers, bound, announced=1) as worker,
            foundling(vassals, [*CHAIN, *sleeper], announced=1),
        ):
            is_dead = asyncio.Event()
            asyncio.get_running_loop().add_reader(os.pidfd_open(worker), is_dead.set)
            os.kill(os.getpid(), signal.SIGCHLD)
            await asyncio.wait_for(is_dead.wait(), DEADLINE_SECONDS)
            told = [workers.ends_within(0.0), vassals.ends_within(0.0)]
        await processes.close()
        return told

    assert told_by_child(lambda: asyncio.run(seen())) == [True, False]
