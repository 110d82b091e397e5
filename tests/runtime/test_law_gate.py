"""Who may start when; time is what the tests say."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emperor.runtime.law.gate import SILENCE_SECONDS, StartGate

STEP, CAP = 0.003, 0.010


def gate(*, limit: int = 2) -> StartGate[str]:
    return StartGate(limit=limit, step_seconds=STEP, cap_seconds=CAP)


def ask_first(gate: StartGate[str], *names: str, now: float = 0.0) -> None:
    for name in names:
        gate.ask(name, now, is_first=True, is_urgent=False)


def delay_of(gate: StartGate[str], name: str, now: float) -> float:
    """How long somebody who asks now waits; the gate's deadline must be exactly that."""
    gate.ask(name, now, is_first=False, is_urgent=False)
    due = gate.deadline()
    assert due is not None
    assert gate.due(due - 0.0001) == []
    assert gate.due(due) == [name]
    assert gate.deadline() is None
    return due - now


# -- the first population --------------------------------------------------------------


def test_only_so_many_of_the_first_are_under_way() -> None:
    it = gate(limit=2)
    ask_first(it, "a", "b", "c", "d")
    assert it.due(0) == ["a", "b"]
    assert it.due(0) == []
    assert it.has_reported("a")
    assert it.due(0.1) == ["c"]
    assert not it.has_reported("a")  # its place is taken
    assert not it.has_reported("never asked")


def test_the_first_do_not_feel_the_throttle_nor_raise_it() -> None:
    it = gate(limit=100)
    ask_first(it, *"abcdefgh")
    assert it.due(0) == list("abcdefgh")
    assert it.level_seconds == 0
    assert delay_of(it, "z", 0.5) == 0


def test_no_limit_lets_all_of_the_first_through() -> None:
    it = gate(limit=0)
    ask_first(it, *"abcdefgh")
    assert it.deadline() == 0
    assert it.due(0) == list("abcdefgh")
    assert (it.level_seconds, it.deadline()) == (0, None)


def test_one_that_says_nothing_makes_place_after_five_seconds() -> None:
    it = gate(limit=1)
    ask_first(it, "silent", "next", "last", now=10.0)
    assert it.due(10) == ["silent"]
    assert it.deadline() == 10 + SILENCE_SECONDS == 15
    assert it.due(14.999) == []
    assert it.due(15) == ["next"]
    assert not it.has_reported("silent")  # too late: "next" has its place
    assert it.due(15) == []
    assert it.deadline() == 20
    assert it.due(20) == ["last"]
    assert it.deadline() is None  # nobody waits


def test_the_silence_of_each_is_counted_from_its_own_start() -> None:
    it = gate(limit=2)
    ask_first(it, "a")
    assert it.due(0) == ["a"]
    ask_first(it, "b", "c", "d", now=3)
    assert it.due(3) == ["b"]
    assert it.deadline() == 5
    assert it.due(5) == ["c"]
    assert it.deadline() == 8
    assert it.due(8) == ["d"]


def test_who_withdraws_makes_place() -> None:
    it = gate(limit=1)
    ask_first(it, "a", "b", "c")
    it.withdraw("b")  # waits
    assert it.due(0) == ["a"]
    it.withdraw("a")  # is under way
    assert it.due(0) == ["c"]
    it.withdraw("nobody")


# -- the start throttle ----------------------------------------------------------------


def test_a_lone_start_is_not_delayed() -> None:
    it = gate()
    assert [delay_of(it, "a", float(now)) for now in (0, 1, 2, 50)] == [0] * 4


def test_each_start_within_a_second_of_the_last_adds_up_to_the_cap() -> None:
    it = gate()
    delays = [delay_of(it, "a", 100 + 0.1 * number) for number in range(6)]
    assert delays == pytest.approx([0, 0.003, 0.006, 0.009, 0.010, 0.010])


def test_each_start_that_is_not_halves_it() -> None:
    it = gate()
    for number in range(5):
        delay_of(it, "a", 100 + 0.1 * number)
    levels = []
    for now in (110.0, 120.0, 130.0):
        assert delay_of(it, "a", now) == 0
        levels.append(it.level_seconds)
    assert levels == pytest.approx([0.005, 0, 0])  # less than a step is nothing
    assert delay_of(it, "a", 130.5) == pytest.approx(0.003)


def test_exactly_a_second_later_is_no_trigger() -> None:
    it = gate()
    delay_of(it, "a", 1.0)
    assert delay_of(it, "b", 2.0) == 0
    assert delay_of(it, "c", 2.999) == pytest.approx(0.003)


