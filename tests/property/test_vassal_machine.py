"""Whatever happens to a vassal, in whatever order: its law keeps its promises."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emperor.runtime import events as ev
from emperor.runtime.events import Cause, Event
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.law.state import Phase, Vassal
from emperor.runtime.law.table import step
from emperor.runtime.protocol import Order, Word

#: How long uWSGI waits for its config, in seconds.
PATIENCE_SECONDS = 5.0

#: More turns than any vassal needs to come to rest.
MANY = 200


@cache
def spec_of(version: int) -> LaunchSpec:
    """What a version of the file compiles to; every third one has no master process."""
    return LaunchSpec(
        argv=("uwsgi",),
        cwd="/",
        set=(),
        unset=(),
        delivered=(b"%d" % version,),
        digest=str(version),
        has_master=version % 3 != 2,
        reload_seconds=90,
    )


def is_broken(version: int) -> bool:
    """Whether a version of the file does not compile."""
    return version % 4 == 3


@dataclass
class Process:
    """A vassal's process as the world has it."""

    version: int
    is_up: bool = False
    asks_since: float | None = None
    is_new: bool = True  # it has not accepted requests with the config that it has
    told: set[str] = field(default_factory=set)


@dataclass
class World:
    """All that a vassal's law does not know: files, compiles under way, the process."""

    state: Vassal = field(default_factory=Vassal)
    now: float = 1000.0
    version: int = 0
    looked_at: int | None = None  # by the last compile whose answer came in time
    compiles: dict[int, int] = field(default_factory=dict)  # serial -> version
    process: Process | None = None
    last_version: int | None = None
    is_there: bool = False
    is_ending: bool = False
    forgotten: int = 0

    def feed(self, event: Event) -> None:
        """Let an event happen, and have done what the law says."""
        before = self.state
        self.state, effects = step(before, event, self.now)
        assert before.phase is not Phase.GONE or (self.state, effects) == (before, ())
        for effect in effects:
            self._do(effect)

    def _do(self, effect: ev.Effect) -> None:
        match effect:
            case ev.Compile(serial=serial, if_stale=if_stale):
                assert not self.compiles or serial > max(self.compiles)
                if if_stale and self.state.spec and self.looked_at == self.version:
                    self.compiles[serial] = -1
                else:
                    self.compiles[serial] = self.version
            case ev.Spawn(spec=spec):
                assert self.process is None, "two processes"
                self.process = Process(version=int(spec.digest))
            case ev.Deliver(spec=spec):
                process = self._listener()
                assert process.asks_since is not None, "a config that nobody asked for"
                process.asks_since = None
                process.version, process.is_new = int(spec.digest), True
            case ev.Send(byte=byte):
                self._listener().told.add("reload" if byte == Order.RELOAD else "stop")
            case ev.Signal(signum=signum):
                self._listener().told.add("kill" if signum == signal.SIGKILL else "term")
            case ev.Forget():
                assert self.process is None, "forgotten while it runs"
                self.forgotten += 1
            case ev.Log():
                pass

    def _listener(self) -> Process:
        assert self.process is not None, "said to nobody"
        assert self.process.is_up, "said to nobody yet"
        return self.process

    # -- what may happen -----------------------------------------------------------------------

    def edit(self) -> None:
        """The file is there, and new."""
        if not self.is_ending and self.state.phase is not Phase.GONE:
            self.version += 1
            self.is_there = True
            self.feed(ev.Noticed())

    def chmod(self) -> None:
        """Only the file's mode is new."""
        if self.is_there and not self.is_ending:
            self.feed(ev.Noticed(cause=Cause.ATTRIBUTES))

    def touch_include(self) -> None:
        """A file that it reads has a new stamp."""
        if self.is_there and not self.is_ending:
            self.feed(ev.Noticed(cause=Cause.INCLUDE))

    def remove(self) -> None:
        """The file is gone."""
        if self.is_there:
            self.is_there = False
            self.feed(ev.Vanished())

    def reload(self) -> None:
        """An operator asks."""
        self.feed(ev.Reload())

    def leave(self) -> None:
        """The Emperor goes."""
        self.is_ending = True
        self.feed(ev.Leave(grace_seconds=30.0))

    def die(self) -> None:
        """The Emperor goes now."""
        self.is_ending = True
        self.feed(ev.Die())

    def answer(self) -> None:
        """The compile that was asked for last is answered; a second answer changes nothing."""
        if not self.compiles:
            return
        serial = max(self.compiles)
        event = self._answer(serial, self.compiles.pop(serial))
        self.feed(event)
        before, waiting = self.state, dict(self.compiles)
        self.feed(event)
        assert (self.state, self.compiles) == (before, waiting), "answered twice"

    def answer_late(self) -> None:
        """A compile that nobody waits for any more is answered."""
        if len(self.compiles) > 1:
            serial = min(self.compiles)
            before = self.state
            self.feed(self._answer(serial, self.compiles.pop(serial)))
            assert self.state == before

    def _answer(self, serial: int, version: int) -> Event:
        if version < 0:
            return ev.Fresh(serial=serial)
        if is_broken(version):
            return ev.NotCompiled(serial=serial)
        if serial == self.state.serial:
            self.looked_at = version
        return ev.Compiled(serial=serial, spec=spec_of(version))

    def spawned(self) -> None:
        """The guardian has started it."""
        if self.process is not None and not self.process.is_up:
            self.process.is_up = True
            self.feed(ev.Spawned(pid=7))

    def not_spawned(self) -> None:
        """The guardian could not."""
        if self.process is not None and not self.process.is_up:
            self.process = None
            self.feed(ev.NotSpawned(message="no"))

    def accept(self) -> None:
        """It accepts requests."""
        if self.process and self.process.is_up and self.process.asks_since is None:
            self.process.is_new = False
            self.feed(ev.Said(byte=Word.ACCEPTING))

    def ask(self) -> None:
        """It starts over, and asks for its config."""
        if self.process and self.process.is_up and self.process.asks_since is None:
            self.process.told.discard("reload")
            self.process.asks_since = self.now
            self.feed(ev.Said(byte=Word.WANTS_CONFIG))

    def go(self) -> None:
        """It says that it leaves of its own will."""
        if self.process and self.process.is_up and self.process.asks_since is None:
            self.feed(ev.Said(byte=Word.LEAVING))

    def mumble(self) -> None:
        """It says something that has no meaning here."""
        if self.process and self.process.is_up:
            for byte in (Word.LOYAL, Word.HEARTBEAT, Word.WANTS_ZERG, Word.SPAWNED, 255):
                self.feed(ev.Said(byte=byte))

    def exit(self, status: int = 1) -> None:
        """It is dead."""
        if self.process is not None and self.process.is_up:
            self.last_version, self.process = self.process.version, None
            self.feed(ev.Exited(status=status))

    def exile(self) -> None:
        """It is dead, and wants no successor."""
        self.exit(26)

    def pause(self) -> None:
        """A little time passes."""
        self.wait(0.3)

    def sit(self) -> None:
        """Much time passes."""
        self.wait(100.0)

    def wait(self, seconds: float) -> None:
        """Time passes; a tick comes when one is due."""
        end = self.now + seconds
        while self.state.deadline() is not None and not self.is_over(end):
            self.tick()
        self.now = max(self.now, end)

    def is_over(self, end: float) -> bool:
        """Whether the next tick is due after ``end``."""
        deadline = self.state.deadline()
        return deadline is None or deadline > end

    def tick(self) -> None:
        """The next deadline has come: something comes of it."""
        deadline = self.state.deadline()
        assert deadline is not None
        self.now = max(self.now, deadline)
        self.feed(ev.Tick())
        after = self.state.deadline()
        assert after is None or after > self.now, "a tick that changes nothing"
        if self.process and self.process.asks_since is not None and "kill" not in self.told:
            assert self.now <= self.process.asks_since + PATIENCE_SECONDS, "left without config"

    @property
    def told(self) -> set[str]:
        """What the process has been told."""
        return set() if self.process is None else self.process.told

    # -- a world in which everybody does what he should ----------------------------------------

    def come_to_rest(self, *, is_hung: bool) -> None:
        """Everything under way is carried on until nothing more happens. With ``is_hung`` the
        process that there is listens to nobody."""
        hung = self.process if is_hung else None
        for _ in range(MANY):
            if not self._carry_on(hung):
                return
        raise AssertionError("it never comes to rest")

    def _carry_on(self, hung: Process | None) -> bool:
        process = self.process
        if self.compiles:
            self.answer()
        elif process is not None and not process.is_up:
            self.spawned()
        elif process is not None and "kill" in process.told:
            self.exit(-9)
        elif process is not None and process is not hung and self._obey(process):
            return True
        elif self.state.deadline() is not None:
            self.tick()
        else:
            return False
        return True

    def _obey(self, process: Process) -> bool:
        if process.asks_since is not None:
            return False
        if process.told & {"stop", "term"}:
            self.exit(0)
        elif "reload" in process.told:
            self.ask()
        elif process.is_new:
            self.accept()
        else:
            return False
        return True

    def possible(self) -> tuple["Action", ...]:
        """What may happen next; what is likely stands there more than once."""
        actions = [World.edit] * 4 + [World.pause, World.sit, World.reload]
        if self.is_there:
            actions += [World.chmod, World.touch_include]
        else:
            actions += [World.edit] * 20  # else most histories would soon be over
        if self.is_there and self.process is not None:
            actions += [World.remove]
        if self.compiles:
            actions += [World.answer] * 8
        if len(self.compiles) > 1:
            actions += [World.answer_late]
        if self.process is not None and not self.process.is_up:
            actions += [World.spawned] * 8 + [World.not_spawned]
        elif self.process is not None:
            actions += [World.exit, World.exit, World.exile, World.mumble]
            if self.process.asks_since is None:
                actions += [*[World.accept] * 4, World.ask, World.ask, World.go]
        return tuple(actions)


