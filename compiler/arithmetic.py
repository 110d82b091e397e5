"""The arithmetic of ``%( )``; ``grammar/expression.lark`` is its reference."""

from __future__ import annotations

from collections.abc import Callable

from lark import Token, Tree

from emperor.compiler.evaluation import leading_number
from emperor.compiler.grammars import parser

LOWEST = -(2**63)


class Crash(Exception):
    """The lowest 64 bit number divided by -1: the processor refuses, uWSGI dies."""


def wrap(number: int) -> int:
    """The number as 64 bits hold it."""
    return (number + 2**63) % 2**64 - 2**63


def _divide(a: int, b: int) -> int:
    if b == 0:
        return 0
    if a == LOWEST and b == -1:
        raise Crash
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _divide,
}


def evaluate(expression: str, value_of: Callable[[str], str | None]) -> str | None:
    """The result of an expression, or nothing if it has no operand.

    ``value_of`` gives the value of an option. Raises ``Crash``.
    """
    result: str | None = None
    operation: Callable[[int, int], int] | None = None
    for word in parser("expression").parse(expression).children:
        assert isinstance(word, Tree)
        text = str(word.children[0])
        assert isinstance(word.children[0], Token)
        if word.data == "operation":
            operation = _OPERATIONS[text]
            continue
        if word.data == "step":
            if result is not None:
                result = str(wrap(leading_number(result) + (1 if text == "++" else -1)))
        else:
            operand = text if word.data == "number" else value_of(text) or ""
            result = _combine(result, operation, operand)
        operation = None
    return result


def _combine(
    result: str | None, operation: Callable[[int, int], int] | None, operand: str
) -> str:
    if operation is None:
        return (result or "") + operand
    return str(wrap(operation(leading_number(result or ""), leading_number(operand))))
