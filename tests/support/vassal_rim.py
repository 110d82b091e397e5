"""One vassal as the daemon's rim has it, without a daemon: events in, effects out.

``Rim`` carries out what the law says, and holds the law to its promises while it does.
"""

import signal
from collections import deque
from dataclasses import dataclass, field
from typing import cast

from tests.support.vassal_land import MONITOR, File, Land
from tests.support.vassal_specs import spec_of

from emperor.compiler.programs.values import Program
from emperor.runtime import events as ev
from emperor.runtime.events import Event
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.law.state import ALIVE, Phase, Vassal
from emperor.runtime.law.table import step
from emperor.runtime.protocol import Order
from emperor.runtime.roster import Record
from emperor.runtime.sockets import Listener

#: How long uWSGI waits for its config, in seconds.
PATIENCE_SECONDS = 5.0

#: The curse: whoever is told to go is killed after that, in seconds.
CURSE_SECONDS = 30.0

#: A compile that found nothing changed.
UNCHANGED = -1

_ON_THE_WAY_UP = (Phase.SPAWNING, Phase.STARTING)
_GOING_ON = (Phase.SPAWNING, *ALIVE)


@dataclass
class Process:
    """A vassal's process as the world has it."""

    version: int
    owner: int
    socket: str | None
    program: Program | None
    is_up: bool = False
    asks_since: float | None = None
    is_new: bool = True  # it has not accepted requests with the config that it has
    is_hung: bool = False  # it does nothing any more, but can be killed
    told: set[str] = field(default_factory=set)
    kill_by: float | None = None  # if it is told to go

    def may_speak(self) -> bool:
        """Whether it can say something: it is there, and does not wait for its config."""
        return self.is_up and not self.is_hung and self.asks_since is None


class _Held:
    """Stands for an open socket."""

    def fileno(self) -> int:
        """A number that is nobody's."""
        return 1_000_000