Action = Callable[[World], None]
ENDS: tuple[Action, ...] = (World.remove, World.leave, World.die)

law = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=600,
    suppress_health_check=[HealthCheck.too_slow],
)
choices = st.lists(st.integers(0, 2**16), min_size=30, max_size=60)


def live(world: World, history: list[int]) -> None:
    """Let happen what these numbers choose from what may happen."""
    for choice in history:
        possible = world.possible()
        possible[choice % len(possible)](world)


@law
@given(history=choices, is_hung=st.booleans())
def test_in_the_end_it_runs_what_its_file_says(history: list[int], is_hung: bool) -> None:
    world = World()
    world.edit()
    live(world, history)
    world.come_to_rest(is_hung=is_hung)
    if not world.is_there:
        return
    if world.state.phase is Phase.PARKED:
        assert world.last_version == world.version or is_broken(world.version)
    elif is_broken(world.version):
        assert world.process is not None or world.state.phase is Phase.WAITING
    else:
        assert world.process is not None
        assert world.process.version == world.version


@law
@given(history=choices, end=st.sampled_from(ENDS), late=choices, is_hung=st.booleans())
def test_in_the_end_nothing_is_left_of_it(
    history: list[int], end: Action, late: list[int], is_hung: bool
) -> None:
    world = World()
    world.edit()
    live(world, history)
    end(world)
    world.is_ending = True  # no file comes any more
    live(world, late[:12])
    world.remove()
    world.come_to_rest(is_hung=is_hung)
    assert (world.state.phase, world.forgotten) == (Phase.GONE, 1)
    world.feed(ev.Noticed())
    world.feed(ev.Tick())
