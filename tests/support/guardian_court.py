"""What the guardian's tests share: the children's program, their lifeline, awaited reports."""

import asyncio
import contextlib
import os
import select
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Self

from emperor.runtime.guardian.client import Guardian
from emperor.runtime.guardian.messages import Exited, Report, Spawned

DEADLINE_SECONDS = 10.0
SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "guardian_child.c")


def compile_child(directory: str) -> str | None:
    """The path of the children's program, or None without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    program = os.path.join(directory, "guardian_child")
    subprocess.run(
        [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, SOURCE], check=True
    )
    return program


def exists(pid: int) -> bool:
    """Whether there is a process of that number, be it a zombie."""
    return os.path.exists(f"/proc/{pid}")


class Lifeline:
    """A pipe that children announce themselves on and hold open until they die."""

    def __init__(self) -> None:
        self._read, self.write = os.pipe()
        self._text = b""

    def announced(self, count: int) -> list[int]:
        """The pids of the first ``count`` processes; TimeoutError if they do not come."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self._text.count(b"\n") < count:
            if not self._take(deadline):
                raise EOFError(f"only {self._text!r}")
        return [int(line) for line in self._text.split()]

    def cut(self) -> None:
        """Give up our own end: from now on only children keep the line open."""
        if self.write >= 0:
            os.close(self.write)
            self.write = -1

    def ends_within(self, seconds: float) -> bool:
        """Whether every process that holds the line is dead before the time is over."""
        self.cut()
        deadline = time.monotonic() + seconds
        try:
            while self._take(deadline):
                pass
        except TimeoutError:
            return False
        return True

    def _take(self, deadline: float) -> bool:
        left = max(0.0, deadline - time.monotonic())
        if not select.select([self._read], [], [], left)[0]:
            raise TimeoutError(f"after {self._text!r}")
        chunk = os.read(self._read, 65_536)
        self._text += chunk
        return bool(chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        os.close(self._read)


@dataclass
class Court:
    """A guardian and its reports, awaited one by one."""

    guardian: Guardian
    reports: asyncio.Queue[Report] = field(default_factory=asyncio.Queue)
    deaths: asyncio.Queue[int] = field(default_factory=asyncio.Queue)

    async def report(self) -> Report:
        return await asyncio.wait_for(self.reports.get(), DEADLINE_SECONDS)

    async def spawned(self) -> int:
        report = await self.report()
        assert isinstance(report, Spawned), report
        return report.pid

    async def exited(self) -> tuple[int, int]:
        report = await self.report()
        assert isinstance(report, Exited), report
        return report.pid, report.status

    async def death(self) -> int:
        return await asyncio.wait_for(self.deaths.get(), DEADLINE_SECONDS)


@contextlib.asynccontextmanager
async def court(*, soft_nofile: int | None = None) -> AsyncIterator[Court]:
    """A fresh guardian; it is gone afterwards, and everything it started."""
    reports: asyncio.Queue[Report] = asyncio.Queue()
    deaths: asyncio.Queue[int] = asyncio.Queue()
    guardian = Guardian.start(
        on_report=reports.put_nowait, on_death=deaths.put_nowait, soft_nofile=soft_nofile
    )
    try:
        yield Court(guardian, reports, deaths)
    finally:
        await asyncio.wait_for(guardian.close(), DEADLINE_SECONDS)


@contextlib.contextmanager
def no_descriptor_leaks() -> Iterator[None]:
    """Fail if the block leaves this process with another number of descriptors."""
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert sorted(os.listdir("/proc/self/fd")) == before
