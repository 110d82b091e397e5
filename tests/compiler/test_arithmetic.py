"""``%( )`` with a space in it: words, worked off from left to right in 64 bits."""

import pytest

from emperor.compiler.arithmetic import Crash, evaluate, wrap

VALUES = {"two": "2", "ten": "10", "text": "12abc", "minus": "-7", "most": str(2**63 - 1)}
LOWEST = str(-(2**63))


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("two + 3", "5"),
        ("2 + 3 * 4", "20"),
        ("ten two", "102"),
        ("ten / 3", "3"),
        ("minus / 2", "-3"),
        ("ten / 0", "0"),
        ("ten - - * 3", "30"),
        ("ten ++", "11"),
        ("ten -- --", "8"),
        ("++ ten", "10"),
        ("text + 1", "13"),
        ("undefined + 1", "1"),
        ("undefined two", "2"),
        ("two undefined", "2"),
        ("most + 1", LOWEST),
        ("99999999999999999999 + 0", str(2**63 - 1)),
        ("two * most", "-2"),
        ("ten +", "10"),
        (" two", "2"),
        ("-2 + 1", "1"),
        ("0x10 + 1", "1"),
        ("007 + 1", "8"),
        ("007 two", "0072"),
    ],
)
def test_an_expression_is_worked_off_from_left_to_right(expression: str, result: str) -> None:
    assert evaluate(expression, VALUES.get) == result


@pytest.mark.parametrize("expression", [" ", "+ -", "++ --", "+ "])
def test_without_an_operand_there_is_no_result(expression: str) -> None:
    assert evaluate(expression, VALUES.get) is None


def test_the_one_division_that_kills_uwsgi_is_refused() -> None:
    with pytest.raises(Crash):
        evaluate("low / less", {"low": LOWEST, "less": "-1"}.get)


@pytest.mark.parametrize("number", [0, 1, -1, 2**63 - 1, -(2**63)])
def test_numbers_of_64_bits_stay(number: int) -> None:
    assert wrap(number) == number


def test_larger_numbers_wrap() -> None:
    assert wrap(2**63) == -(2**63)
    assert wrap(-(2**63) - 1) == 2**63 - 1
    assert wrap(2**64 + 5) == 5
