"""The three passes, and where they end."""

import time

import pytest
from tests.support.readers import codes, compile_text

from emperor.compiler.evaluation import MOST_ENTRIES
from emperor.compiler.logic import MOST_ROUNDS


def values(text: str, **environment: str) -> dict[str, str | None]:
    compiled = compile_text(f"[uwsgi]\n{text}\n", environment=environment)
    assert compiled.ok, compiled.diagnostics
    return dict(compiled.options)


def test_the_environment_comes_before_options() -> None:
    assert values("a = $(X)\nb = 1", X="<%(b)>")["a"] == "<1>"


def test_the_first_option_of_a_name_is_meant() -> None:
    assert values("a = 1\na = 2\nb = %(a)")["b"] == "1"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("%(nope) $(NOPE)", "%(nope) $(NOPE)"),
        ("x%(%(b))", "x1"),
        ("%(%(b))", "%(a)"),
        ("%(a", "%(a"),
        ("%()", "%()"),
        ("%(a%(a))", "%(a1)"),
        ("%(f(x))", "round"),
        ("$%(a)", "$1"),
    ],
)
def test_odd_placeholders(value: str, wanted: str) -> None:
    assert values(f"x = {value}\na = 1\nb = a\nf(x) = round")["x"] == wanted


@pytest.mark.parametrize(
    "text",
    ["a = x%(a)", "a = x%(b)\nb = y%(a)", "a = %(b)%(b)z\nb = %(a)%(a)z", "a = . %(a) %(a) ."],
)
def test_what_grows_without_an_end_is_an_error_soon(text: str) -> None:
    begin = time.process_time()
    compiled = compile_text(f"[uwsgi]\n{text}\n")
    assert codes(compiled) == ["placeholder-cycle"]
    assert time.process_time() - begin < 10


def test_the_value_of_a_cycle_is_shown_as_it_was_written() -> None:
    compiled = compile_text("[uwsgi]\na = x%(a)\n")
    assert compiled.options == [("a", "x%(a)")]


def test_many_placeholders_in_one_value_are_no_cycle() -> None:
    assert values("a = 1\nb = " + "%(a)." * 400)["b"] == "1." * 400


def test_a_loop_beyond_all_meaning_is_refused() -> None:
    compiled = compile_text(f"[uwsgi]\nfor-times = {MOST_ROUNDS + 1}\na = %(_)\nendfor =\n")
    assert codes(compiled) == ["too-large"]
    assert len(compiled.options) < MOST_ENTRIES


def test_facts_of_the_vassal_do_not_hide_options_of_that_name() -> None:
    assert values("vassal.name = mine\nx = <%(vassal.name)>")["x"] == "<mine>"
