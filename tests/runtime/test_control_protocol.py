"""What is said over the control socket, and where it lies."""

import json
import os
import re
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from tests.support.control_court import view

from emperor.runtime.control.places import client_path, default_path
from emperor.runtime.control.protocol import (
    MOST_SECONDS,
    Answer,
    BadAnswer,
    BadRequest,
    End,
    Outcome,
    Refused,
    Request,
    end_line,
    error_line,
    read_answer,
    read_request,
    request_line,
    vassal_line,
)
from emperor.runtime.views import VassalView, Verb

REQUESTS = [
    Request(verb=None),
    Request(verb=None, names=("a.ini", "dir:///x//b.ini"), waits=True, timeout_seconds=0.0),
    Request(verb=Verb.STOP, names=("\udcff.ini", "\N{SNOWMAN}", 'q"\n\0')),
    Request(verb=Verb.RELOAD, waits=True, is_rolling=True, timeout_seconds=1.5),
    *(Request(verb=verb) for verb in Verb),
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_request_survives_the_journey(request_: Request) -> None:
    line = request_line(request_)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert read_request(line) == request_


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("nonsense", "not JSON"),
        ("\x00\xff", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "object"),
        ("{}", "version"),
        ('{"version": 2, "verb": "status"}', "version"),
        ('{"version": 1}', "verb is one of status, reload, stop, start, retry"),
        ('{"version": 1, "verb": ["stop"], "all": true}', "verb"),
        ('{"version": 1, "verb": "stop"}', "stop wants names, or all"),
        ('{"version": 1, "verb": "stop", "names": []}', "names is empty"),
        ('{"version": 1, "verb": "stop", "names": "a.ini"}', "names is a list"),
        ('{"version": 1, "verb": "stop", "names": [""]}', "names is a list"),
        ('{"version": 1, "verb": "stop", "names": [7]}', "names is a list"),
        ('{"version": 1, "verb": "stop", "names": ["a"], "all": true}', "exclude"),
        ('{"version": 1, "verb": "stop", "all": 1}', "all is true or false"),
        ('{"version": 1, "verb": "stop", "all": true, "rolling": true}', "rolling"),
        ('{"version": 1, "verb": "status", "wait": "yes"}', "wait is true or false"),
        ('{"version": 1, "verb": "status", "timeout_seconds": -1}', "timeout_seconds"),
        ('{"version": 1, "verb": "status", "timeout_seconds": NaN}', "timeout_seconds"),
        ('{"version": 1, "verb": "status", "timeout_seconds": 1e99}', "timeout_seconds"),
        ('{"version": 1, "verb": "status", "timeout_seconds": true}', "timeout_seconds"),
        ('{"version": 1, "verb": "status", "timeout": 3}', 'unknown key "timeout"'),
    ],
)
def test_a_request_without_sense_is_told_why(text: str, reason: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_request(text.encode("latin-1"))
    assert reason in str(caught.value)


def test_a_rolling_request_waits() -> None:
    assert read_request(
        b'{"version":1,"verb":"reload","all":true,"rolling":true,"timeout_seconds":604800}'
    ) == Request(verb=Verb.RELOAD, waits=True, is_rolling=True, timeout_seconds=MOST_SECONDS)


def test_a_view_survives_the_journey_whole() -> None:
    sent = view("\udcfe.ini", diagnostics=("one\n 1 | x", "two"), is_broken=True, output="\0")
    line = vassal_line("\udcfe.ini", Outcome.FAILED, sent)
    assert line.isascii()
    answer = read_answer(line)
    assert isinstance(answer, Answer)
    assert (answer.name, answer.outcome, answer.view) == ("\udcfe.ini", Outcome.FAILED, sent)
    assert answer.data["ok"] is False
    assert answer.data["vassal"] == json.loads(json.dumps(asdict(sent)))


def test_a_daemon_of_another_version_may_tell_more_or_less() -> None:
    data = json.loads(vassal_line("a.ini", Outcome.WELL, view("a.ini")))
    del data["vassal"]["outlook"], data["vassal"]["diagnostics"], data["vassal"]["is_broken"]
    data["vassal"]["mood"] = "sunny"
    answer = read_answer(json.dumps(data).encode())
    assert isinstance(answer, Answer)
    assert answer.view is not None
    assert (answer.view.outlook, answer.view.diagnostics) == ("", ())
    assert answer.view.is_broken is False
    assert answer.data["vassal"]["mood"] == "sunny"


def test_ends_and_errors_are_told_apart() -> None:
    assert read_answer(end_line(is_fine=True)) == End(is_fine=True)
    assert read_answer(end_line(is_fine=False)) == End(is_fine=False)
    with pytest.raises(Refused, match="no, thanks"):
        read_answer(error_line("no, thanks"))


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.0 400 Bad Request\r\n",
        b"[]",
        b"{}",
        b'{"version":1,"kind":"vassal"}',
        b'{"version":2,"kind":"end","ok":true}',
        b'{"version":1,"kind":"vassal","name":"a","outcome":"odd","ok":true,"vassal":null}',
        b"[" * 100_000,
    ],
)
def test_an_answer_without_sense_is_none(line: bytes) -> None:
    with pytest.raises(BadAnswer):
        read_answer(line)


def test_the_wire_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "control.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([^`]+)`", page, re.MULTILINE))
    assert {field.name for field in fields(VassalView)} <= rows
    assert {outcome.value for outcome in Outcome} <= rows
    asked = Request(verb=Verb.RELOAD, waits=True, is_rolling=True)
    assert set(json.loads(request_line(asked))) | {"names"} <= rows


def test_every_outcome_is_fine_or_not() -> None:
    assert {outcome.value for outcome in Outcome if outcome.is_fine} == {
        "well",
        "stopped",
        "asked",
    }


@pytest.mark.parametrize(
    ("environ", "euid", "path"),
    [
        ({}, 0, "/run/emperor/control"),
        ({}, 1000, None),
        ({"XDG_RUNTIME_DIR": "/run/user/1000"}, 1000, "/run/user/1000/emperor/control"),
        ({"XDG_RUNTIME_DIR": "/run/user/0"}, 0, "/run/emperor/control"),
        ({"RUNTIME_DIRECTORY": "/run/x"}, 0, "/run/x/control"),
        ({"RUNTIME_DIRECTORY": "/run/x:/run/y"}, 33, "/run/x/control"),
        ({"RUNTIME_DIRECTORY": "", "XDG_RUNTIME_DIR": ""}, 1000, None),
    ],
)
def test_where_a_daemon_listens(environ: dict[str, str], euid: int, path: str | None) -> None:
    assert default_path(environ, euid) == path


def test_whom_a_client_asks(tmp_path: Path) -> None:
    environ = {"EMPEROR_CONTROL": "/named", "RUNTIME_DIRECTORY": str(tmp_path)}
    assert client_path("said", environ, 0) == "said"
    assert client_path(None, environ, 0) == "/named"
    (tmp_path / "control").touch()
    assert client_path(None, {"RUNTIME_DIRECTORY": str(tmp_path)}, 0) == f"{tmp_path}/control"
    if not os.path.lexists("/run/emperor/control"):
        absent = {"RUNTIME_DIRECTORY": "/nonexistent"}
        assert client_path(None, absent, 0) == "/nonexistent/control"
        assert client_path(None, {}, 1000) == "/run/emperor/control"
