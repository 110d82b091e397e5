"""The package holds what its top-level directories hold, and its tables agree with its code."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.package import PARTS, SOURCE, data, python_files, schema

import emperor
from emperor.compiler.diagnostics import CODES
from emperor.compiler.grammars import VARIANTS

HOUSE = Path(__file__).parents[1]

#: Calls whose first argument is a diagnostic code, where it is written out.
TAKES_A_CODE = frozenset({"stop", "warn", "make", "Unreadable", "BadFormat"})


@pytest.mark.parametrize("part", PARTS)
def test_an_import_name_is_a_top_level_directory(part: str) -> None:
    link = HOUSE / "src" / "emperor" / part
    assert os.readlink(link) == f"../../{part}"
    assert os.path.samefile(link, HOUSE / part)
    assert os.path.samefile(SOURCE / part, HOUSE / part)


def test_the_package_says_that_it_is_typed() -> None:
    assert data("py.typed") == b""


@pytest.mark.parametrize("name", VARIANTS)
def test_a_table_and_its_grammar_are_package_data(name: str) -> None:
    assert data(f"grammar/{name}.tables")
    assert data(f"grammar/{VARIANTS[name][0]}.lark")


@pytest.mark.parametrize("name", sorted(os.listdir(HOUSE / "schemas")))
def test_a_schema_is_package_data(name: str) -> None:
    assert schema(name)


def test_every_data_file_has_an_ending_that_is_packed() -> None:
    packed = (".py", ".typed", ".lark", ".tables", ".json", ".j2")
    for part in PARTS:
        for path in (HOUSE / part).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.name.endswith(packed), path


def test_init_files_hold_a_docstring_and_nothing_else() -> None:
    for path in python_files():
        if path.name == "__init__.py" and path != Path(emperor.__file__):
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert [type(node) for node in body] == [ast.Expr], path


def codes_in(path: Path) -> Iterator[str]:
    """The diagnostic codes that a module gives."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        first = node.args[0]
        if name not in TAKES_A_CODE or not isinstance(first, ast.Constant):
            continue
        if isinstance(first.value, str) and " " not in first.value:
            yield first.value


def test_every_code_that_is_given_is_in_the_table() -> None:
    given = {code for path in python_files() for code in codes_in(path)}
    assert given <= CODES.keys()


def test_every_code_in_the_table_is_given_somewhere() -> None:
    text = "\n".join(
        path.read_text(encoding="utf-8")
        for path in python_files()
        if path.name != "diagnostics.py"
    )
    assert [code for code in CODES if f'"{code}"' not in text] == []


def test_a_code_is_lower_case_words_with_a_meaning() -> None:
    for code, meaning in CODES.items():
        assert code == code.lower().replace("_", "-").strip("-")
        assert meaning
        assert not meaning.endswith(".")
