"""Random configurations: what we make of them is what the real uWSGI makes of them.

500 cases, the same each time; with ``EMPEROR_FUZZ_CASES=5000`` that many for each format, and
other ones each time.
"""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from tests.support.fuzz_files import Case, cases
from tests.support.uwsgi import ENVIRONMENT, as_listed, show_config, the_uwsgi

from emperor.compiler.pipeline import Compiled, compile_arguments
from emperor.compiler.target import Target
from emperor.runtime.reader import FileReader

pytestmark = pytest.mark.uwsgi

#: See ``tests/conftest.py``.
WANTED = os.environ.get("EMPEROR_FUZZ_CASES")
FORMATS = {"ini": 200, "yml": 100, "json": 100, "xml": 100}


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("differential")


@pytest.fixture(scope="session")
def target() -> Target:
    return the_uwsgi()


def budget(ending: str) -> settings:
    return settings(
        max_examples=int(WANTED or FORMATS[ending]),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@budget("ini")
@given(case=cases("ini"))
def test_ini_files_mean_what_they_mean_to_uwsgi(
    case: Case, scratch: Path, target: Target
) -> None:
    check(case, scratch, target)


@budget("yml")
@given(case=cases("yml"))
def test_yaml_files_mean_what_they_mean_to_uwsgi(
    case: Case, scratch: Path, target: Target
) -> None:
    check(case, scratch, target)


@budget("json")
@given(case=cases("json"))
def test_json_files_mean_what_they_mean_to_uwsgi(
    case: Case, scratch: Path, target: Target
) -> None:
    check(case, scratch, target)


@budget("xml")
@given(case=cases("xml"))
def test_xml_files_mean_what_they_mean_to_uwsgi(
    case: Case, scratch: Path, target: Target
) -> None:
    check(case, scratch, target)


def check(case: Case, scratch: Path, target: Target) -> None:
    assume(not any(b"%t" in data or b"%T" in data for data in case.files.values()))  # clocks
    where = scratch / "case"
    try:
        lay_out(case, where)
        answer = show_config(
            target, case.arguments, cwd=str(where), environment=case.environment
        )
        compiled = compile_case(case, where, target)
    finally:
        shutil.rmtree(where)
    if answer.listed is None:
        assert not compiled.ok, f"uWSGI refuses: {answer.log}"
    else:
        assert compiled.ok, compiled.diagnostics
        assert as_listed(compiled.options) == answer.listed


def lay_out(case: Case, where: Path) -> None:
    (where / "d").mkdir(parents=True)
    for name, data in case.files.items():
        (where / name).write_bytes(data)
    (where / "link").symlink_to("text")


def compile_case(case: Case, where: Path, target: Target) -> Compiled:
    return compile_arguments(
        case.arguments,
        environment={**ENVIRONMENT, **case.environment},
        reader=FileReader(cwd=str(where), allowed=frozenset({"fd"})),
        target=target,
    )
