"""docs/vassal-states.md says what the law does."""

import os
import re
from collections.abc import Callable

import pytest
from tests.support import states_page
from tests.support.vassal_history import (
    LAZY,
    ONE,
    TWO,
    History,
    said,
)

from emperor.runtime import events as ev
from emperor.runtime.law.state import Phase, Vassal
from emperor.runtime.law.table import TABLE
from emperor.runtime.protocol import Word

_HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(_HERE, "../../docs/vassal-states.md"), encoding="utf-8") as _file:
    PAGE = _file.read()


def section(title: str) -> str:
    """What stands below a heading, up to the next of its kind."""
    found = PAGE.partition(f"\n## {title}\n\n")[2].partition("\n## ")[0]
    assert found, title
    return found


def rows(title: str) -> list[list[str]]:
    """The rows of a section's table, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


# -- what is generated -----------------------------------------------------------------


def test_the_table_is_the_laws() -> None:
    assert section("What each event does in each phase").endswith(states_page.tables())


def test_the_events_are_the_laws() -> None:
    assert section("Events").endswith(states_page.events())


def test_the_drawing_has_every_legal_transition_and_no_other() -> None:
    assert section("Transitions").endswith(states_page.drawing())
    drawn = []
    before = ""
    for line in section("Transitions").splitlines():
        branch = re.fullmatch(r"    (?:(\w+) -+| +)[+`]--> (\w+) +.*", line)
        if branch:
            before = branch[1] or before
            drawn.append((Phase(before), Phase(branch[2])))
    assert drawn == sorted(states_page.EDGES, key=drawn.index)
    assert len(drawn) == len(set(drawn)) == len(states_page.EDGES)


def test_only_events_of_the_table_cause_transitions() -> None:
    answered = {(phase, event.__name__) for phase, event in TABLE}
    for (before, _), causes in states_page.EDGES.items():
        assert {(before, cause) for cause in causes} <= answered


def test_every_action_has_its_words() -> None:
    assert set(states_page.MEANINGS) == {action.__name__ for action in TABLE.values()}


def test_every_phase_is_explained_and_answers() -> None:
    listed = [row[0].strip("`") for row in rows("Phases")]
    assert listed == [phase.value for phase in Phase]
    in_groups = [phase for group in states_page.groups() for phase in group]
    assert sorted(p.value for p in (*in_groups, Phase.GONE)) == sorted(p.value for p in Phase)


def test_the_usual_life_is_legal() -> None:
    values = "|".join(phase.value for phase in Phase)
    arrow = re.compile(rf"({values}) (<?)-+> (?=({values}))")
    steps = arrow.findall(section("Phases"))
    assert len(steps) == 4
    for before, back, after in steps:
        assert (Phase(before), Phase(after)) in states_page.EDGES
        assert not back or (Phase(after), Phase(before)) in states_page.EDGES


def test_every_word_is_explained() -> None:
    assert [int(row[0]) for row in rows("What a vassal says")] == [*Word]


# -- the endings: each row is tried ----------------------------------------------------


def vassal(kind: str) -> History:
    """One of that kind whose process runs."""
    spec = LAZY if kind == "on demand" else ONE
    history = History(Vassal(is_zerg=kind == "zerg"))
    history.take(ev.Noticed())
    history.compiled(spec)
    if kind == "on demand":
        history.take(ev.Connected())
    history.take(ev.Spawned(pid=7), said(Word.ACCEPTING))
    history.now += 10
    return history


def left_and_edited(history: History) -> None:
    history.take(said(Word.LEAVING), ev.Noticed())
    history.compiled(LAZY if history.state.spec == LAZY else TWO)


def hung(history: History) -> None:
    history.take(said(Word.LOYAL), said(Word.HEARTBEAT))
    history.wait(40)
    assert history.state.is_restarting


BEFORE: dict[str, tuple[Callable[[History], object], int]] = {
    "its file went, or the Emperor goes": (lambda it: it.take(ev.Vanished()), 0),
    "an operator stopped it": (lambda it: it.take(ev.Halt()), 0),
    "it was told to restart, or killed as hung": (hung, -9),
    "it said byte 22": (lambda it: it.take(said(Word.LEAVING)), 0),
    "it said byte 22, and its file changed": (left_and_edited, 0),
    "nothing, and it ended with exit code 26": (lambda it: None, 26),
    "nothing, and it was loyal": (lambda it: it.take(said(Word.LOYAL)), 1),
    "nothing, and it was not loyal": (lambda it: None, 1),
}


@pytest.mark.parametrize("row", rows("Endings"), ids=lambda row: str(row[0]))
def test_an_ending_leads_where_the_page_says(row: list[str]) -> None:
    prepare, status = BEFORE[row[0]]
    for kind, phase in zip(("plain", "on demand", "zerg"), row[1:], strict=True):
        history = vassal(kind)
        prepare(history)
        history.take(ev.Exited(status=status))
        assert f"`{history.phase.value}`" == phase, kind


def test_all_endings_are_there_in_the_order_in_which_they_count() -> None:
    assert [row[0] for row in rows("Endings")] == list(BEFORE)


@pytest.mark.parametrize("row", rows("Exit codes"), ids=lambda row: str(row[0]))
@pytest.mark.parametrize("is_loyal", [True, False])
def test_an_exit_code_counts_as_what_the_page_says(row: list[str], is_loyal: bool) -> None:
    history = vassal("plain")
    if is_loyal:
        history.take(said(Word.LOYAL))
    history.take(ev.Exited(status=int(row[0])))
    died = Phase.WAITING if is_loyal else Phase.DELAYED
    assert history.phase is {"died": died, "leaves": Phase.PARKED}[row[3]]


def test_no_other_exit_code_is_special() -> None:
    special = {int(row[0]) for row in rows("Exit codes") if row[3] != "died"}
    for status in range(-64, 256):
        history = vassal("plain")
        history.take(ev.Exited(status=status))
        assert (history.phase is Phase.PARKED) == (status in special)
