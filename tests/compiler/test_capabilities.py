"""Names of capabilities: uWSGI's spelling, and what setpriv knows."""

import shutil
import subprocess

import pytest

from emperor.compiler.capabilities import (
    NAMES,
    UnknownCapability,
    parse_capabilities,
    setpriv_names,
)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("setgid,setuid", (6, 7)),
        (" setuid , 6,, 7 ", (7, 6)),
        ("wake_alarm", (35,)),
        ("checkpoint_restore", (40,)),
        ("63", (63,)),
        ("", ()),
    ],
)
def test_names_and_numbers_are_taken(text: str, numbers: tuple[int, ...]) -> None:
    assert parse_capabilities(text) == numbers


@pytest.mark.parametrize("word", ["setuidd", "64", "-1", "CAP_SETUID", "²", "set uid"])
def test_an_unknown_word_is_named(word: str) -> None:
    with pytest.raises(UnknownCapability, match=f'"{word}"'):
        parse_capabilities(f"setgid,{word}")


def test_setpriv_is_told_a_number_where_there_is_no_name() -> None:
    assert setpriv_names([7, 40, 55]) == ["setuid", "checkpoint_restore", "cap_55"]


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_setpriv_knows_the_same_names() -> None:
    listing = subprocess.run(
        ["setpriv", "--list-caps"], capture_output=True, text=True, check=True
    )
    known = listing.stdout.split()  # as many as the kernel has, in its order
    ours = setpriv_names(range(len(known)))
    assert ours[: len(NAMES)] == known[: len(NAMES)]
