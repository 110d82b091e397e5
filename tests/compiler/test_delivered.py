"""The delivered config: what acts, in that order, in a text that uWSGI reads back unchanged."""

import json

import pytest
from tests.support.readers import compile_text

from emperor.compiler.delivered import MOST_BYTES, Delivered, acting_options, deliver
from emperor.compiler.diagnostics import Diagnostics
from emperor.compiler.pipeline import Compiled
from emperor.compiler.target import Target

HEADER = "[uwsgi]\n"


def delivered(text: str, *arguments: str, target: Target | None = None) -> Delivered:
    target = target or Target()
    diagnostics = Diagnostics()
    compiled = compiled_text(text, *arguments, target=target)
    found = deliver("app.ini", compiled, target, diagnostics)
    assert not diagnostics.items
    return found


def compiled_text(text: str, *arguments: str, target: Target) -> Compiled:
    compiled = compile_text(HEADER + text, *arguments, target=target)
    assert compiled.ok, compiled.diagnostics
    return compiled


def lines(text: str, *arguments: str, target: Target | None = None) -> list[str]:
    (part,) = delivered(text, *arguments, target=target).parts
    assert part.startswith(HEADER)
    return part.removeprefix(HEADER).splitlines()


def test_what_acts_at_reading_comes_first() -> None:
    assert lines("socket = :1\nlisten = 5\nmine = x\n") == [
        "listen = 5",
        "socket = :1",
        "mine = x",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "if-env = NOPE\nendif =\n",
        "strict = false\n",
        "blacklist = a\nend-blacklist =\n",
        "declare-option = x=socket=$1\n",
    ],
)
def test_what_only_steers_the_reading_is_left_out(text: str) -> None:
    assert lines(text + "socket = :1\n") == ["socket = :1"]


def test_a_key_that_set_brought_stays_and_the_set_line_goes() -> None:
    assert lines("set = a=1\nset-placeholder = b=%(a)\nc = <%(b)>\n") == [
        "a = 1",
        "b = %%(a)",
        "c = <1>",
    ]


def test_percent_signs_are_doubled_and_nothing_else_is_changed() -> None:
    assert lines("logformat = %(addr) 5%% $(X) @x \\ ; # =\n") == [
        "logformat = %%(addr) 5%% $(X) @x \\ ; # ="
    ]


def test_a_custom_option_is_replaced_by_what_it_ran() -> None:
    text = "declare-option = app=socket=/run/$1;env=APP=$1\napp = shop\n"
    assert lines(text) == ["socket = /run/shop", "env = APP=shop"]


def test_a_flag_without_a_value_is_a_flag_in_the_file() -> None:
    assert lines("", "--master") in (["master"], ["master = true"], ["master = 1"])


def test_a_long_config_goes_in_parts_that_name_the_next() -> None:
    found = delivered("".join(f"k{n} = {'x' * 1000}\n" for n in range(200)))
    assert found.url == "emperor://app.ini"
    assert [len(part) <= MOST_BYTES for part in found.parts] == [True] * len(found.parts)
    ends = [part.splitlines()[-1] for part in found.parts]
    names = [f"inherit = emperor://app-{n}.ini" for n in range(2, len(found.parts) + 1)]
    assert ends[:-1] == names
    own = [line for part in found.parts for line in part.splitlines() if line.startswith("k")]
    assert own == [f"k{n} = {'x' * 1000}" for n in range(200)]


@pytest.mark.parametrize("length", [MOST_BYTES - 60, MOST_BYTES, 3 * MOST_BYTES])
def test_no_part_is_ever_too_long(length: int) -> None:
    # 67 bytes a line: lengths around the border are all met
    text = "".join(f"key-{n:04} = {'y' * 54}\n" for n in range(length // 67))
    assert all(len(part) <= MOST_BYTES for part in delivered(text).parts)


def test_a_value_that_no_part_can_hold_is_a_diagnostic() -> None:
    diagnostics = Diagnostics()
    compiled = compiled_text(f"a = {'x' * MOST_BYTES}\n", target=Target())
    deliver("app.ini", compiled, Target(), diagnostics)
    assert [d.code for d in diagnostics.items] == ["undeliverable"]


@pytest.mark.parametrize("key", ["--set=a= padded", "--set=a=padded ", "--set=a=two\nlines"])
def test_what_ini_cannot_hold_goes_as_json(key: str) -> None:
    found = delivered("b = 1\n", key)
    assert found.url == "emperor://app.ini.json"
    value = key.removeprefix("--set=a=")
    assert json.loads(found.parts[0]) == {"uwsgi": {"a": value, "b": "1"}}


def test_json_doubles_percent_signs_too() -> None:
    found = delivered("b = 5%%\n", "--set=a=x\n")
    assert '"5%%"' in found.parts[0]


def test_a_reader_that_keeps_one_of_repeated_keys_gets_arrays() -> None:
    target = Target(reads_json="jansson")
    found = delivered("a = 1\nb = x\na = 2\n", "--set=c=\n", target=target)
    assert json.loads(found.parts[0])["uwsgi"]["a"] == ["1", "2"]


def test_the_wheel_is_told_its_interpreter() -> None:
    target = Target(interpreter="/venv/bin/python")
    assert lines("a = 1\n", target=target) == ["a = 1", "binary-path = /venv/bin/python"]
    assert lines("binary-path = /x\n", target=target) == ["binary-path = /x"]


def test_the_section_in_a_name_is_no_section_of_the_url() -> None:
    diagnostics = Diagnostics()
    compiled = compiled_text("a = 1\n", target=Target())
    assert ":" not in deliver("a:b.ini", compiled, Target(), diagnostics).url[10:]


def test_every_acting_option_knows_where_it_comes_from() -> None:
    compiled = compiled_text("for = 1 2\na = %(_)\nendfor =\nb = 1\n", target=Target())
    places = [option.origin.span().line for option in acting_options(compiled, Target())]
    assert places == [3, 3, 5]
