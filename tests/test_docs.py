"""The documentation says what is there: codes, modules, links, commands and their output."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from emperor.compiler.catalogue import by_plugin, everything
from emperor.compiler.diagnostics import CODES
from emperor.compiler.emperor_options import HOOKS, NOT_YET, OBEYED, OWN_OPTIONS

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOMS = (
    "compiler",
    "runtime",
    "runtime/law",
    "runtime/compiling",
    "runtime/guardian",
    "runtime/monitors",
    "runtime/control",
    "runtime/stats",
    "src/emperor/cli",
)
_DEADLINE_SECONDS = 60


def text_of(path: str) -> str:
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def pages() -> list[str]:
    found = ["README.md", "CHANGELOG.md"]
    for directory, _, names in os.walk(os.path.join(ROOT, "docs")):
        inside = os.path.relpath(directory, ROOT)
        found += [f"{inside}/{name}" for name in names if name.endswith(".md")]
    return sorted(found)


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page that are marked with a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.M | re.S)


def first_column(text: str) -> list[str]:
    """What stands in code marks at the start of each table row."""
    return re.findall(r"^\| `([^`]+)`", text, re.M)


def shown() -> list[tuple[str, str, str]]:
    """Every command that a page shows with its output: page, command, output."""
    return [
        (page, command, output)
        for page in pages()
        for block in blocks(page, "console")
        for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.M)
    ]


def test_every_code_of_a_diagnostic_is_explained_once() -> None:
    listing = text_of("docs/diagnostics.md").partition("## The codes")[2]
    assert sorted(first_column(listing)) == sorted(CODES)


@pytest.mark.parametrize("room", ROOMS)
def test_every_module_has_a_row_and_every_row_a_module(room: str) -> None:
    section = text_of("docs/architecture.md").partition(f"\n### {room}/\n")[2]
    listed = first_column(section.partition("\n#")[0])
    there = [name for name in os.listdir(os.path.join(ROOT, room)) if name.endswith(".py")]
    assert listed == sorted(name for name in there if name != "__init__.py")


@pytest.mark.parametrize("room", ["grammar", "schemas"])
def test_every_grammar_and_schema_has_a_row(room: str) -> None:
    listed = first_column(text_of("docs/architecture.md"))
    there = os.listdir(os.path.join(ROOT, room))
    assert {name for name in there if name.endswith((".lark", ".json"))} <= set(listed)


@pytest.mark.parametrize("page", pages())
def test_every_link_leads_somewhere(page: str) -> None:
    here = os.path.dirname(os.path.join(ROOT, page))
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text_of(page))
    paths = [link for link in links if "://" not in link]
    assert [path for path in paths if not os.path.exists(os.path.join(here, path))] == []


def test_the_commands_of_the_readme_are_those_of_ci_and_justfile() -> None:
    run, test = (block.strip() for block in blocks("README.md", "sh")[:2])
    assert test in text_of(".ci/run").splitlines()
    justfile = text_of("justfile")
    *setup, check = test.split(" && ")
    assert "".join(f"    {step}\n" for step in setup) in justfile.partition("\nsetup:\n")[2]
    assert check == ".venv/bin/just check"
    started = run.split(" && ")[-1].removeprefix(".venv/bin/")
    assert f'    {started} "$@"\n' in justfile.partition("\nrun *args:\n")[2]


@pytest.mark.parametrize(("page", "command", "output"), shown())
def test_a_command_prints_what_the_page_shows(page: str, command: str, output: str) -> None:
    program, *arguments = shlex.split(command)
    assert program == "emperor", page
    done = subprocess.run(
        [sys.executable, "-m", "emperor", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=_DEADLINE_SECONDS,
        check=False,
    )
    printed = "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())
    assert printed == output, page


def test_every_option_of_the_emperor_is_named() -> None:
    named = set(re.findall(r"`([a-z0-9-]+)[^`]*`", text_of("docs/running.md")))
    own = {facts["name"] for facts in OWN_OPTIONS}
    named |= set(re.findall(r"`([a-z0-9-]+)[^`]*`", text_of("docs/hooks.md")))
    assert own | set(OBEYED) | NOT_YET | HOOKS <= named


def _parity() -> dict[str, tuple[str, str]]:
    """The rows of the table of options: name -> state, and the test or the reason."""
    table = text_of("docs/parity.md").partition("## Options of the Emperor")[2]
    rows = re.findall(r"^\| `([a-z0-9-]+)` *\| ([a-z ]+?) *\| (.*?) *\|$", table, re.M)
    return {name: (state, shown) for name, state, shown in rows}


_OF_THE_EMPEROR = re.compile(
    r"(early-)?(emperor|vassals?)(-.*)?|hook-.*vassal.*|.*-as-(emperor|vassal)[0-9]?"
)


def test_every_option_about_the_emperor_is_accounted_for() -> None:
    wanted = {name for name in everything() if _OF_THE_EMPEROR.fullmatch(name)}
    assert wanted - _parity().keys() == set()
    assert sum(state == "not done" for state, _ in _parity_of_2_0()) <= 10


def _parity_of_2_0() -> list[tuple[str, str]]:
    released = {name for options in by_plugin("2.0.31").values() for name in options}
    return [row for name, row in _parity().items() if name in released]


@pytest.mark.parametrize(
    "where", sorted({shown for state, shown in _parity().values() if state == "done"})
)
def test_a_test_that_parity_names_is_there(where: str) -> None:
    path, _, name = where.strip("`").partition("::")
    assert f"\ndef {name}(" in text_of(path)
