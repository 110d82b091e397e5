"""All that can happen to a vassal, and what it comes to when everybody does his part."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.support.vassal_rim import UNCHANGED, Process, Rim
from tests.support.vassal_specs import is_broken, spec_of

from emperor.runtime import events as ev
from emperor.runtime.events import Cause, Event
from emperor.runtime.law.state import Phase
from emperor.runtime.law.table import step
from emperor.runtime.protocol import Word


@dataclass(eq=False)
class World(Rim):
    """A vassal whose file, operators and process do what these methods say."""

    # -- what happens to its file, and what people want ----------------------------------------

    def edit(self) -> None:
        """The file is there, and new."""
        if not self.land.is_ending:
            self.file.version += 1
            self.file.is_there = True
            self.feed(ev.Noticed())

    def touch(self) -> None:
        """The file has a new stamp, and says the same."""
        if self.file.is_there and not self.land.is_ending:
            self.feed(ev.Noticed())

    def chmod(self) -> None:
        """Only the file's mode is new."""
        if self.file.is_there and not self.land.is_ending:
            self.feed(ev.Noticed(cause=Cause.ATTRIBUTES))

    def chown(self) -> None:
        """The file is given to somebody else."""
        self.file.owner = 3 - self.file.owner
        self.chmod()

    def seize(self) -> None:
        """Somebody else puts his file in its place."""
        self.file.owner = 3 - self.file.owner
        self.edit()

    def touch_include(self) -> None:
        """A file that it reads has a new stamp."""
        if self.file.is_there and not self.land.is_ending:
            self.feed(ev.Noticed(cause=Cause.INCLUDE))

    def remove(self) -> None:
        """The file is gone."""
        if self.file.is_there:
            self.file.is_there = False
            self.feed(ev.Vanished())

    def reload(self) -> None:
        """An operator asks for a reload."""
        self.feed(ev.Reload())

    def halt(self) -> None:
        """An operator stops it; an heir alone, by its own name."""
        self.file.is_halted |= self.is_main
        self._told(ev.Halt())

    def start(self) -> None:
        """An operator starts it."""
        self.file.is_halted &= not self.is_main
        self._told(ev.Start())

    def retry(self) -> None:
        """SIGURG."""
        self._told(ev.Retry())
        assert self.state.blacklisted is None or self.state.phase is Phase.GONE

    def _told(self, event: Event) -> None:
        once, _ = step(self.state, event, self.land.now)
        twice, _ = step(once, event, self.land.now)
        assert replace(twice, serial=0) == replace(once, serial=0), "twice is not once"
        self.feed(event)

    def leave(self) -> None:
        """The Emperor goes."""
        self.land.end(ev.Leave(grace_seconds=30.0))

    def die(self) -> None:
        """The Emperor goes now."""
        self.land.end(ev.Die())

    # -- what its compiles give ----------------------------------------------------------------

    def answer(self) -> None:
        """The compile that was asked for last is answered; a second answer changes nothing."""
        if not self.compiles:
            return
        serial = max(self.compiles)
        event = self._answer(serial, *self.compiles.pop(serial))
        self.feed(event)
        again, effects = step(self.state, event, self.land.now)
        assert (again, effects) == (self.state, ()), "answered twice"

    def answer_late(self) -> None:
        """A compile that nobody waits for any more is answered."""
        if len(self.compiles) > 1:
            serial = min(self.compiles)
            before = self.state
            self.feed(self._answer(serial, *self.compiles.pop(serial)))
            assert self.state == before

    def _answer(self, serial: int, version: int, owner: int) -> Event:
        if version == UNCHANGED:
            return ev.Fresh(serial=serial)
        if is_broken(version):
            return ev.NotCompiled(serial=serial)
        if serial == self.state.serial:
            self.looked_at = (version, owner)
        return ev.Compiled(serial=serial, spec=spec_of(version, owner))

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
            if self.process.program is not None and self.process.program.ready == "running":
                return  # it says nothing
            has_workers = spec_of(self.process.version).has_workers
            self.process.is_new = False
            self.feed(ev.Said(byte=Word.ACCEPTING if has_workers else Word.SPAWNED))

    def ask(self) -> None:
        """It starts over, and asks for its config."""
        if self.process is not None and self.process.may_speak():
            if self.process.program is None:
                self.process.told.discard("reload")
                self.process.asks_since = self.land.now
            self.feed(ev.Said(byte=Word.WANTS_CONFIG))

    def go(self) -> None:
        """It says that it leaves of its own will."""
        if self.process is not None and self.process.may_speak():
            self.feed(ev.Said(byte=Word.LEAVING))

    def retire(self) -> None:
        """A program says by systemd's protocol that it is on its way out."""
        process = self.process
        if process is not None and process.may_speak() and process.program is not None:
            self.feed(ev.Stopping())
            process.told.add("stop")  # nobody has to tell it

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
            if self.is_main:
                self.file.last_version = self.process.version
            self.process = None
            self.feed(ev.Exited(status=status))

    def leave_quietly(self) -> None:
        """It is dead, and says that all is well."""
        self.exit(0)

    def exile(self) -> None:
        """It is dead, and wants no successor."""
        self.exit(26)

    def connect(self) -> None:
        """Somebody connects to its socket."""
        if self.state.phase is Phase.LISTENING:
            self.feed(ev.Connected())

    def take_address(self) -> None:
        """Somebody else takes its address, or gives it back."""
        self.file.is_taken = not self.file.is_taken

    # -- time passes ---------------------------------------------------------------------------

    def pause(self) -> None:
        """A little time passes."""
        self.land.wait(0.3)

    def sit(self) -> None:
        """Much time passes."""
        self.land.wait(100.0)

    # -- a world in which everybody does what he should ----------------------------------------

    def carry_on(self) -> bool:
        """Let the next thing happen that must; says whether there was one. Nobody is in the
        way any more, and only who hangs does not obey."""
        self.file.is_taken = False
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
        is_mute = process.program is not None and process.program.ready == "running"
        if process.told & {"stop", "term"}:
            self.exit(0)
        elif "reload" in process.told:
            self.ask()
        elif process.is_new and not is_mute:
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
        file, phase, process = self.file, self.state.phase, self.process
        is_behind = self.state.is_behind and file.failed_version == file.version
        assert not self.state.is_heir, "neither here nor there"
        assert not self.state.has_heir
        if not file.is_there or self.land.is_ending or not self.is_main:
            assert (phase, process, self.forgotten) == (Phase.GONE, None, 1)
        elif file.is_halted:
            assert (phase, process) == (Phase.PARKED, None)
        elif phase is Phase.PARKED:
            has_left = file.last_version == file.version or is_broken(file.version)
            assert has_left or file.is_evicted or is_behind
        elif self.state.is_zerg and phase is Phase.GONE:
            assert self.forgotten == 1
        elif is_broken(file.version):
            is_last_good = self.state.spec is not None and phase is Phase.LISTENING
            assert process is not None or phase is Phase.WAITING or is_last_good
        elif process is not None:
            assert process.is_up
            assert process.owner == file.owner
            assert process.version == file.version or is_behind
            assert process.socket == spec_of(process.version).socket
            assert process.is_hung or phase is Phase.READY
        else:
            assert phase is Phase.LISTENING
            assert self.state.spec is not None
            assert self.state.spec == self.spec_wanted() or is_behind
            assert self.socket == self.state.spec.socket

    def possible(self) -> tuple["Action", ...]:
        """What may happen next; what is likely stands there more than once."""
        actions: list[Action] = [World.pause]
        if self.is_main:
            actions += self._of_people()
        elif self.state.is_heir:
            actions += [World.halt, World.start, World.retry]
        if self.compiles:
            actions += [World.answer] * 8
        if len(self.compiles) > 1:
            actions += [World.answer_late]
        if self.state.is_zerg and self.process is not None:
            actions += [World.exile] * 2
        if self.state.phase is Phase.LISTENING:
            actions += [World.connect] * 4
        return (*actions, *self._of_process())

    def _of_people(self) -> list["Action"]:
        actions: list[Action] = [World.edit] * 8
        actions += [World.reload, World.retry, World.halt]
        actions += [World.start] * (6 if self.file.is_halted else 1)
        if not self.file.is_there:
            return actions + [World.edit] * 20  # else most histories would soon be over
        actions += [World.chmod, World.touch_include, World.remove, World.take_address]
        return [*actions, *[World.touch] * 8, World.seize, World.chown]

    def _of_process(self) -> list["Action"]:
        process = self.process
        if process is None:
            return []
        if not process.is_up:
            return [World.not_spawned, *[World.spawned] * 8]
        actions: list[Action] = [World.babble]
        actions += [World.exit] * (4 if self.state.is_heir else 1)
        if "kill" in process.told:
            return actions + [World.exit] * 10
        if not process.may_speak():
            return actions
        actions += [World.accept] * 8 + [World.mumble, World.beat, World.hang, World.go]
        if process.program is not None:
            return [*actions, World.ask, World.retire, World.beat, World.leave_quietly]
        actions += [World.exit, World.exile, World.exile, World.ask, World.ask]
        return actions + [World.mumble] * 3


Action = Callable[[World], None]