def test_a_delayed_start_delays_nobody_else() -> None:
    it = StartGate[str](limit=1, step_seconds=60.0, cap_seconds=180.0)
    for name in ("a", "b", "c"):  # each waits longer
        it.ask(name, 0.0, is_first=False, is_urgent=False)
    assert it.due(0) == ["a"]
    assert it.deadline() == 60
    ask_first(it, "first", now=0.1)
    it.ask("urgent", 0.1, is_first=False, is_urgent=True)
    it.ask("listener", 2.0, is_first=False, is_urgent=False)  # not within a second: no delay
    assert set(it.due(0.1)) == {"first", "urgent"}
    assert it.due(2.0) == ["listener"]
    assert it.due(59.9) == []
    assert it.due(60) == ["b"]
    assert it.due(120) == ["c"]


# -- those in a hurry ------------------------------------------------------------------


def test_who_is_in_a_hurry_starts_at_once_and_leaves_the_level_alone() -> None:
    it = gate(limit=1)
    ask_first(it, "a", "b")
    assert it.due(0) == ["a"]
    for name in ("x", "y", "z"):
        it.ask(name, 0.1, is_first=name == "x", is_urgent=True)
    assert it.deadline() == 0.1
    assert it.due(0.1) == ["x", "y", "z"]
    assert it.level_seconds == 0
    assert delay_of_the_next(it) == 0


def delay_of_the_next(it: StartGate[str]) -> float:
    """What a start of the second lane waits while the first lane is full."""
    it.ask("next", 0.2, is_first=False, is_urgent=False)
    assert it.due(0.2) == ["next"]
    return it.level_seconds


def test_who_waits_and_gets_in_a_hurry_starts_once() -> None:
    it = gate(limit=1)
    ask_first(it, "a", "b", "c")
    assert it.due(0) == ["a"]
    it.ask("b", 0.0, is_first=True, is_urgent=True)
    assert it.due(0) == ["b"]
    it.has_reported("a")
    assert it.due(0) == ["c"]


def test_an_old_place_in_the_first_lane_is_no_way_round_the_throttle() -> None:
    it = gate(limit=1)
    ask_first(it, "a", "b")
    assert it.due(0) == ["a"]
    it.ask("b", 0.0, is_first=True, is_urgent=True)
    assert it.due(0) == ["b"]
    delay_of_the_next(it)
    it.ask("b", 0.5, is_first=False, is_urgent=False)  # it has died: it waits 3 ms
    it.has_reported("a")
    assert it.due(0.5) == []
    assert it.due(0.5031) == ["b"]


def test_only_the_last_question_counts() -> None:
    it = gate()
    delay_of(it, "other", 0.0)
    for now in (0.1, 0.2, 0.3):
        it.ask("a", now, is_first=False, is_urgent=False)
    assert it.due(0.3) == []
    assert it.due(10) == ["a"]


def test_nothing_asked_nothing_due() -> None:
    it = gate()
    assert (it.due(1e9), it.deadline()) == ([], None)


# -- whatever happens ------------------------------------------------------------------


@dataclass
class Court:
    """The gate, and what those who asked believe; ``waiting`` says who is of the first."""

    gate: StartGate[str]
    limit: int
    now: float = 0.0
    waiting: dict[str, bool] = field(default_factory=dict)
    under_way: dict[str, float] = field(default_factory=dict)  # those of the first

    def act(self, choice: int) -> None:
        name = "abcdefgh"[choice % 8]
        match choice // 8 % 5:
            case 0 if name not in self.under_way:
                self._ask(name, is_first=True, is_urgent=False)
            case 1 if name not in self.under_way:
                self._ask(name, is_first=False, is_urgent=choice % 2 == 0)
            case 2:
                self.gate.withdraw(name)
                self.waiting.pop(name, None)
                self.under_way.pop(name, None)
            case 3:
                assert self.gate.has_reported(name) == (name in self.under_way)
                self.under_way.pop(name, None)
            case 4:
                self.now += choice % 7 / 3
            case _:
                pass
        self.admit()

    def _ask(self, name: str, *, is_first: bool, is_urgent: bool) -> None:
        self.gate.ask(name, self.now, is_first=is_first, is_urgent=is_urgent)
        self.waiting[name] = is_first and self.limit > 0

    def admit(self) -> None:
        silent = [n for n, at in self.under_way.items() if self.now >= at + SILENCE_SECONDS]
        admitted = self.gate.due(self.now)
        for name in silent:
            self.under_way.pop(name)
        for name in admitted:
            if self.waiting.pop(name):  # KeyError: let through and nobody had asked
                self.under_way[name] = self.now
        assert len(self.under_way) <= self.limit
        assert self.gate.due(self.now) == [], "all who may are told at once"
        deadline = self.gate.deadline()
        assert deadline is None or deadline > self.now, "a deadline that has passed"


@settings(max_examples=200)
@given(choices=st.lists(st.integers(0, 8 * 5 * 7 - 1), max_size=60), limit=st.integers(0, 3))
def test_everybody_who_asks_gets_through_once(choices: list[int], limit: int) -> None:
    court = Court(gate(limit=limit), limit)
    for choice in choices:
        court.act(choice)
    for _ in range(50):
        deadline = court.gate.deadline()
        if deadline is None:
            break
        court.now = deadline
        court.admit()
    assert court.waiting == {}
