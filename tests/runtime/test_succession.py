"""Who takes whose place, and with what: the records of a vassal's generations."""

import asyncio
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from tests.support.vassal_history import ONE, program

from emperor.runtime import events as ev
from emperor.runtime.addresses import Address, Kind
from emperor.runtime.chronicle import Chronicle
from emperor.runtime.events import Cause
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.law.gate import StartGate
from emperor.runtime.law.state import Phase, Vassal
from emperor.runtime.monitors.sightings import Attributes, Sighting, Stamp
from emperor.runtime.programs.equipment import Equipment
from emperor.runtime.programs.succession import Succession
from emperor.runtime.protocol import Word
from emperor.runtime.roster import Record, Roster
from emperor.runtime.sockets import Listener, listen
from emperor.runtime.views import Key

OLD, NEW = program("old", reload="rolling"), program("new", reload="rolling")


def sighting(size: int = 1) -> Sighting:
    """A file of that many bytes."""
    return Sighting(
        monitor="dir:///vassals",
        name="site.ini",
        path="/vassals/site.ini",
        directory="/vassals",
        stamp=Stamp(mtime_ns=0, size=size, inode=1),
        attributes=Attributes(ctime_ns=0, uid=1, gid=1, mode=0o644),
    )


@dataclass
class Court:
    """A succession, and what it told whom."""

    roster: Roster = field(default_factory=Roster)
    gate: StartGate[Key] = field(
        default_factory=lambda: StartGate(limit=1, step_seconds=1.0, cap_seconds=1.0)
    )
    told: list[tuple[Record, ev.Event]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.succession = Succession(
            roster=self.roster,
            gate=self.gate,
            welcome=self.welcome,
            feed=lambda record, event: self.told.append((record, event)),
        )

    def welcome(self, key: Key, sighting: Sighting) -> Record:
        """A new record."""
        record = Record(key, sighting, Vassal(seed=9), Chronicle(born=1, last_mod=1))
        self.roster.add(record)
        return record

    def running(self, name: str = "site.ini", spec: LaunchSpec = OLD) -> Record:
        """One that runs."""
        record = self.welcome(("dir:///vassals", name), sighting())
        record.state = replace(record.state, phase=Phase.READY, spec=spec, running=spec, seed=1)
        return record

    def heir_of(self, elder: Record) -> Record:
        """One that is to take its place, and runs by now."""
        elder.state = replace(elder.state, spec=NEW, has_heir=True)
        self.succession.start(elder, NEW)
        heir = elder.heir
        assert heir is not None
        heir.state = replace(heir.state, phase=Phase.READY, spec=NEW, running=NEW)
        self.told.clear()
        return heir

    def events(self, record: Record) -> list[ev.Event]:
        """What that one was told."""
        return [event for one, event in self.told if one is record]


def in_a_loop(test: Callable[[], None]) -> None:
    """Run it where a loop runs."""

    async def run() -> None:
        test()

    asyncio.run(run())


def lord_of(record: Record) -> Record | None:
    """Whose zerg it is by now."""
    return record.lord


def equipment_of(record: Record) -> Equipment | None:
    """What it holds by now."""
    return record.equipment


def listener_of(record: Record) -> Listener | None:
    """The on-demand socket that it holds by now."""
    return record.listener


def names(court: Court) -> set[str]:
    """The names of all that there are."""
    return {record.key[1] for record in court.roster}


# -- an heir is started --------------------------------------------------------------------


def test_an_heir_is_another_record_of_the_same_vassal() -> None:
    court = Court()
    elder = court.running()
    elder.section, elder.equipment = "web", Equipment(None)
    court.succession.start(elder, NEW)
    heir = elder.heir
    assert heir is not None
    assert heir.key == ("dir:///vassals", "site.ini:next")
    assert (heir.elder, heir.section, heir.sighting) == (elder, "web", elder.sighting)
    assert heir.equipment not in (None, elder.equipment)
    assert heir.state.seed == elder.state.seed
    assert court.told == [(heir, ev.Begin(spec=NEW))]


def test_another_one_replaces_the_first() -> None:
    court = Court()
    elder = court.running()
    first = court.heir_of(elder)
    court.succession.start(elder, NEW)
    second = elder.heir
    assert second is not None
    assert second is not first
    assert court.told == [(first, ev.Vanished()), (second, ev.Begin(spec=NEW))]
    assert first.elder is None
    assert names(court) == {"site.ini", "site.ini:next", "site.ini:next:2"}
    court.succession.inherit(first)  # it was quick, and too late
    assert court.roster.get(("dir:///vassals", "site.ini")) is elder


def test_it_may_be_a_zerg() -> None:
    court = Court()
    lord, zerg = court.running(), court.running("site.ini:zerg:1")
    zerg.state = replace(zerg.state, is_zerg=True)
    zerg.lord = lord
    lord.zergs.append(zerg.key)
    heir = court.heir_of(zerg)
    assert heir.state.is_zerg
    court.succession.inherit(heir)
    assert (heir.lord, lord_of(zerg)) == (lord, None)
    assert lord.zergs == [heir.key]


# -- it comes to nothing -------------------------------------------------------------------


def test_who_renounces_leaves_all_to_the_one_that_runs() -> None:
    court = Court()
    elder = court.running()
    equipment = elder.equipment = Equipment(None)
    heir = court.heir_of(elder)
    court.succession.renounce(heir, "died")
    assert court.told == [(elder, ev.HeirFailed(message="died"))]
    assert (elder.heir, heir.elder) == (None, None)
    assert equipment_of(elder) is equipment
    court.succession.renounce(heir, "died")
    assert len(court.told) == 1


def test_who_is_not_wanted_any_more_is_told_so_and_nobody_else() -> None:
    court = Court()
    elder = court.running()
    heir = court.heir_of(elder)
    court.succession.end(elder)
    assert court.told == [(heir, ev.Vanished())]
    court.succession.end(elder)
    court.succession.renounce(heir, "is gone")
    court.succession.inherit(heir)
    assert len(court.told) == 1


@pytest.mark.parametrize(
    "change",
    [{"is_wanted": False}, {"spec": program("newest", reload="rolling")}, {"spec": None}],
    ids=lambda change: str(*change),
)
def test_nobody_inherits_when_something_else_is_wanted(change: dict[str, object]) -> None:
    court = Court()
    elder = court.running()
    heir = court.heir_of(elder)
    elder.state = replace(elder.state, **change)  # type: ignore[arg-type]
    court.succession.inherit(heir)
    assert court.told == [(heir, ev.Vanished())]
    assert court.roster.get(("dir:///vassals", "site.ini")) is elder


# -- it inherits ---------------------------------------------------------------------------


def test_an_heir_is_the_vassal_from_then_on() -> None:
    court = Court()
    elder = court.running()
    equipment = elder.equipment = Equipment(None)
    elder.findings, elder.is_broken = ("warning: old",), True
    elder.dependencies = (("/vassals/site.ini", (1, 2, 3)),)
    heir = court.heir_of(elder)
    mine = heir.equipment
    elder.sighting = sighting(size=2)
    chronicle = elder.chronicle
    court.succession.inherit(heir)
    assert (heir.key[1], elder.key[1]) == ("site.ini", "site.ini:old")
    assert court.roster.get(heir.key) is heir
    assert court.roster.get(elder.key) is elder
    assert court.roster.find("site.ini") == (heir,)
    assert (heir.elder, heir.heir, elder.elder, elder.heir) == (None, None, None, None)
    assert (equipment_of(heir), equipment_of(elder)) == (mine, equipment)
    assert (heir.findings, heir.is_broken) == (("warning: old",), True)
    assert heir.dependencies == elder.dependencies
    assert heir.sighting == sighting(size=2)
    assert heir.chronicle is chronicle is not elder.chronicle
    assert (chronicle.respawns, chronicle.generation) == (1, 1)
    assert court.told == [(elder, ev.Superseded())]


def test_several_old_ones_may_be_on_their_way_out() -> None:
    court = Court()
    elder = court.running()
    heir = court.heir_of(elder)
    court.succession.inherit(heir)
    heir.state = replace(heir.state, phase=Phase.READY)
    court.succession.inherit(court.heir_of(heir))
    assert names(court) == {"site.ini", "site.ini:old", "site.ini:old:2"}


def test_its_zergs_are_the_heirs() -> None:
    court = Court()
    elder, zerg = court.running(), court.running("site.ini:zerg:1", ONE)
    zerg.lord = elder
    elder.zergs.append(zerg.key)
    heir = court.heir_of(elder)
    court.succession.inherit(heir)
    assert (heir.zergs, elder.zergs, zerg.lord) == ([zerg.key], [], heir)


@pytest.mark.parametrize("cause", [Cause.FILE, Cause.INCLUDE])
def test_what_was_being_compiled_is_compiled_for_the_heir(cause: Cause) -> None:
    court = Court()
    elder = court.running()
    heir = court.heir_of(elder)
    elder.state = replace(elder.state, pending=cause)
    court.succession.inherit(heir)
    assert court.told == [(elder, ev.Superseded()), (heir, ev.Noticed(cause=cause))]


def test_the_turn_to_start_of_the_one_that_died_is_nobodys() -> None:
    court = Court()
    elder = court.running()
    heir = court.heir_of(elder)
    elder.state = replace(elder.state, phase=Phase.QUEUED)
    court.gate.ask(elder.key, 0.0, is_first=False, is_urgent=False)
    court.succession.inherit(heir)
    assert court.gate.due(9.0) == []


# -- with sockets that the Emperor holds ---------------------------------------------------


class Steered(Equipment):
    """One whose connections can go to the next generation; ``busy`` says whether some wait."""

    busy = True
    refuses = False
    relieved = False

    def heir(self) -> "Steered":
        """That of the next generation."""
        steered = Steered(None)
        steered.refuses = self.refuses
        return steered

    def take_over(self) -> None:
        """Or not."""
        if self.refuses:
            raise OSError(errno.EADDRINUSE, "Address already in use")

    @property
    def is_relieved(self) -> bool:
        """Whether the next generation gets what came here."""
        return self.relieved

    def is_quiet(self) -> bool:
        """Whether nothing waits."""
        return not self.busy


def relieved(court: Court) -> tuple[Record, Record, Steered]:
    """The next one has taken over, and the elder accepts what was there before."""
    elder = court.running()
    steered = elder.equipment = Steered(None)
    heir = court.heir_of(elder)
    steered.relieved = True
    court.succession.inherit(heir)
    return elder, heir, steered


def test_an_elder_is_told_to_go_when_it_has_been_quiet() -> None:
    async def run() -> None:
        court = Court()
        told = asyncio.Event()
        court.told = Heard(told)
        elder, heir, steered = relieved(court)
        assert court.roster.get(("dir:///vassals", "site.ini")) is heir
        assert court.told == []
        steered.busy = False
        await asyncio.wait_for(told.wait(), 20)
        assert court.told == [(elder, ev.Superseded())]

    asyncio.run(run())


class Heard(list[tuple[Record, ev.Event]]):
    """What was told; the first word is an event of the loop's."""

    def __init__(self, told: asyncio.Event) -> None:
        super().__init__()
        self._told = told

    def append(self, item: tuple[Record, ev.Event]) -> None:
        """One more."""
        super().append(item)
        if isinstance(item[1], ev.Superseded):
            self._told.set()


@pytest.mark.parametrize("event", [ev.Exited(status=0), ev.Die(), ev.Leave(grace_seconds=1.0)])
def test_an_elder_that_accepts_the_rest_hears_first_that_it_is_superseded(
    event: ev.Event,
) -> None:
    def test() -> None:
        court = Court()
        elder, heir, _ = relieved(court)
        assert court.succession.hears(heir, event)
        assert court.told == []
        assert court.succession.hears(elder, event)
        assert court.told == [(elder, ev.Superseded())]
        assert court.succession.hears(elder, event)  # told once
        assert len(court.told) == 1

    in_a_loop(test)


def test_an_elder_that_accepts_the_rest_begins_nothing() -> None:
    def test() -> None:
        court = Court()
        elder, _, _ = relieved(court)
        spec = program("three")
        for event in (ev.Compiled(serial=1, spec=spec), ev.Said(byte=Word.WANTS_ZERG)):
            assert not court.succession.hears(elder, event)
        for other in (ev.Tick(), ev.Stopping(), ev.Said(byte=Word.HEARTBEAT)):
            assert court.succession.hears(elder, other)
        assert court.told == []

    in_a_loop(test)


def test_all_old_ones_go_at_once_when_the_vassal_goes() -> None:
    def test() -> None:
        court = Court()
        elder, heir, _ = relieved(court)
        last = court.heir_of(heir)
        court.succession.inherit(last)
        court.told.clear()
        court.succession.end(last)
        assert (elder, ev.Superseded()) in court.told

    in_a_loop(test)


def test_an_heir_that_cannot_have_the_sockets_does_not_inherit() -> None:
    court = Court()
    elder = court.running()
    steered = elder.equipment = Steered(None)
    steered.refuses = True
    heir = court.heir_of(elder)
    court.succession.inherit(heir)
    assert court.events(heir) == [ev.Vanished()]
    (failed,) = court.events(elder)
    assert isinstance(failed, ev.HeirFailed)
    assert "Address already in use" in failed.message
    assert court.roster.get(("dir:///vassals", "site.ini")) is elder


# -- with an on-demand socket --------------------------------------------------------------


def test_nobody_waits_for_a_connection_on_behalf_of_one_that_is_gone() -> None:
    heard: list[Record] = []
    address = Address(kind=Kind.TCP4, name="127.0.0.1", port=0)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        court = Court()
        elder = court.running()
        listener = elder.listener = listen(address, backlog=5)
        elder.listens_at = "127.0.0.1:0"
        heir = court.heir_of(elder)
        assert (heir.listener, heir.listens_at) == (listener, elder.listens_at)
        # it has died, and waits for somebody to connect
        loop.add_reader(listener.fileno(), heard.append, elder)
        court.succession.inherit(heir)
        assert (listener_of(heir), listener_of(elder)) == (listener, None)
        port = listener.socket.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            turn = loop.create_future()
            loop.call_soon(lambda: loop.call_soon(turn.set_result, None))
            await turn
        assert heard == []
        listener.close()

    asyncio.run(run())


def test_an_heir_gets_the_socket_that_is_held_now() -> None:
    address = Address(kind=Kind.TCP4, name="127.0.0.1", port=0)

    def test() -> None:
        court = Court()
        elder = court.running()
        first = elder.listener = listen(address, backlog=5)
        heir = court.heir_of(elder)
        first.close()  # it has died, and its socket was opened anew
        second = elder.listener = listen(address, backlog=5)
        court.succession.inherit(heir)
        assert heir.listener is second
        second.close()

    in_a_loop(test)
