"""Whatever stands in a file: the compiler gives options and findings, and raises nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.fuzz_files import Case, cases
from tests.support.readers import DictReader

from emperor.compiler.delivered import deliver
from emperor.compiler.diagnostics import Diagnostics
from emperor.compiler.pipeline import Compiled, compile_arguments
from emperor.compiler.render import as_data, render
from emperor.compiler.target import Target

#: What the formats and the language are made of.
WORDS = """
[uwsgi] uwsgi: {"uwsgi":{ <uwsgi> </uwsgi> }} %( ) $(A) @(x) %d % <a> </a> <![CDATA[ ]]> &amp;
&x; " : , &a *a !!t [ ] { } = a x.ini include for 1 # // /* */ --- <!-- --> <?p <!DOCTYPE
""".split()
MARKS = (*WORDS, "\n", "\n  ", ": ", "- ", " = ", "|\n", "\0", "\ufeff", "\r\n")
texts = st.lists(st.sampled_from(MARKS) | st.text(max_size=3), max_size=12).map("".join)
anything = st.binary(max_size=80) | texts.map(lambda t: t.encode("utf-8", "surrogatepass"))


def compile_files(files: dict[str, bytes], *arguments: str) -> Compiled:
    reader = DictReader(files={f"/srv/vassals/{name}": data for name, data in files.items()})
    return compile_arguments(arguments, environment={}, reader=reader, target=Target())


def check(compiled: Compiled) -> None:
    for found in compiled.diagnostics:
        render(found).encode("utf-8")
        json.dumps(as_data(found))
    deliver("app.ini", compiled, Target(), Diagnostics())


@pytest.mark.parametrize("ending", ["ini", "xml", "yaml", "json"])
@given(data=anything)
def test_any_bytes_in_any_format(ending: str, data: bytes) -> None:
    check(compile_files({f"x.{ending}": data}, f"x.{ending}"))


@pytest.mark.parametrize("ending", ["ini", "xml", "yml", "json"])
@given(data=st.data())
def test_configurations_that_nearly_make_sense(ending: str, data: st.DataObject) -> None:
    case: Case = data.draw(cases(ending))
    check(compile_files(case.files, *case.arguments))


@given(
    words=st.lists(
        st.text(max_size=8) | st.sampled_from(("--ini", "-", "--", "-x")), max_size=4
    )
)
def test_any_command_line(words: list[str]) -> None:
    check(compile_files({"a.ini": b"[uwsgi]\n"}, *words))
