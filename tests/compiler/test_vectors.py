"""Every vector: the same options as the real uWSGI, in its order and with its values."""

import pytest
from tests.support.vectors import (
    RootTakenError,
    Vector,
    compile_vector,
    lay_out,
    matches,
    root_for,
    vectors,
)

from emperor.compiler.diagnostics import Severity
from emperor.compiler.target import Target

STABLE = Target(version="2.0.21-debian")
DEVELOPMENT = Target(version="2.1")

CASES = [
    *(pytest.param(v, STABLE, id=v.name) for v in vectors()),
    *(pytest.param(v, DEVELOPMENT, id=f"2.1-{v.name}") for v in vectors("vectors-2.1.json")),
]


@pytest.mark.parametrize(("vector", "target"), CASES)
def test_a_vector_gives_the_answer_of_uwsgi(vector: Vector, target: Target) -> None:
    try:
        with root_for(vector) as root:
            check(vector, target, root)
    except RootTakenError as taken:
        pytest.skip(str(taken))


def check(vector: Vector, target: Target, root: str) -> None:
    compiled = compile_vector(vector, root, lay_out(vector, root), target)
    if vector.expect is not None:
        assert compiled.ok, compiled.diagnostics
        assert matches(vector.expect, compiled.options, root), compiled.options
        return
    errors = [d for d in compiled.diagnostics if d.severity is Severity.ERROR]
    assert any(d.span is not None for d in errors), errors
    if vector.before_exit is not None:
        assert matches(vector.before_exit, compiled.options, root), compiled.options
