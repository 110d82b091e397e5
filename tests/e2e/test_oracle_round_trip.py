"""The real uWSGI lists from the delivered config what acts in the compiled one."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests.support.config_pipe import config_pipe
from tests.support.uwsgi import as_listed, show_config, the_uwsgi, the_wheel
from tests.support.vectors import (
    Vector,
    compile_vector,
    environment_of,
    lay_out,
    private_root,
    vectors,
)

from emperor.compiler.command_line import is_option_variable
from emperor.compiler.delivered import MOST_BYTES, Acting, Delivered, acting_options, deliver
from emperor.compiler.diagnostics import Diagnostics
from emperor.compiler.pipeline import compile_arguments
from emperor.compiler.target import Target
from emperor.runtime.reader import FileReader

pytestmark = pytest.mark.uwsgi

ANSWERED = [pytest.param(v, id=v.name) for v in vectors() if v.expect is not None]


@pytest.mark.parametrize("vector", ANSWERED)
def test_a_vector_survives_its_delivery(vector: Vector) -> None:
    with private_root() as root:
        check(vector, root, the_uwsgi())


@pytest.mark.parametrize("vector", ANSWERED)
def test_a_vector_survives_its_delivery_to_the_wheel(vector: Vector) -> None:
    with private_root() as root:
        check(vector, root, the_wheel())


def check(vector: Vector, root: str, target: Target) -> None:
    cwd = lay_out(vector, root)
    compiled = compile_vector(vector, root, cwd, target)
    diagnostics = Diagnostics()
    delivered = deliver("app.ini", compiled, target, diagnostics)
    assert not diagnostics.items
    if target.reads_json != "yajl" and delivered.url.endswith(".json"):
        return  # its reader keeps the order within each option alone
    environment = {
        name: value
        for name, value in environment_of(vector, root).items()
        if not is_option_variable(name)
    }
    listed = listed_by(target, delivered, cwd, environment)
    pattern = expected(acting_options(compiled, target), delivered)
    assert re.fullmatch(pattern, listed), listed


def listed_by(
    target: Target, delivered: Delivered, cwd: str, environment: Mapping[str, str]
) -> str:
    """What the real uWSGI lists when it is started as this vassal."""
    with config_pipe(delivered.parts) as (variables, descriptors):
        answer = show_config(
            target,
            ["--inherit", delivered.url],
            cwd=cwd,
            environment={**environment, **variables},
            descriptors=descriptors,
        )
    assert answer.listed is not None, answer.log
    return answer.listed


def expected(acting: Sequence[Acting], delivered: Delivered) -> str:
    """A pattern for the acting options behind the line that the vassal is started with.

    A flag that was given no value must have some in a file: which one does not matter.
    """
    lines = [re.escape(as_listed([("inherit", delivered.url)]))]
    for option in acting:
        if option.value is None:
            lines.append(re.escape(option.key) + " = (|1|true)\n")
        else:
            lines.append(re.escape(as_listed([(option.key, option.value)])))
    return "".join(lines)


def test_more_than_one_message_goes_in_parts_and_keeps_its_order(tmp_path: Path) -> None:
    target = the_uwsgi()
    cwd = str(tmp_path)
    options = [(f"key-{number}", f"{number} %d %(key-1) " + "x" * 90) for number in range(2000)]
    text = "[uwsgi]\n" + "".join(f"{k} = {v}\n" for k, v in options)
    with open(f"{cwd}/app.ini", "w", encoding="utf-8") as file:
        file.write(text)
    compiled = compile_arguments(
        ["--ini", "app.ini"], environment={}, reader=FileReader(cwd=cwd), target=target
    )
    delivered = deliver("app.ini", compiled, target, Diagnostics())
    assert len(delivered.parts) > 3
    assert all(len(part.encode()) <= MOST_BYTES for part in delivered.parts)
    listed = listed_by(target, delivered, cwd, {}).splitlines(keepends=True)
    inherits = [line for line in listed if line.startswith("inherit = ")]
    assert len(inherits) == len(delivered.parts)
    rest = "".join(line for line in listed if not line.startswith("inherit = "))
    assert rest == as_listed([(o.key, o.value) for o in acting_options(compiled, target)])
