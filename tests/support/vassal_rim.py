"""One vassal as the daemon's rim has it, without a daemon: events in, effects out.

``Rim`` carries out what the law says, and holds the law to its promises while it does. The
clock and the gate may be shared by many.
"""

import signal
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from emperor.runtime import events as ev
from emperor.runtime.events import Event
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.law.gate import StartGate
from emperor.runtime.law.state import ALIVE, Phase, Vassal
from emperor.runtime.law.table import step
from emperor.runtime.protocol import Order

#: How long uWSGI waits for its config, in seconds.
PATIENCE_SECONDS = 5.0

#: A compile that found nothing changed.
UNCHANGED = -1

_ON_THE_WAY_UP = (Phase.SPAWNING, Phase.STARTING)


@cache
def spec_of(version: int) -> LaunchSpec:
    """What a version of the file compiles to. Every third one has no master process, every
    fifth one an on-demand socket (at two addresses by turns), every seventh no workers."""
    return LaunchSpec(
        argv=("uwsgi",),
        cwd="/",
        set=(),
        unset=(),
        delivered=(b"%d" % version,),
        digest=str(version),
        has_master=version % 3 != 2,
        has_workers=version % 7 != 6,
        reload_seconds=90,
        socket=f"/run/{version % 2}.socket" if version % 5 == 4 else None,
    )


def is_broken(version: int) -> bool:
    """Whether a version of the file does not compile."""
    return version % 4 == 3


@dataclass
class Process:
    """A vassal's process as the world has it."""

    version: int
    socket: str | None
    is_up: bool = False
    asks_since: float | None = None
    is_new: bool = True  # it has not accepted requests with the config that it has
    is_hung: bool = False  # it does nothing any more, but can be killed
    told: set[str] = field(default_factory=set)

    def may_speak(self) -> bool:
        """Whether it can say something: it is there, and does not wait for its config."""
        return self.is_up and not self.is_hung and self.asks_since is None


@dataclass
class Clock:
    """The time that all in a world have."""

    now: float = 1000.0


@dataclass
class Tally:
    """What was seen of the law: how many events, and which led from which phase to which."""

    events: int = 0
    edges: Counter[tuple[Phase, Phase, str]] = field(default_factory=Counter)


Gate = StartGate[str]


def gate_of(limit: int) -> Gate:
    """A gate for so many of the first, with a throttle that is felt."""
    return StartGate(limit=limit, step_seconds=5.0, cap_seconds=20.0)


