"""The Emperor's own options: ours beside uWSGI's, and what becomes of each."""

import pytest
from tests.support.readers import DictReader, compile_text

from emperor.compiler.catalogue import everything
from emperor.compiler.diagnostics import Diagnostics, Severity
from emperor.compiler.emperor_config import EmperorConfig, emperor_config
from emperor.compiler.emperor_options import (
    OBEYED,
    OWN_OPTIONS,
    TEMPLATES,
    WITHOUT_EFFECT,
)
from emperor.compiler.pipeline import compile_arguments
from emperor.compiler.target import Target

OWN = [facts["name"] for facts in OWN_OPTIONS]


def config(text: str) -> tuple[EmperorConfig, list[tuple[str, Severity]]]:
    compiled = compile_text("[uwsgi]\n" + text)
    assert compiled.ok, compiled.diagnostics
    diagnostics = Diagnostics()
    made = emperor_config(compiled.entries, diagnostics)
    return made, [(item.code, item.severity) for item in diagnostics.items]


@pytest.mark.parametrize("name", OWN)
def test_an_own_option_is_no_option_of_uwsgi_nor_short_for_one(name: str) -> None:
    assert name.startswith("emperor-")
    assert [other for other in everything() if other.startswith(name)] == []


@pytest.mark.parametrize("name", OWN)
def test_an_abbreviation_that_uwsgi_takes_means_the_same_beside_ours(name: str) -> None:
    for end in range(len("emperor-"), len(name)):
        words = [f"--{name[:end]}", "5"]
        alone, beside = (
            compile_arguments(
                words,
                environment={},
                reader=DictReader(),
                target=Target(),
                further_options=further,
            )
            for further in ((), OWN_OPTIONS)
        )
        assert (alone.ok, alone.options) == (beside.ok, beside.options) or name[:end] in OWN


def test_every_option_that_is_obeyed_or_ignored_exists() -> None:
    named = {*OBEYED, *TEMPLATES, *WITHOUT_EFFECT}
    assert named - everything().keys() - set(OWN) == set()


def test_no_option_is_both_obeyed_and_without_effect() -> None:
    assert (OBEYED.keys() | TEMPLATES.keys()) & WITHOUT_EFFECT == set()


def test_the_last_of_a_single_value_counts_and_all_of_a_list() -> None:
    made, problems = config("uid = a\nuid = b\nemperor = /x\nemperor = /y\nmax-fd = 5\n")
    assert (made.uid, made.monitors, made.max_fd) == ("b", ("/x", "/y"), 5)
    assert problems == []


def test_templates_keep_their_order_and_their_kind() -> None:
    made, _ = config("vassal-set = a=1\nvassals-include = i\nvassals-set = b=2\n")
    assert made.templates.set == ("a=1", "b=2")
    assert made.templates.include == ("i",)


def test_the_environment_keeps_the_order_of_its_changes() -> None:
    made, _ = config("env = A=1\nunenv = B\nenv = A=2\n")
    assert made.environment == (("env", "A=1"), ("unenv", "B"), ("env", "A=2"))


@pytest.mark.parametrize("line", ["http = :80", "socket = :1", "attach-daemon = x", "wsgi = a"])
def test_what_would_act_in_the_emperor_is_refused_by_name(line: str) -> None:
    _, problems = config(line + "\n")
    assert problems == [("emperor-option", Severity.ERROR)]


def test_daemonize_is_a_log_in_the_foreground() -> None:
    made, problems = config("daemonize = /var/log/e.log\n")
    assert made.logto == "/var/log/e.log"
    assert problems == [("emperor-option", Severity.WARNING)]


def test_unknown_keys_are_placeholders_here_too() -> None:
    made, problems = config("where = /srv\nemperor = %(where)/vassals\n")
    assert made.monitors == ("/srv/vassals",)
    assert problems == []
