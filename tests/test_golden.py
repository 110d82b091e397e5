"""Golden cases, and the laws that hold for every one of them.

A new directory below ``golden/`` is a new test; ``--update-golden`` writes what it expects.
"""

import json
from collections.abc import Iterator

import jsonschema
import pytest
from tests.support.golden import (
    GoldenCase,
    compile_golden,
    diagnostics_text,
    golden_cases,
    laid_out,
    plan_text,
    vassal_names,
)
from tests.support.package import schema

from emperor.compiler.plan import Plan, plan_from_data
from emperor.compiler.render import as_data, render
from emperor.compiler.spec import VassalCompile

CASES = golden_cases()


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> GoldenCase:
    found: GoldenCase = request.param
    return found


@pytest.fixture
def root(case: GoldenCase) -> Iterator[str]:
    with laid_out(case) as directory:
        yield directory


def test_a_case_gives_what_it_expects(
    case: GoldenCase, root: str, request: pytest.FixtureRequest
) -> None:
    found = {"plan.json": _plans(case, root), "diagnostics.txt": _diagnostics(case, root)}
    if request.config.getoption("--update-golden"):
        for name, text in found.items():
            path = case.directory / name
            path.unlink(missing_ok=True)
            if text:
                path.write_text(text, encoding="utf-8")
    for name, text in found.items():
        assert (text or None) == case.expected(name), name


def _plans(case: GoldenCase, root: str) -> str:
    """The one plan of all formats, or nothing where they cannot be run."""
    texts = {}
    for name in vassal_names(root):
        plan = compile_golden(case, root, name).plan
        texts[name] = plan_text(plan, root) if plan is not None else ""
    first, *others = texts.values()
    assert all(text == first for text in others), "the formats do not mean the same"
    return first


def _diagnostics(case: GoldenCase, root: str) -> str:
    texts = [
        diagnostics_text(compile_golden(case, root, name), root) for name in vassal_names(root)
    ]
    return "\n".join(text for text in texts if text)


def _results(case: GoldenCase, root: str) -> list[VassalCompile]:
    return [compile_golden(case, root, name) for name in vassal_names(root)]


def test_compiling_twice_gives_the_same(case: GoldenCase, root: str) -> None:
    for first, second in zip(_results(case, root), _results(case, root), strict=True):
        assert first.compiled.options == second.compiled.options
        assert first.diagnostics == second.diagnostics
        assert first.plan == second.plan


def test_a_plan_survives_json_and_is_valid(case: GoldenCase, root: str) -> None:
    plans = [result.plan for result in _results(case, root)]
    plan = Plan(vassals=tuple(plan for plan in plans if plan is not None))
    data = json.loads(plan.to_json())
    jsonschema.Draft202012Validator(schema("plan.schema.json")).validate(data)
    assert plan_from_data(data).to_json() == plan.to_json()


def test_rendering_never_fails_and_points_into_the_source(case: GoldenCase, root: str) -> None:
    for result in _results(case, root):
        for diagnostic in result.diagnostics:
            assert diagnostic.code in render(diagnostic)
            json.dumps(as_data(diagnostic))
            span = diagnostic.span
            assert span is not None
            assert min(span.line, span.column, span.width) >= 1
            assert diagnostic.help, "a remedy"


def test_an_error_always_keeps_the_vassal_out_of_the_plan(case: GoldenCase, root: str) -> None:
    for result in _results(case, root):
        assert result.ok == (result.plan is not None)
        assert result.ok or any(d.severity.value == "error" for d in result.diagnostics)
