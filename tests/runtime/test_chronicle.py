"""What stats tell of a vassal: flags and epoch seconds, as uWSGI has them."""

from dataclasses import dataclass, field

from tests.support.vassal_history import LAZY, ONE, TWO, said

from emperor.runtime import events as ev
from emperor.runtime.chronicle import Chronicle
from emperor.runtime.events import Event
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.law.state import Phase, Vassal
from emperor.runtime.law.table import step
from emperor.runtime.protocol import Word


@dataclass
class Life:
    """A vassal with its chronicle; an hour passes with each event."""

    chronicle: Chronicle = field(default_factory=lambda: Chronicle(born=11, last_mod=12))
    state: Vassal = field(default_factory=Vassal)
    seconds: int = 100_000

    def take(self, *events: Event) -> Chronicle:
        queue = list(events)
        while queue:
            before, event = self.state, queue.pop(0)
            self.seconds += 3600
            self.state, effects = step(before, event, float(self.seconds))
            self.chronicle.observe(event, before, self.state, self.seconds)
            queue[:0] = [ev.MayStart() for e in effects if isinstance(e, ev.AskStart)]
        return self.chronicle

    def compiled(self, spec: LaunchSpec = ONE) -> Chronicle:
        return self.take(ev.Compiled(serial=self.state.serial, spec=spec))


def up() -> Life:
    """One that serves."""
    life = Life()
    life.take(ev.Noticed())
    life.compiled()
    life.take(ev.Spawned(pid=7), said(Word.SPAWNED), said(Word.ACCEPTING), said(Word.LOYAL))
    return life


def test_what_never_happened_is_nothing() -> None:
    chronicle = Life().take(ev.Noticed())
    assert chronicle.born == 11
    assert chronicle.last_mod == 12
    assert not chronicle.is_ready
    assert not chronicle.is_accepting
    assert (chronicle.first_run, chronicle.last_run, chronicle.last_exit) == (0, 0, "")
    assert (chronicle.respawns, chronicle.generation, chronicle.cursed) == (0, 0, 0)


def test_the_words_of_a_vassal_are_dated() -> None:
    life = Life()
    life.take(ev.Noticed())
    life.compiled()
    spawned = life.take(ev.Spawned(pid=7))
    assert spawned.first_run == spawned.last_run == life.seconds
    assert (spawned.is_ready, spawned.generation, spawned.respawns) == (False, 1, 0)
    ready = life.take(said(Word.SPAWNED))
    assert (ready.is_ready, ready.is_accepting, ready.last_ready) == (True, False, life.seconds)
    accepting = life.take(said(Word.ACCEPTING))
    assert (accepting.is_accepting, accepting.last_accepting) == (True, life.seconds)
    assert life.take(said(Word.LOYAL)).last_loyal == life.seconds
    assert life.take(said(Word.HEARTBEAT)).last_heartbeat == life.seconds
    before = life.take(ev.Noticed()).last_heartbeat
    assert before == life.seconds - 3600


def test_a_reload_lowers_the_flags_until_it_accepts_again() -> None:
    life = up()
    life.take(ev.Noticed())
    told = life.compiled(TWO)
    assert life.state.phase is Phase.RELOADING
    assert (told.is_ready, told.is_accepting, told.respawns) == (False, False, 1)
    assert told.last_run == life.seconds
    assert told.generation == 1
    assert life.take(said(Word.WANTS_CONFIG)).generation == 2
    again = life.take(said(Word.ACCEPTING))  # uWSGI does not say "spawned" again
    assert (again.is_ready, again.is_accepting, again.respawns) == (True, True, 1)


def test_its_own_reload_lowers_the_flags_too() -> None:
    life = up()
    asking = life.take(said(Word.WANTS_CONFIG))
    assert (asking.is_ready, asking.is_accepting, asking.respawns) == (False, False, 1)


def test_a_death_is_told_and_the_next_process_counted() -> None:
    life = up()
    life.take(said(Word.HEARTBEAT))
    first_run = life.chronicle.first_run
    dead = life.take(ev.Exited(status=-9))
    assert (dead.last_exit, dead.last_exit_at) == ("SIGKILL", life.seconds)
    assert not dead.is_ready
    assert not dead.is_accepting
    life.take(ev.Fresh(serial=life.state.serial))
    again = life.take(ev.Spawned(pid=8))
    assert (again.respawns, again.generation, again.last_heartbeat) == (1, 2, 0)
    assert (again.first_run, again.last_run) == (first_run, life.seconds)


def test_the_blacklist_is_dated() -> None:
    life = Life()
    life.take(ev.Noticed())
    life.compiled()
    life.take(ev.Spawned(pid=7), ev.Exited(status=1))
    first = life.seconds
    assert (life.chronicle.first_attempt, life.chronicle.last_attempt) == (first, first)
    life.take(ev.Tick())
    life.compiled()
    life.take(ev.Spawned(pid=8), ev.Exited(status=1))
    assert (life.chronicle.first_attempt, life.chronicle.last_attempt) == (first, life.seconds)
    life.take(ev.Retry())  # forgotten: it begins again
    life.compiled()
    life.take(ev.Spawned(pid=9), ev.Exited(status=1))
    assert life.chronicle.first_attempt == life.chronicle.last_attempt == life.seconds


def test_cursed_is_since_when_it_has_been_told_to_go() -> None:
    life = up()
    told = life.take(ev.Halt())
    assert told.cursed == life.seconds
    told_at = life.seconds
    assert life.take(ev.Tick()).cursed == told_at
    assert life.take(ev.Exited(status=0)).cursed == 0


def test_an_operators_reload_is_a_modification() -> None:
    life = up()
    assert life.take(ev.Reload()).last_mod == life.seconds
    assert life.take(ev.Noticed()).last_mod == life.seconds - 3600  # the controller's to say


def test_a_listening_socket_is_no_run() -> None:
    life = Life()
    life.take(ev.Noticed())
    told = life.compiled(LAZY)
    assert life.state.phase is Phase.LISTENING
    assert (told.first_run, told.generation, told.respawns) == (0, 0, 0)