@dataclass(eq=False)
class Rim:
    """One process of a vassal after the other."""

    land: Land
    file: File
    record: Record
    looked_at: tuple[int, int] | None = None  # by the last compile that was answered in time
    compiles: dict[int, tuple[int, int]] = field(default_factory=dict)  # version and owner
    process: Process | None = None
    forgotten: int = 0
    inbox: deque[Event] = field(default_factory=deque)

    @property
    def state(self) -> Vassal:
        """The state of its law."""
        return self.record.state

    @property
    def is_main(self) -> bool:
        """Whether it is the one that people mean by the file's name."""
        return self.record.key == (MONITOR, self.file.name)

    @property
    def socket(self) -> str | None:
        """The address of the on-demand socket that the Emperor holds."""
        return None if self.record.listener is None else self.record.listens_at

    # -- the rim: events in, effects out -------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Let an event happen, and have done what the law says; who may start then, starts."""
        if isinstance(event, ev.Halt | ev.Vanished):
            self.land.succession.end(self.record)
        is_asked = isinstance(event, ev.Start | ev.Reload) or event == ev.Noticed()
        if self.is_main and is_asked:
            self.file.is_evicted = False
        self.take(event)
        self.land.admit()
        self.land.check()

    def take(self, event: Event) -> None:
        """Let an event happen; events that effects cause have their turn afterwards."""
        self.inbox.append(event)
        if len(self.inbox) > 1:
            return
        while self.inbox:
            self._step(self.inbox[0])
            self.inbox.popleft()
        if self.state.has_reported or self.state.phase not in _ON_THE_WAY_UP:
            self.land.gate.has_reported(self.record.key)

    def start_now(self) -> None:
        """Its turn has come."""
        self.take(ev.MayStart())

    def _step(self, event: Event) -> None:
        before = self.state
        after, effects = step(before, event, self.land.now)
        self.record.state = after
        assert before.phase is not Phase.GONE or (after, effects) == (before, ())
        self.land.tally.events += 1
        if after.phase is not before.phase:
            self.land.tally.edges[before.phase, after.phase, type(event).__name__] += 1
            self._moved(before.phase, after.phase)
        self._check_succession(before, event, effects)
        for effect in effects:
            self._do(effect)
        self._check()

    def _moved(self, before: Phase, after: Phase) -> None:
        if before is Phase.QUEUED and after is not Phase.SPAWNING:
            self.land.gate.withdraw(self.record.key)
        if after is Phase.SPAWNING:
            self.record.is_first = False

    def _do(self, effect: ev.Effect) -> None:
        match effect:
            case ev.Compile(serial=serial, if_stale=if_stale):
                self._compile(serial, if_stale=if_stale)
            case ev.AskStart(is_urgent=is_urgent):
                self.land.gate.ask(
                    self.record.key,
                    self.land.now,
                    is_first=self.record.is_first,
                    is_urgent=is_urgent,
                )
            case ev.Spawn(spec=spec):
                self._spawn(spec)
            case ev.Deliver(spec=spec):
                process = self._listener()
                assert process.asks_since is not None, "a config that nobody asked for"
                process.asks_since = None
                process.version, process.is_new = int(spec.digest), spec.has_workers
            case ev.Send(byte=byte):
                self._tell("reload" if byte == Order.RELOAD else "stop")
            case ev.Signal(signum=signum):
                self._signal(signum)
            case ev.Listen(address=address):
                self._listen(address)
            case ev.Unlisten():
                self.record.listener = None
            case ev.Succeed(spec=spec):
                self.land.succession.start(self.record, spec)
            case ev.Inherit():
                self.land.tally.inherited += 1
                self.land.succession.inherit(self.record)
            case ev.Renounce(message=message):
                self._renounce(message)
            case ev.WantZerg():
                assert not self.state.is_zerg, "a zerg of a zerg"
                self.land.on_zerg(self)  # type: ignore[arg-type]
            case ev.Forget():
                self._forget()
            case ev.Log() | ev.Hook():
                pass

    def _compile(self, serial: int, *, if_stale: bool) -> None:
        """As ``Compilations``: whose it is comes first."""
        assert not self.compiles or serial > max(self.compiles)
        assert not self.state.is_heir, "compiled, and another one runs"
        file = self.file
        spec, phase = self.state.spec or self.state.running, self.state.phase
        file.judged = file.owner
        if spec is not None and spec.owner is not None and spec.owner.uid != file.owner:
            self.land.tally.disowned += 1
            self.land.succession.end(self.record)
            if phase in _GOING_ON:
                file.is_evicted = not self.state.is_restarting
            self.take(ev.Disowned(message="its owner has changed: stopping"))
            if phase in _GOING_ON:
                return
            if_stale = False
        is_known = self.looked_at == (file.version, file.owner)
        is_fresh = if_stale and self.state.spec is not None and is_known
        self.compiles[serial] = (UNCHANGED if is_fresh else file.version, file.owner)

    def _spawn(self, spec: LaunchSpec) -> None:
        assert self.process is None, "two processes"
        assert self.file.is_there, "spawned, and its file is gone"
        assert not self.land.is_ending, "spawned, and the Emperor goes"
        assert not self.file.is_halted, "spawned, and an operator has stopped it"
        assert self.socket == spec.socket, "spawned with another socket than it wants"
        assert spec.owner is not None
        assert spec.owner.uid == self.file.judged, "spawned as a former owner"
        self.file.is_evicted = False
        self.process = Process(
            version=int(spec.digest),
            owner=spec.owner.uid,
            socket=spec.socket,
            program=spec.program,
        )

    def _signal(self, signum: int) -> None:
        process = self._listener()
        program = process.program
        if signum == signal.SIGKILL:
            process.told.add("kill")
        elif program is not None and signum == program.reload_signal:
            assert self.state.running is not None
            assert self.land.now >= (self.state.accepted_at or 0) + 0.5, "killed by a reload"
            process.version = int(self.state.running.digest)
        else:
            assert program is None or signum == program.stop_signal
            self._tell("term")

    def _tell(self, word: str) -> None:
        process = self._listener()
        process.told.add(word)
        if word != "reload" and process.kill_by is None:
            seconds = None if process.program is None else process.program.stop_seconds
            process.kill_by = self.land.now + (CURSE_SECONDS if seconds is None else seconds)

    def _listen(self, address: str) -> None:
        if self.socket != address:
            self.record.listener = None
        if self.file.is_taken and self.socket is None:
            self.inbox.append(ev.NotListening(message="Address already in use"))
        else:
            self.record.listener = cast(Listener, _Held())
            self.record.listens_at = address
            self.inbox.append(ev.Listening())

    def _renounce(self, message: str) -> None:
        elder, spec = self.record.elder, self.state.spec
        if elder is not None and elder.state.has_heir:
            assert spec is not None
            self.file.failed_version = int(spec.digest)
            self.land.tally.renounced += 1
        self.land.succession.renounce(self.record, message)

    def _forget(self) -> None:
        assert self.process is None, "forgotten while it runs"
        assert self.record.elder is None, "gone, and another one waits for it"
        self.land.roster.remove(self.record)
        self.land.gate.withdraw(self.record.key)
        self.land.succession.end(self.record)
        self.record.listener = None
        if self.record.lord is not None:
            self.record.lord.zergs.remove(self.record.key)
        self.forgotten += 1

    def _listener(self) -> Process:
        assert self.process is not None, "said to nobody"
        assert self.process.is_up, "said to nobody yet"
        return self.process

    # -- what must hold ------------------------------------------------------------------------

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
        if phase is Phase.READY:
            assert not self.state.is_heir, "ready, and takes nobody's place"

    def _check_succession(
        self, before: Vassal, event: Event, effects: tuple[ev.Effect, ...]
    ) -> None:
        """Who serves goes on until the next one does."""
        stops = [e for e in effects if isinstance(e, ev.Send | ev.Signal)]
        match event:
            case ev.Superseded():
                main = self.land.of(self.file.name)
                assert main is not None
                assert main is not self
                assert main.state.phase is Phase.READY, "stopped before the next one is ready"
                assert main.process is not None
                assert not main.process.told & {"stop", "term", "kill"}
            case ev.Compiled() if before.phase is Phase.READY:
                was, now = before.running, self.state.spec
                if was is None or now is None or was.program is None or now.program is None:
                    return
                if now.program.reload == "rolling" and was.socket == now.socket:
                    assert not stops, "stopped before the next one is ready"
            case ev.HeirFailed():
                assert not stops
                assert before.blacklisted == self.state.blacklisted
            case _:
                pass

    def check_process(self) -> None:
        """What holds whenever something has happened to any process of the file."""
        record, process = self.record, self.process
        assert record.heir is None or record.heir.elder is record
        assert record.elder is None or record.elder.heir is record
        if self.state.has_heir and self.state.phase in ALIVE:
            assert record.heir is not None, "it waits for nobody"
        if process is None or not process.is_up:
            return
        if process.owner != self.file.judged:
            is_told_soon = self.state.phase is Phase.STOPPING and self.state.hold is not None
            is_told = is_told_soon or process.told & {"stop", "term", "kill"}
            assert is_told, "a former owner's process lives on"
        if process.kill_by is not None and self.land.now >= process.kill_by:
            assert "kill" in process.told, "it goes on and on"

    def on_time(self) -> None:
        """Its own deadline may have come."""
        deadline = self.state.deadline()
        if deadline is None or deadline > self.land.now:
            return
        self.take(ev.Tick())
        after = self.state.deadline()
        assert after is None or after > self.land.now, "a tick that changes nothing"
        process = self.process
        if process and process.asks_since is not None and "kill" not in process.told:
            waited = self.land.now - process.asks_since
            assert waited <= PATIENCE_SECONDS, "left without config"

    def spec_wanted(self) -> LaunchSpec:
        """What its file says now."""
        return spec_of(self.file.version, self.file.owner)
