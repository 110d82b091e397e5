"""The parse tables were built from the grammars that lie beside them."""

import lark
import pytest
from tests.support.package import data

from emperor.compiler.grammars import VARIANTS, build, digest, parser, stamp


@pytest.mark.parametrize("name", VARIANTS)
def test_the_table_is_not_older_than_its_grammar(name: str) -> None:
    first, _, _ = data(f"grammar/{name}.tables").partition(b"\n")
    assert first.split()[-1] == digest(name), "run: just grammars"


@pytest.mark.parametrize("name", VARIANTS)
def test_the_table_is_that_of_a_lark_of_the_same_line(name: str) -> None:
    first, _, _ = data(f"grammar/{name}.tables").partition(b"\n")
    library, version, _ = first.split()
    assert library == b"lark"
    assert version.split(b".")[0] == lark.__version__.split(".")[0].encode()


@pytest.mark.parametrize("name", VARIANTS)
def test_a_grammar_still_builds(name: str) -> None:
    assert build(name)
    assert isinstance(parser(name), lark.Lark)


def test_the_stamp_names_the_library_that_is_here() -> None:
    assert lark.__version__.encode() in stamp()
