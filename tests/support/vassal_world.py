"""All that a vassal's law does not know: files, compiles under way, the process, the socket.

``World`` is one vassal as the daemon's rim has it. It carries out what the law says, and holds
the law to its promises while it does. The clock and the gate may be shared by many.
"""

import signal
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache

from emperor.runtime import events as ev
from emperor.runtime.events import Cause, Event
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.law.gate import StartGate
from emperor.runtime.law.state import ALIVE, Phase, Vassal
from emperor.runtime.law.table import step
from emperor.runtime.protocol import Order, Word

#: How long uWSGI waits for its config, in seconds.
PATIENCE_SECONDS = 5.0

#: A compile that found nothing changed.
_UNCHANGED = -1

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
class World:
    """One vassal. ``peers`` are all that share its gate, by name; ``on_zerg`` is called when
    it asks for another instance of itself."""

    name: str = "vassal"
    clock: Clock = field(default_factory=Clock)
    gate: Gate = field(default_factory=lambda: gate_of(1))
    tally: Tally = field(default_factory=Tally)
    peers: dict[str, "World"] = field(default_factory=dict)
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

    def __post_init__(self) -> None:
        self.peers[self.name] = self

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
                self.compiles[serial] = _UNCHANGED if is_fresh else self.version
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
                self.peers[name]._feed(ev.MayStart())
        due = self.gate.deadline()
        assert due is None or due > self.clock.now, "a turn that has come, and nobody starts"

    # -- what happens to its file, and what people want ----------------------------------------

    def edit(self) -> None:
        """The file is there, and new; of one that is gone comes another vassal."""
        if self.is_ending:
            return
        if self.state.phase is Phase.GONE:
            self.state, self.forgotten = Vassal(is_zerg=self.state.is_zerg), 0
            self.is_halted = False
            self.compiles.clear()
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
        """An operator asks for a reload."""
        self.feed(ev.Reload())

    def halt(self) -> None:
        """An operator stops it."""
        self.is_halted = True
        self._told(ev.Halt())

    def start(self) -> None:
        """An operator starts it."""
        self.is_halted = False
        self._told(ev.Start())

    def retry(self) -> None:
        """SIGURG."""
        self._told(ev.Retry())
        assert self.state.blacklisted is None or self.state.phase is Phase.GONE

    def _told(self, event: Event) -> None:
        once, _ = step(self.state, event, self.clock.now)
        twice, _ = step(once, event, self.clock.now)
        assert replace(twice, serial=0) == replace(once, serial=0), "twice is not once"
        self.feed(event)

    def leave(self) -> None:
        """The Emperor goes."""
        self.is_ending = True
        self.feed(ev.Leave(grace_seconds=30.0))

    def die(self) -> None:
        """The Emperor goes now."""
        self.is_ending = True
        self.feed(ev.Die())

    # -- what its compiles give ----------------------------------------------------------------

    def answer(self) -> None:
        """The compile that was asked for last is answered; a second answer changes nothing."""
        if not self.compiles:
            return
        serial = max(self.compiles)
        event = self._answer(serial, self.compiles.pop(serial))
        self.feed(event)
        again, effects = step(self.state, event, self.clock.now)
        assert (again, effects) == (self.state, ()), "answered twice"

    def answer_late(self) -> None:
        """A compile that nobody waits for any more is answered."""
        if len(self.compiles) > 1:
            serial = min(self.compiles)
            before = self.state
            self.feed(self._answer(serial, self.compiles.pop(serial)))
            assert self.state == before

    def _answer(self, serial: int, version: int) -> Event:
        if version == _UNCHANGED:
            return ev.Fresh(serial=serial)
        if is_broken(version):
            return ev.NotCompiled(serial=serial)
        if serial == self.state.serial:
            self.looked_at = version
        return ev.Compiled(serial=serial, spec=spec_of(version))

    # -- what its process does -----------------------------------------------------------------

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
        """It is up: it accepts requests, or has no workers and says so once."""
        if self.process is not None and self.process.may_speak():
            has_workers = spec_of(self.process.version).has_workers
            self.process.is_new = False
            self.feed(ev.Said(byte=Word.ACCEPTING if has_workers else Word.SPAWNED))

    def ask(self) -> None:
        """It starts over, and asks for its config."""
        if self.process is not None and self.process.may_speak():
            self.process.told.discard("reload")
            self.process.asks_since = self.clock.now
            self.feed(ev.Said(byte=Word.WANTS_CONFIG))

    def go(self) -> None:
        """It says that it leaves of its own will."""
        if self.process is not None and self.process.may_speak():
            self.feed(ev.Said(byte=Word.LEAVING))

    def beat(self) -> None:
        """It sends a heartbeat."""
        if self.process is not None and self.process.may_speak():
            self.feed(ev.Said(byte=Word.HEARTBEAT))

    def mumble(self) -> None:
        """It says all that it can say, whether that makes sense or not."""
        if self.process is not None and self.process.may_speak():
            for byte in (Word.LOYAL, Word.HEARTBEAT, Word.WANTS_ZERG, Word.SPAWNED, 255):
                self.feed(ev.Said(byte=byte))

    def babble(self) -> None:
        """One of its workers speaks while it waits for its config."""
        if self.process is not None and self.process.is_up and not self.process.is_hung:
            for byte in (Word.ACCEPTING, Word.LOYAL, Word.SPAWNED):
                self.feed(ev.Said(byte=byte))

    def hang(self) -> None:
        """It does nothing any more."""
        if self.process is not None and self.process.is_up:
            self.process.is_hung = True

    def exit(self, status: int = 1) -> None:
        """It is dead."""
        if self.process is not None and self.process.is_up:
            self.last_version, self.process = self.process.version, None
            self.feed(ev.Exited(status=status))

    def exile(self) -> None:
        """It is dead, and wants no successor."""
        self.exit(26)

    def connect(self) -> None:
        """Somebody connects to its socket."""
        if self.state.phase is Phase.LISTENING:
            self.feed(ev.Connected())

    def take_address(self) -> None:
        """Somebody else takes its address, or gives it back."""
        self.is_taken = not self.is_taken

    # -- time ----------------------------------------------------------------------------------

    def pause(self) -> None:
        """A little time passes."""
        self.wait(0.3)

    def sit(self) -> None:
        """Much time passes."""
        self.wait(100.0)

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

    # -- a world in which everybody does what he should ----------------------------------------

    def carry_on(self) -> bool:
        """Let the next thing happen that must; says whether there was one. Nobody is in the
        way any more, and only who hangs does not obey."""
        self.is_taken = False
        process = self.process
        if self.compiles:
            self.answer()
        elif process is not None and not process.is_up:
            self.spawned()
        elif process is not None and "kill" in process.told:
            self.exit(-9)
        elif process is not None and not process.is_hung:
            return self._obey(process)
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

    def is_beating(self) -> bool:
        """Whether all that is to come is a heartbeat that its process will send."""
        deadline = self.state.deadline()
        is_well = self.process is not None and not self.process.is_hung
        return is_well and deadline is not None and deadline == self.state.heartbeat_by

    def check_end(self) -> None:
        """Nothing more happens: it is what its file and its operator want it to be."""
        phase, process = self.state.phase, self.process
        if not self.is_there or self.is_ending:
            assert (phase, process, self.forgotten) == (Phase.GONE, None, 1)
        elif self.is_halted:
            assert (phase, process) == (Phase.PARKED, None)
        elif phase is Phase.PARKED:
            assert self.last_version == self.version or is_broken(self.version)
        elif self.state.is_zerg and phase is Phase.GONE:
            assert self.forgotten == 1
        elif is_broken(self.version):
            is_last_good = self.state.spec is not None and phase is Phase.LISTENING
            assert process is not None or phase is Phase.WAITING or is_last_good
        elif process is not None:
            assert (process.version, process.is_up) == (self.version, True)
            assert process.socket == spec_of(self.version).socket
            assert process.is_hung or phase is Phase.READY
        else:
            assert (phase, self.state.spec) == (Phase.LISTENING, spec_of(self.version))
            assert self.socket == spec_of(self.version).socket

    def possible(self) -> tuple["Action", ...]:
        """What may happen next; what is likely stands there more than once."""
        actions = [World.edit] * 4 + [World.reload, World.retry, World.halt]
        actions += [World.start] * (4 if self.is_halted else 1)
        if self.is_there:
            actions += [World.chmod, World.touch_include, World.remove, World.take_address]
        else:
            actions += [World.edit] * 20  # else most histories would soon be over
        if self.compiles:
            actions += [World.answer] * 8
        if len(self.compiles) > 1:
            actions += [World.answer_late]
        if self.state.is_zerg and self.process is not None:
            actions += [World.exile] * 2
        if self.state.phase is Phase.LISTENING:
            actions += [World.connect] * 4
        if self.process is not None and not self.process.is_up:
            actions += [World.spawned] * 8 + [World.not_spawned]
        elif self.process is not None:
            actions += [World.exit, World.exit, World.exile, World.babble]
            if "kill" in self.process.told:
                actions += [World.exit] * 8
            elif self.process.may_speak():
                actions += [*[World.accept] * 4, World.ask, World.ask, World.go]
                actions += [World.mumble, World.mumble, World.beat, World.hang]
        return tuple(actions)


Action = Callable[[World], None]
