"""docs/programs.md: its examples are those that are run, its keys are all there are."""

import os
import re
from pathlib import Path

import pytest
from tests.e2e.programs import EXAMPLES, HOME
from tests.support.command import emperor

from emperor.compiler.programs.policies import OWN_KEYS

PAGE = f"{HOME}/docs/programs.md"

#: The examples by their headings on the page.
SHOWN = {
    "gunicorn": "gunicorn.ini",
    "uvicorn": "uvicorn.ini",
    "nginx": "nginx.ini",
    "Node": "node.ini",
    "A shell script": "worker.ini",
}


def text_of(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def without_comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith(";")]


@pytest.mark.parametrize("heading", SHOWN)
def test_an_example_is_the_file_that_is_run(heading: str) -> None:
    found = re.search(rf"^### {heading}\n\n```ini\n(.*?)^```$", text_of(PAGE), re.M | re.S)
    assert found is not None
    example = text_of(f"{EXAMPLES}/vassals/{SHOWN[heading]}")
    assert found[1].splitlines() == without_comments(example)


def test_every_key_is_in_the_table() -> None:
    table = text_of(PAGE).partition("\n## Keys\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(vassal-[a-z-]+)`", table, re.M)) == set(OWN_KEYS)


def test_every_block_compiles_without_a_word(tmp_path: Path) -> None:
    blocks = re.findall(r"^```ini\n(.*?)^```$", text_of(PAGE), re.M | re.S)
    assert len(blocks) == len(SHOWN) + 1
    for number, block in enumerate(blocks):
        (tmp_path / f"{number}.ini").write_text(block)
    done = emperor("compile", str(tmp_path), "--format", "plan", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert len(done.data["vassals"]) == len(blocks)
    assert all(vassal["program"] for vassal in done.data["vassals"])


def test_the_page_is_linked_to_from_the_examples() -> None:
    assert "docs/programs.md" in text_of(f"{EXAMPLES}/README.md")
    assert os.path.exists(PAGE)