@dataclass
class Rim:
    """One vassal. ``peer`` finds one that shares its gate; ``on_zerg`` is called when it asks
    for another instance of itself."""

    name: str = "vassal"
    clock: Clock = field(default_factory=Clock)
    gate: Gate = field(default_factory=lambda: gate_of(1))
    tally: Tally = field(default_factory=Tally)
    peer: Callable[[str], "Rim"] | None = None
    on_zerg: Callable[[], None] = lambda: None
    state: Vassal = field(default_factory=Vassal)
    version: int = 0
    looked_at: int | None = None  # by the last compile whose answer came in time
    compiles: dict[int, int] = field(default_factory=dict)  # serial -> version
    process: Process | None = None
    socket: str | None = None  # that the Emperor holds
    is_taken: bool = False  # somebody else has the address
    last_version: int | None = None
    is_there: bool = False
    is_halted: bool = False
    is_ending: bool = False
    is_first: bool = True
    forgotten: int = 0
    inbox: deque[Event] = field(default_factory=deque)

    # -- the rim: events in, effects out -------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Let an event happen, and have done what the law says; who may start then, starts."""
        self._feed(event)
        self.admit()

    def _feed(self, event: Event) -> None:
        self.inbox.append(event)
        if len(self.inbox) > 1:
            return
        while self.inbox:
            self._step(self.inbox[0])
            self.inbox.popleft()
        if self.state.has_reported or self.state.phase not in _ON_THE_WAY_UP:
            self.gate.has_reported(self.name)

    def _step(self, event: Event) -> None:
        before = self.state
        self.state, effects = step(before, event, self.clock.now)
        after = self.state
        assert before.phase is not Phase.GONE or (after, effects) == (before, ())
        self.tally.events += 1
        if after.phase is not before.phase:
            self.tally.edges[before.phase, after.phase, type(event).__name__] += 1
            self._moved(before.phase, after.phase)
        for effect in effects:
            self._do(effect)
        self._check()

    def _moved(self, before: Phase, after: Phase) -> None:
        if before is Phase.QUEUED and after is not Phase.SPAWNING:
            self.gate.withdraw(self.name)
        if after is Phase.SPAWNING:
            self.is_first = False

    def _do(self, effect: ev.Effect) -> None:
        match effect:
            case ev.Compile(serial=serial, if_stale=if_stale):
                assert not self.compiles or serial > max(self.compiles)
                is_fresh = if_stale and self.state.spec and self.looked_at == self.version
                self.compiles[serial] = UNCHANGED if is_fresh else self.version
            case ev.AskStart(is_urgent=is_urgent):
                self.gate.ask(
                    self.name, self.clock.now, is_first=self.is_first, is_urgent=is_urgent
                )
            case ev.Spawn(spec=spec):
                self._spawn(spec)
            case ev.Deliver(spec=spec):
                process = self._listener()
                assert process.asks_since is not None, "a config that nobody asked for"
                process.asks_since = None
                process.version, process.is_new = int(spec.digest), spec.has_workers
            case ev.Send(byte=byte):
                self._listener().told.add("reload" if byte == Order.RELOAD else "stop")
            case ev.Signal(signum=signum):
                self._listener().told.add("kill" if signum == signal.SIGKILL else "term")
            case ev.Listen(address=address):
                self._listen(address)
            case ev.Unlisten():
                self.socket = None
            case ev.WantZerg():
                assert not self.state.is_zerg, "a zerg of a zerg"
                self.on_zerg()
            case ev.Forget():
                assert self.process is None, "forgotten while it runs"
                self.socket = None
                self.gate.withdraw(self.name)
                self.forgotten += 1
            case ev.Succeed() | ev.Inherit() | ev.Renounce():
                raise AssertionError("no vassal here is a program")
            case ev.Log() | ev.Hook():
                pass

    def _spawn(self, spec: LaunchSpec) -> None:
        assert self.process is None, "two processes"
        assert self.is_there, "spawned, and its file is gone"
        assert not self.is_ending, "spawned, and the Emperor goes"
        assert not self.is_halted, "spawned, and an operator has stopped it"
        assert self.socket == spec.socket, "spawned with another socket than it wants"
        self.process = Process(version=int(spec.digest), socket=spec.socket)

    def _listen(self, address: str) -> None:
        if self.socket != address:
            self.socket = None
        if self.is_taken and self.socket is None:
            self.inbox.append(ev.NotListening(message="Address already in use"))
        else:
            self.socket = address
            self.inbox.append(ev.Listening())

    def _listener(self) -> Process:
        assert self.process is not None, "said to nobody"
        assert self.process.is_up, "said to nobody yet"
        return self.process

    def _check(self) -> None:
        """What holds after every event."""
        phase, spec = self.state.phase, self.state.spec
        is_alive = self.process is not None and self.process.is_up
        assert is_alive == (phase in (*ALIVE, Phase.STOPPING)), "a process that nobody knows"
        assert (self.process is not None) == (is_alive or phase is Phase.SPAWNING)
        if phase is Phase.LISTENING and not self.inbox:
            assert spec is not None
            assert self.socket == spec.socket is not None, "it listens to nothing"
        if phase in (Phase.PARKED, Phase.GONE):
            assert self.socket is None, "a socket that nobody listens to"

    def admit(self) -> None:
        """Whose turn it is, may start."""
        while names := self.gate.due(self.clock.now):
            for name in names:
                assert self.peer is not None or name == self.name
                (self if self.peer is None else self.peer(name))._feed(ev.MayStart())
        due = self.gate.deadline()
        assert due is None or due > self.clock.now, "a turn that has come, and nobody starts"

    # -- time ----------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Time passes; a tick comes when one is due."""
        end = self.clock.now + seconds
        while (due := self.next_due()) is not None and due <= end:
            self.tick()
        self.clock.now = max(self.clock.now, end)

    def next_due(self) -> float | None:
        """When something happens by itself, here or at the gate."""
        times = (self.state.deadline(), self.gate.deadline())
        return min((t for t in times if t is not None), default=None)

    def tick(self) -> None:
        """The next deadline has come: something comes of it."""
        due = self.next_due()
        assert due is not None
        self.clock.now = max(self.clock.now, due)
        self.on_time()
        self.admit()

    def on_time(self) -> None:
        """Its own deadline may have come."""
        deadline = self.state.deadline()
        if deadline is None or deadline > self.clock.now:
            return
        self._feed(ev.Tick())
        after = self.state.deadline()
        assert after is None or after > self.clock.now, "a tick that changes nothing"
        process = self.process
        if process and process.asks_since is not None and "kill" not in process.told:
            waited = self.clock.now - process.asks_since
            assert waited <= PATIENCE_SECONDS, "left without config"
