"""All that can happen to a vassal, and what it comes to when everybody does his part."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.support.vassal_rim import UNCHANGED, Process, Rim, is_broken, spec_of

from emperor.runtime import events as ev
from emperor.runtime.events import Cause, Event
from emperor.runtime.law.state import Phase, Vassal
from emperor.runtime.law.table import step
from emperor.runtime.protocol import Word


@dataclass
class World(Rim):
    """A vassal whose file, operators and process do what these methods say."""

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
        if version == UNCHANGED:
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

    # -- time passes ---------------------------------------------------------------------------

    def pause(self) -> None:
        """A little time passes."""
        self.wait(0.3)

    def sit(self) -> None:
        """Much time passes."""
        self.wait(100.0)

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
