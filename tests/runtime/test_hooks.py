"""The Emperor's hooks: in order, not too many, within a time, and never lost."""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from emperor.runtime import hooks as module
from emperor.runtime.hooks import MOST_AT_A_TIME, Hooks

DEADLINE_SECONDS = 10.0


@dataclass(kw_only=True)
class Wish:
    """One spawn that was asked for."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    cwd: str
    on_spawned: Callable[[int], None]
    on_failed: Callable[[str], None]
    on_exited: Callable[[int], None]


@dataclass
class Spawner:
    """Notes what is asked for, and refuses as often as it is told to."""

    wishes: list[Wish] = field(default_factory=list)
    signals: list[tuple[int, int, bool]] = field(default_factory=list)
    refusals: int = 0
    on_signal: asyncio.Event = field(default_factory=asyncio.Event)
    on_spawn: asyncio.Event = field(default_factory=asyncio.Event)

    def spawn(self, *, descriptors: Mapping[int, int], **wish: Any) -> None:
        assert descriptors == {}
        if self.refusals:
            self.refusals -= 1
            raise OSError(24, "Too many open files")
        self.wishes.append(Wish(**wish))
        self.on_spawn.set()

    def signal(self, pid: int, signum: int, *, is_for_group: bool) -> None:
        self.signals.append((pid, signum, is_for_group))
        self.on_signal.set()

    @property
    def asked(self) -> list[str]:
        """The scripts that were asked for."""
        return [wish.argv[2] for wish in self.wishes]


def command(script: str) -> list[str]:
    return ["/bin/sh", "-c", script, f"the hook {script}"]


COMMANDS = {
    "as-emperor": [command("a"), command("b")],
    "stop": [["/bin/sh", "-c", 'exec "$@"', "the stop hook", "/told"]],
    "emperor-start": [command("s")],
}


class Stage:
    """Hooks over a spawner that does nothing by itself."""

    def __init__(self, *, timeout_seconds: float = 30.0) -> None:
        self.spawner = Spawner()
        self.said: list[tuple[int, str, str]] = []
        self.idle = 0
        self.hooks = Hooks(
            COMMANDS,
            spawner=self.spawner,
            environment={"PATH": "/bin"},
            timeout_seconds=timeout_seconds,
            log=lambda level, vassal, text: self.said.append((level, vassal, text)),
            on_idle=self.rest,
        )

    def rest(self) -> None:
        self.idle += 1

    def run(self, moment: str = "as-emperor", vassal: str = "app.ini", **more: Any) -> None:
        known = {"config": "app.ini", "directory": "/v", "pid": 7, "uid": 1, "gid": 2, **more}
        self.hooks.run(moment, vassal=vassal, **known)

    def end(self, index: int, status: int = 0) -> None:
        """The hook that was asked for as number ``index`` runs and ends."""
        self.spawner.wishes[index].on_spawned(100 + index)
        self.spawner.wishes[index].on_exited(status)

    @property
    def warnings(self) -> list[str]:
        return [text for level, _, text in self.said if level >= logging.WARNING]


def play(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_SECONDS))


def test_hooks_of_a_vassal_run_one_after_the_other() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.run()
        assert stage.spawner.asked == ["a"]
        stage.end(0)
        assert stage.spawner.asked == ["a", "b"]
        assert (stage.hooks.is_idle, stage.idle) == (False, 0)
        stage.end(1)
        assert (stage.hooks.is_idle, stage.idle) == (True, 1)
        assert stage.said[0] == (logging.INFO, "app.ini", 'running "the hook a" (pid 100)')

    play(scenario)


def test_what_a_hook_is_told() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.run()
        (wish,) = stage.spawner.wishes
        assert wish.cwd == "/v"
        assert wish.environment == {
            "PATH": "/bin",
            "UWSGI_VASSAL_CONFIG": "app.ini",
            "UWSGI_VASSAL_PID": "7",
            "UWSGI_VASSAL_UID": "1",
            "UWSGI_VASSAL_GID": "2",
            "UWSGI_VASSALS_DIR": "/v",
        }

    play(scenario)


def test_no_process_has_no_number_that_could_be_signalled() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.run(pid=-1)
        assert "UWSGI_VASSAL_PID" not in stage.spawner.wishes[0].environment

    play(scenario)


def test_the_emperors_own_start_is_told_nothing() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.hooks.run("emperor-start", config="", directory="/e")
        (wish,) = stage.spawner.wishes
        assert wish.environment == {"PATH": "/bin"}
        assert wish.cwd == "/e"

    play(scenario)


def test_the_stop_hook_gets_the_name_as_its_argument() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.run("stop", config="it's; app.ini")
        assert stage.spawner.wishes[0].argv[4:] == ["/told", "it's; app.ini"]
        assert len(COMMANDS["stop"][0]) == 5

    play(scenario)


def test_a_moment_without_hooks_costs_nothing() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.run("as-on-demand")
        assert (stage.spawner.wishes, stage.hooks.is_idle, stage.idle) == ([], True, 0)

    play(scenario)


def test_moments_of_a_vassal_keep_their_order() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.run()
        stage.run("stop")
        stage.end(0)
        stage.end(1)
        assert stage.spawner.asked == ["a", "b", 'exec "$@"']
        stage.end(2)
        assert stage.idle == 1

    play(scenario)


def test_a_round_that_still_waits_is_replaced() -> None:
    async def scenario() -> None:
        stage = Stage()
        for pid in (1, 2, 3, 4):
            stage.run(pid=pid)
        for index in range(4):
            stage.end(index)
        assert stage.hooks.is_idle
        told = [wish.environment["UWSGI_VASSAL_PID"] for wish in stage.spawner.wishes]
        assert told == ["1", "1", "4", "4"]

    play(scenario)


def test_vassals_run_side_by_side_but_not_all_at_once() -> None:
    async def scenario() -> None:
        stage = Stage()
        count = MOST_AT_A_TIME + 5
        for number in range(count):
            stage.run(vassal=f"{number}.ini")
        assert stage.spawner.asked == ["a"] * MOST_AT_A_TIME
        done = 0
        while done < len(stage.spawner.wishes):
            stage.end(done)
            done += 1
            assert len(stage.spawner.wishes) - done <= MOST_AT_A_TIME
        assert done == 2 * count
        assert (stage.hooks.is_idle, stage.idle) == (True, 1)

    play(scenario)


@pytest.mark.parametrize(
    ("status", "said"),
    [(3, "exited with 3"), (-9, "was killed by SIGKILL"), (-99, "signal 99")],
)
def test_a_hook_that_fails_is_logged_and_changes_nothing(status: int, said: str) -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.run()
        stage.end(0, status)
        assert stage.spawner.asked == ["a", "b"]
        (warning,) = stage.warnings
        assert warning.startswith('"the hook a" ')
        assert said in warning

    play(scenario)


def test_a_directory_that_is_gone_does_not_keep_a_hook_from_running() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.run("stop")
        stage.spawner.wishes[0].on_failed("/v: No such file or directory")
        assert [wish.cwd for wish in stage.spawner.wishes] == ["/v", "/"]
        stage.spawner.wishes[1].on_failed("/bin/sh: Permission denied")
        assert stage.warnings == [
            '"the stop hook" cannot be started: /bin/sh: Permission denied'
        ]
        assert stage.hooks.is_idle

    play(scenario)


def test_a_hook_waits_for_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)

    async def scenario() -> None:
        stage = Stage()
        stage.spawner.refusals = 3
        stage.run("stop")
        assert not stage.hooks.is_idle
        await stage.spawner.on_spawn.wait()
        assert stage.warnings == []
        stage.end(0)
        assert stage.hooks.is_idle

    play(scenario)


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(module, "LONGEST_RETRY_SECONDS", 0.0)

    async def scenario() -> None:
        stage = Stage()
        stage.spawner.refusals = 10
        stage.run("stop")
        assert stage.hooks.is_idle
        assert stage.warnings == ['"the stop hook" cannot be started: Too many open files']

    play(scenario)


def test_a_hook_that_takes_too_long_is_killed_with_its_group() -> None:
    async def scenario() -> None:
        stage = Stage(timeout_seconds=0.001)
        stage.run("stop")
        stage.spawner.wishes[0].on_spawned(100)
        await stage.spawner.on_signal.wait()
        assert stage.spawner.signals == [(100, signal.SIGKILL, True)]
        stage.spawner.wishes[0].on_exited(-signal.SIGKILL)
        (warning,) = stage.warnings
        assert "more than 0.001 seconds" in warning
        assert stage.hooks.is_idle

    play(scenario)


def test_in_a_hurry_what_runs_is_killed_and_what_waits_is_forgotten() -> None:
    async def scenario() -> None:
        stage = Stage(timeout_seconds=0.0)
        for number in range(MOST_AT_A_TIME + 3):
            stage.run(vassal=f"{number}.ini")
            stage.run("stop", vassal=f"{number}.ini")
        stage.spawner.wishes[0].on_spawned(100)
        stage.hooks.kill_all()
        assert stage.spawner.signals == [(100, signal.SIGKILL, True)]
        stage.spawner.wishes[1].on_spawned(101)  # it was on its way
        assert stage.spawner.signals[1] == (101, signal.SIGKILL, True)
        for wish in stage.spawner.wishes:
            wish.on_exited(-signal.SIGKILL)
        assert (stage.hooks.is_idle, stage.idle) == (True, 1)
        assert len(stage.spawner.wishes) == MOST_AT_A_TIME
        assert stage.warnings == []

    play(scenario)
