"""The daemon takes nothing from a compile worker on trust."""

import copy
import itertools
import json
from typing import Any

import pytest

from emperor.compiler.plan import Launch, Policies, VassalPlan
from emperor.runtime.launch import BadSpec, LaunchSpec, answer_data, answer_from_data

PLAN = VassalPlan(
    monitor="dir:///vassals",
    name="site.ini",
    delivered=("[uwsgi]\ngreeting = \udcff\n", "[uwsgi]\n"),
    launch=Launch(
        argv=("/usr/bin/uwsgi", "--inherit", "emperor://site.ini"),
        cwd="/vassals",
        set=(("A", "1"), ("B", "")),
        unset=("UWSGI_X",),
    ),
    policies=Policies(has_master=False, reload_seconds=95),
)

GOOD: dict[str, Any] = json.loads(
    json.dumps(answer_data(PLAN, ["a warning"], {"/a": (1, 2, 3), "/missing": None}))
)

#: A path into the answer, and what a liar puts there (nothing: takes it out).
MISSING = object()
NO_LISTS: tuple[object, ...] = (MISSING, None, "text", {}, 1, [1], [None], [[]])
NO_TEXTS: tuple[object, ...] = (MISSING, None, 1, [])
LIES: list[tuple[str, object]] = [
    *itertools.product(
        ("spec.argv", "spec.set", "spec.unset", "spec.delivered", "dependencies"), NO_LISTS
    ),
    *itertools.product(("spec.cwd", "spec.digest"), NO_TEXTS),
    *itertools.product(("diagnostics",), (*NO_LISTS[:4], [1], {"a": 1})),
    *itertools.product(("spec",), (1, "text", [], True, {})),
    ("spec.argv", []),
    ("spec.argv", ["a\0b"]),
    ("spec.argv", ["\ud800"]),
    ("spec.cwd", ""),
    ("spec.cwd", "relative"),
    ("spec.cwd", "/a\0b"),
    ("spec.cwd", "/\ud800"),
    ("spec.set", [["A"]]),
    ("spec.set", [["A", "1", "2"]]),
    ("spec.set", [["", "1"]]),
    ("spec.set", [["A=B", "1"]]),
    ("spec.set", [["A", "\0"]]),
    ("spec.set", [["A", None]]),
    ("spec.set", [["A", "\ud800"]]),
    ("spec.delivered", []),
    ("spec.delivered", [""]),
    ("spec.delivered", ["x" * 65_536]),
    ("spec.delivered", ["\udcff" * 65_536]),
    ("spec.delivered", ["ok", "ö" * 40_000]),
    ("spec.delivered", ["\ud800"]),
    *[("spec.has_master", lie) for lie in (MISSING, None, 0, 1, "true")],
    *[("spec.reload_seconds", lie) for lie in (MISSING, None, 0, -1, 1.5, True, "9", 10**9)],
    ("dependencies", [["/a"]]),
    ("dependencies", [["/a", [1, 2]]]),
    ("dependencies", [["/a", [1, 2, 3, 4]]]),
    ("dependencies", [["/a", [1, 2, "3"]]]),
    ("dependencies", [["/a", [1, 2, True]]]),
    ("dependencies", [["/a", [1, 2, 1.5]]]),
    ("dependencies", [["/a", 1]]),
    ("dependencies", [[None, None]]),
]


def with_lie(path: str, lie: object) -> dict[str, Any]:
    answer = copy.deepcopy(GOOD)
    *way, last = path.split(".")
    place = answer
    for step in way:
        place = place[step]
    if lie is MISSING:
        del place[last]
    else:
        place[last] = lie
    return answer


def test_an_honest_answer_comes_through() -> None:
    answer = answer_from_data(GOOD)
    assert answer.spec == LaunchSpec(
        argv=PLAN.launch.argv,
        cwd=PLAN.launch.cwd,
        set=PLAN.launch.set,
        unset=PLAN.launch.unset,
        delivered=(b"[uwsgi]\ngreeting = \xff\n", b"[uwsgi]\n"),
        digest=PLAN.digest,
        has_master=False,
        reload_seconds=95,
    )
    assert answer.diagnostics == ("a warning",)
    assert answer.dependencies == (("/a", (1, 2, 3)), ("/missing", None))


def test_an_answer_may_have_no_spec_and_more_than_is_asked() -> None:
    data = {"id": 7, "spec": None, "diagnostics": ["error"], "dependencies": [], "more": 1}
    assert answer_from_data(data).spec is None
    assert answer_from_data({**GOOD, "spec": {**GOOD["spec"], "more": 1}}).spec is not None


@pytest.mark.parametrize("data", [None, 1, "text", [], True, {}])
def test_what_is_no_answer_is_refused(data: object) -> None:
    with pytest.raises(BadSpec):
        answer_from_data(data)


@pytest.mark.parametrize(("path", "lie"), LIES)
def test_every_lie_is_refused(path: str, lie: object) -> None:
    with pytest.raises(BadSpec):
        answer_from_data(with_lie(path, lie))


def test_what_a_reload_can_do() -> None:
    spec = answer_from_data(GOOD).spec
    assert spec is not None
    for path, value, is_enough in (
        ("spec.delivered", ["[uwsgi]\n"], True),
        ("spec.digest", "other", True),
        ("spec.reload_seconds", 100, True),
        ("spec.argv", ["/other"], False),
        ("spec.cwd", "/other", False),
        ("spec.set", [], False),
        ("spec.unset", [], False),
        ("spec.has_master", True, False),
    ):
        other = answer_from_data(with_lie(path, value)).spec
        assert other is not None
        assert spec.is_launched_as(other) is is_enough
