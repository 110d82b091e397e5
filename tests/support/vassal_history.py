"""A vassal's law as a history: what happens, and what is done about it."""

import signal
from dataclasses import dataclass, field, replace

from emperor.compiler.programs.values import Program
from emperor.runtime import events as ev
from emperor.runtime.events import Cause, Effect, Event
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.law.rules import Rules
from emperor.runtime.law.state import Phase, Vassal
from emperor.runtime.law.table import step
from emperor.runtime.protocol import Order, Word

ONE = LaunchSpec(
    argv=("uwsgi", "--inherit", "emperor://site.ini"),
    cwd="/vassals",
    set=(),
    unset=(),
    delivered=(b"[uwsgi]\ngreeting = one\n",),
    digest="one",
    has_master=True,
    reload_seconds=90,
)
TWO = replace(ONE, delivered=(b"[uwsgi]\ngreeting = two\n",), digest="two")
BARE = replace(ONE, digest="bare", has_master=False)
LAZY = replace(ONE, digest="lazy", socket="/run/lazy.socket")

SERVED = replace(
    ONE, argv=("server",), delivered=(), digest="served", has_master=False, program=Program()
)

STOP, RELOAD = ev.Send(byte=Order.STOP), ev.Send(byte=Order.RELOAD)
GRACEFUL_STOP = ev.Send(byte=Order.GRACEFUL_STOP)
TERM = ev.Signal(signum=signal.SIGTERM)
KILL = ev.Signal(signum=signal.SIGKILL, is_for_group=True)
_ASIDE = (ev.Log, ev.Hook, ev.AskStart, ev.Unlisten)


@dataclass
class History:
    """A vassal and what has been done about it; time passes only when told to. With
    ``is_held`` nobody who asks to start may, with ``is_taken`` no socket is to be had."""

    state: Vassal = field(default_factory=Vassal)
    now: float = 1000.0
    is_held: bool = False
    is_taken: bool = False
    done: tuple[Effect, ...] = ()

    @property
    def phase(self) -> Phase:
        """Where it stands."""
        return self.state.phase

    def take(self, *events: Event) -> tuple[Effect, ...]:
        """What is done about these events, log lines and hooks apart. Whoever asks to start
        may start at once, unless it is held; every socket can be had, unless it is taken."""
        self.done = ()
        queue = list(events)
        while queue:
            self.state, effects = step(self.state, queue.pop(0), self.now)
            self.done += effects
            if not self.is_held:
                queue[:0] = [ev.MayStart() for e in effects if isinstance(e, ev.AskStart)]
            if not self.is_taken:
                queue[:0] = [ev.Listening() for e in effects if isinstance(e, ev.Listen)]
        return tuple(effect for effect in self.done if not isinstance(effect, _ASIDE))

    def said(self) -> list[str]:
        """What was logged by the last ``take``."""
        return [effect.message for effect in self.done if isinstance(effect, ev.Log)]

    def hooks(self) -> list[str]:
        """The hooks that the last ``take`` ran."""
        return [effect.moment for effect in self.done if isinstance(effect, ev.Hook)]

    def wait(self, seconds: float) -> tuple[Effect, ...]:
        """What is done by then: a tick comes when the state wants one."""
        end, done = self.now + seconds, tuple[Effect, ...]()
        while (deadline := self.state.deadline()) is not None and deadline <= end:
            self.now = max(deadline, self.now)
            done += self.take(ev.Tick())
            after = self.state.deadline()
            assert after is None or after > self.now, "a tick that changes nothing"
        self.now = end
        return done

    def compiled(self, spec: LaunchSpec = ONE) -> tuple[Effect, ...]:
        """The last compile asked for has given a spec."""
        return self.take(ev.Compiled(serial=self.state.serial, spec=spec))

    def not_compiled(self, kept: LaunchSpec | None = None) -> tuple[Effect, ...]:
        """The last compile asked for has given none."""
        return self.take(ev.NotCompiled(serial=self.state.serial, kept=kept))

    def fresh(self) -> tuple[Effect, ...]:
        """Nothing has changed since the last good compile."""
        return self.take(ev.Fresh(serial=self.state.serial))

    def comes_back(self, spec: LaunchSpec) -> bool:
        """Whether it is soon spawned with this spec, when every compile gives it."""
        self.wait(2.0)
        self.compiled(spec)
        return (self.state.phase, self.state.running) == (Phase.SPAWNING, spec)

    def is_compiling(self, cause: Cause, *, if_stale: bool = False) -> ev.Compile:
        """The effect that asks for the compile that is under way."""
        return ev.Compile(serial=self.state.serial, cause=cause, if_stale=if_stale)

    def attempts(self) -> int:
        """How often it died before it was loyal; 0 is not on the blacklist."""
        return 0 if self.state.blacklisted is None else self.state.blacklisted.attempts

    def next_try(self) -> float | None:
        """In how many seconds it is spawned again; nothing if it does not wait for that."""
        if self.state.phase is not Phase.DELAYED or self.state.until is None:
            return None
        return self.state.until - self.now


