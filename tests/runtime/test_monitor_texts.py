"""Configs that a monitor has as texts: compiled as uWSGI reads them from its config pipe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.config_pipe import config_pipe
from tests.support.uwsgi import as_listed, show_config, the_uwsgi

from emperor.compiler.diagnostics import Severity
from emperor.compiler.loading import split_section
from emperor.compiler.pipeline import Compiled, compile_arguments
from emperor.compiler.source import to_bytes
from emperor.compiler.spec import VassalCompile, compile_vassal
from emperor.compiler.target import Target
from emperor.compiler.vassal import Templates, VassalFile
from emperor.runtime.compiling import worker
from emperor.runtime.launch import answer_from_data
from emperor.runtime.reader import FileReader

EVERY_VARIABLE = "".join(f"x{v} = <%{v}>\n" for v in "opsednc0129xijOPSEDNCXvhkuUgGb%")

TEXTS = {
    "ini": ("--ini", "emperor://shop.ini", f"[uwsgi]\n{EVERY_VARIABLE}last = %(x%%) 100\n"),
    "ini-section": (
        "--ini",
        "emperor://a/shop.ini:two",
        f"[uwsgi]\na=1\n[two]\n{EVERY_VARIABLE}",
    ),
    "ini-colon-in-the-name": (
        "--ini",
        "emperor://app:two.ini",
        "[uwsgi]\na=1\n[two.ini]\nb=2\n",
    ),
    "ini-section-missing": ("--ini", "emperor://shop.ini:no", "[uwsgi]\na = 1\n"),
    "ini-crlf": ("--ini", "emperor://shop.ini", "[uwsgi]\r\na = 1\r\n;b\r\nc = %n\r\n"),
    "ini-bytes": ("--ini", "emperor://shop.ini", "[uwsgi]\na = \udcff\n"),
    "ini-percent-at-the-end": ("--ini", "emperor://shop.ini", "[uwsgi]\na = 100%\nb = 2"),
    "ini-file-in-it": ("--ini", "emperor://shop.ini", "[uwsgi]\ninclude = part.ini\na = %n\n"),
    "xml": ("--xml", "emperor://shop.xml", "<uwsgi><a>%o</a><b>%d%n</b></uwsgi>"),
    "yaml": ("--yaml", "emperor://shop.yml", "uwsgi:\n  a: '%o'\n  b: '%d%n'\n"),
    "json": ("--json", "emperor://shop.json", '{"uwsgi": {"a": "%o", "b": "%d%n"}}'),
    "inherited": ("--inherit", "emperor://shop.ini", "[uwsgi]\na = %o\n"),
    "after-a-file": (
        "--include=part.ini --ini",
        "emperor://shop.ini",
        f"[uwsgi]\n{EVERY_VARIABLE}",
    ),
}


def read(address: str, text: str, arguments: list[str], cwd: str, target: Target) -> Compiled:
    return compile_arguments(
        arguments,
        environment={},
        reader=FileReader(cwd=cwd, given={address: to_bytes(text)}),
        target=target,
    )


@pytest.mark.uwsgi
@pytest.mark.parametrize(("option", "name", "text"), TEXTS.values(), ids=TEXTS)
def test_a_text_is_read_as_uwsgi_reads_it(
    option: str, name: str, text: str, tmp_path: Path
) -> None:
    target = the_uwsgi()
    (tmp_path / "part.ini").write_text("[uwsgi]\npart = %d%n\n")
    arguments = [*option.split(), name]
    with config_pipe([text]) as (variables, descriptors):
        answer = show_config(
            target,
            arguments,
            cwd=str(tmp_path),
            environment=variables,
            descriptors=descriptors,
        )
    address, _ = split_section(name)
    compiled = read(address, text, arguments, str(tmp_path), target)
    assert answer.listed is not None, answer.log
    assert as_listed(compiled.options) == answer.listed
    assert compiled.ok


def compiled(text: str | None, name: str = "shop.ini", **words: Any) -> VassalCompile:
    file = VassalFile(name=name, directory="/", monitor="m", text=text, **words)
    given = {} if text is None else {"emperor://shop.ini": to_bytes(text)}
    return compile_vassal(
        file,
        templates=Templates(),
        environment={},
        reader=FileReader(cwd="/", given=given),
        target=Target(),
    )


def test_a_mistake_in_a_text_is_shown_in_the_text() -> None:
    broken = compiled("[uwsgi]\na = 1\nini = /missing.ini\n")
    (finding,) = (d for d in broken.diagnostics if d.severity is Severity.ERROR)
    assert finding.span is not None
    assert (finding.span.file, finding.span.line) == ("emperor://shop.ini", 3)


def test_without_a_text_there_is_nothing_to_read() -> None:
    result = compiled(None, name="emperor://shop.ini")
    assert [d.code for d in result.diagnostics] == ["unknown-scheme"]


def test_only_its_own_text_is_given_to_a_vassal() -> None:
    result = compiled("[uwsgi]\nini = emperor://other.ini\n")
    assert [d.code for d in result.diagnostics] == ["unknown-scheme"]


def test_a_text_may_name_other_sections_of_itself() -> None:
    result = compiled("[uwsgi]\nini = :more\n[more]\na = 1\n")
    assert ("a", "1") in result.compiled.options


def test_a_text_that_includes_itself_is_a_cycle() -> None:
    result = compiled("[uwsgi]\nini = emperor://shop.ini\n")
    assert "include-cycle" in [d.code for d in result.diagnostics]


def answer(message: Mapping[str, Any]) -> dict[str, object]:
    request = {"section": None, "directory": "/", "monitor": "lines://x", "socket": None}
    return worker._compile({**request, **message}, worker.Job(), [])


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"name": "shop.ini", "text": "[uwsgi]\na = %o\n"}, "a = emperor://shop.ini"),
        (
            {"name": "shop.ini", "section": "two", "text": "[two]\na = %o\n"},
            "a = emperor://shop",
        ),
        ({"name": "a:b.ini", "text": "[b.ini]\na = %o\n"}, "a = emperor://a"),
        ({"name": "a:b.ini", "section": "two", "text": "[two]\na = 1\n"}, "a = 1"),
        ({"name": "shop.yaml", "text": "uwsgi:\n  a: 1\n"}, "a = 1"),
    ],
)
def test_a_worker_takes_a_text(message: dict[str, Any], expected: str) -> None:
    found = answer_from_data(answer(message))
    assert found.spec is not None, found.diagnostics
    assert expected in b"".join(found.spec.delivered).decode()
    assert found.dependencies == ()