def said(word: Word) -> ev.Said:
    """One byte from the vassal."""
    return ev.Said(byte=word)


def fresh_one(**fields: object) -> History:
    """A vassal of which nothing is known; ``fields`` are rules."""
    return History(Vassal(rules=replace(Rules(), **fields)))  # type: ignore[arg-type]


def starting(spec: LaunchSpec = ONE, **fields: object) -> History:
    """A vassal whose process is there and has said nothing."""
    history = fresh_one(**fields)
    history.take(ev.Noticed())
    history.compiled(spec)
    if history.phase is Phase.LISTENING:
        history.take(ev.Connected())
    history.take(ev.Spawned(pid=7))
    assert history.phase is Phase.STARTING
    return history


def ready(spec: LaunchSpec = ONE, **fields: object) -> History:
    """A loyal vassal that has served requests for a while."""
    history = starting(spec, **fields)
    history.take(said(Word.SPAWNED), said(Word.ACCEPTING), said(Word.LOYAL))
    history.now += 10
    assert history.phase is Phase.READY
    return history


def program(name: str = "one", **fields: object) -> LaunchSpec:
    """A config of a program; ``fields`` say how it is treated."""
    treated = replace(Program(), **fields)  # type: ignore[arg-type]
    return replace(SERVED, argv=("server", name), digest=name, program=treated)


def serving(spec: LaunchSpec, **fields: object) -> History:
    """A vassal whose program has been ready for a while, and is loyal."""
    history = fresh_one(**fields)
    history.take(ev.Noticed())
    history.compiled(spec)
    history.take(ev.Spawned(pid=7))
    history.take(said(Word.ACCEPTING), said(Word.LOYAL))
    history.now += 10
    assert history.phase is Phase.READY
    return history


def heir(spec: LaunchSpec, **fields: object) -> History:
    """An heir whose process was asked for."""
    history = fresh_one(**fields)
    assert history.take(ev.Begin(spec=spec)) == (ev.Spawn(spec=spec),)
    return history


def reloading(spec: LaunchSpec = TWO, **fields: object) -> History:
    """A vassal that was told to reload and has been given its config."""
    history = ready(ONE, **fields)
    history.take(ev.Noticed())
    assert history.compiled(spec) == (RELOAD,)
    assert history.take(said(Word.WANTS_CONFIG)) == (ev.Deliver(spec=spec),)
    return history


def listening(spec: LaunchSpec = LAZY, **fields: object) -> History:
    """An on-demand vassal that waits for a connection."""
    history = fresh_one(**fields)
    history.take(ev.Noticed())
    assert spec.socket is not None
    assert history.compiled(spec) == (ev.Listen(address=spec.socket),)
    return history
