"""``emperor compile`` as scripts and people use it: words in, texts and exit codes out."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jsonschema
import pytest
from tests.support.command import Done, emperor
from tests.support.marks import needs_root
from tests.support.package import schema

FINE, ERRORS, USAGE, REFUSED = 0, 1, 2, 111


GOOD = "[uwsgi]\nsocket = /run/%n.sock\nprocesses = %(cores * 2)\ncores = 2\n"
WARNED = "[uwgsi]\nsocket = :3031\n"
BAD = "[uwsgi]\nsocket = :3031\ninclude = nope.ini\n"


@pytest.fixture
def vassals(tmp_path: Path) -> Path:
    """A directory of good vassals in four formats."""
    directory = tmp_path / "vassals"
    directory.mkdir()
    (directory / "a.ini").write_text(GOOD)
    (directory / "b.json").write_text('{"uwsgi": {"socket": ":3032", "threads": 2}}')
    (directory / "c.xml").write_text("<uwsgi><socket>:3033</socket></uwsgi>")
    (directory / "d.yaml").write_text("uwsgi:\n  socket: :3034\n")
    (directory / "notes.txt").write_text("no vassal")
    return directory


def compile_(where: Path, *arguments: str, stdin: bytes = b"", **environment: str) -> Done:
    return emperor("compile", *arguments, cwd=where, stdin=stdin, environment=environment)


# -- exit codes and streams ----------------------------------------------------------------


def test_a_good_vassal_is_printed_as_ini_and_nothing_is_said(vassals: Path) -> None:
    done = compile_(vassals, "a.ini")
    assert (done.code, done.err) == (FINE, "")
    assert done.out.splitlines() == [
        "[uwsgi]",
        "ini = a.ini",
        "socket = /run/a.sock",
        "processes = 4",
        "cores = 2",
    ]


def test_an_error_is_told_to_people_and_what_was_read_is_still_printed(vassals: Path) -> None:
    (vassals / "bad.ini").write_text(BAD)
    done = compile_(vassals, "bad.ini")
    assert done.code == ERRORS
    assert "socket = :3031" in done.out
    assert done.err.startswith("bad.ini:3:1: error[missing-file]: ")
    assert " 3 | include = nope.ini\n" in done.err
    assert "help:" in done.err
    assert "Traceback" not in done.err


def test_a_warning_is_no_error_unless_it_is_denied(vassals: Path) -> None:
    (vassals / "w.ini").write_text(WARNED)
    done = compile_(vassals, "w.ini")
    assert done.code == FINE
    assert "warning[missing-section]" in done.err
    assert compile_(vassals, "w.ini", "--deny", "warnings").code == ERRORS


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--format", "nonsense", "a.ini"),
        ("--no-such-option",),
        ("--allow", "everything", "a.ini"),
        ("--uwsgi", "no-such-binary", "a.ini"),
        ("nothing*.ini",),
        ("glob://nothing*.ini",),
    ],
)
def test_a_command_line_without_sense_is_exit_code_2(
    vassals: Path, arguments: tuple[str, ...]
) -> None:
    done = compile_(vassals, *arguments)
    assert done.code == USAGE
    assert done.out == ""
    assert done.err
    assert "Traceback" not in done.err


def test_a_file_that_is_not_there_is_an_error_of_the_configuration(vassals: Path) -> None:
    done = compile_(vassals, "nope.ini")
    assert done.code == ERRORS
    assert "error[missing-file]" in done.err


def test_an_output_that_the_system_refuses_is_exit_code_111(vassals: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "emperor", "compile", "a.ini"],
            cwd=vassals,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == REFUSED
    assert b"Traceback" not in done.stderr
    assert b"No space left" in done.stderr


# -- what PATH may be ----------------------------------------------------------------------


def names(done: Done) -> list[str]:
    assert isinstance(done.data, list)
    return [item["name"] for item in done.data]


def test_one_file_is_one_object(vassals: Path) -> None:
    done = compile_(vassals, "--format", "json", "a.ini")
    assert set(done.data) == {"name", "options", "effective", "diagnostics", "digest"}
    assert done.data["name"] == "a.ini"
    assert ["processes", "4"] in done.data["options"]
    assert done.data["effective"] == {"socket": ["/run/a.sock"], "workers": "4"} or (
        done.data["effective"] == {"socket": ["/run/a.sock"], "processes": "4"}
    )
    assert done.data["diagnostics"] == []
    assert len(done.data["digest"]) == 64


def test_several_files_are_a_list_in_their_order(vassals: Path) -> None:
    done = compile_(vassals, "--format", "json", "d.yaml", "a.ini")
    assert names(done) == ["d.yaml", "a.ini"]


@pytest.mark.parametrize("path", [".", "dir://.", "glob://*.*", "[abcd].*"])
def test_many_vassals_are_a_list_sorted_by_name(vassals: Path, path: str) -> None:
    done = compile_(vassals, "--format", "json", path)
    assert names(done) == ["a.ini", "b.json", "c.xml", "d.yaml"]
    assert done.code == FINE


def test_a_directory_of_one_vassal_is_a_list_too(vassals: Path) -> None:
    (vassals / "sub").mkdir()
    (vassals / "sub" / "only.ini").write_text(GOOD)
    assert names(compile_(vassals, "--format", "json", "sub")) == ["only.ini"]


def test_an_empty_directory_is_an_empty_list(vassals: Path) -> None:
    (vassals / "empty").mkdir()
    done = compile_(vassals, "--format", "json", "empty")
    assert (done.code, done.data) == (FINE, [])


def test_a_vassal_of_a_directory_is_compiled_where_it_lies(vassals: Path) -> None:
    (vassals / "e.ini").write_text("[uwsgi]\ninclude = part.ini\ncwd = %v\n")
    (vassals / "part.ini").write_text("[uwsgi]\npart = 1\n")
    done = compile_(vassals.parent, "--format", "json", "vassals/e.ini")
    assert done.code == FINE
    assert done.data["name"] == "e.ini"
    assert ["cwd", str(vassals)] in done.data["options"]


def test_a_vassal_of_a_glob_is_compiled_where_the_emperor_stands(vassals: Path) -> None:
    done = compile_(vassals.parent, "--format", "json", "glob://vassals/a*.ini")
    assert names(done) == ["vassals/a.ini"]
    assert ["ini", "vassals/a.ini"] in done.data[0]["options"]


def test_a_section_of_a_file(vassals: Path) -> None:
    (vassals / "many.ini").write_text("[web]\nsocket = :1\n[jobs]\nmule = 1\nx = %x\n")
    done = compile_(vassals, "--format", "json", "many.ini:jobs")
    assert done.data["options"] == [["ini", "many.ini:jobs"], ["mule", "1"], ["x", "jobs"]]


@pytest.mark.parametrize(
    ("format_", "text"),
    [
        ("ini", b"[uwsgi]\nsocket = :1\n"),
        ("json", b'{"uwsgi": {"socket": ":1"}}'),
        ("yaml", b"uwsgi:\n  socket: :1\n"),
        ("xml", b"<uwsgi><socket>:1</socket></uwsgi>"),
    ],
)
def test_standard_input_in_each_format(vassals: Path, format_: str, text: bytes) -> None:
    done = compile_(vassals, "--format", "json", "--format-in", format_, "-", stdin=text)
    assert done.code == FINE
    assert done.data["options"] == [[format_, "-"], ["socket", ":1"]]


def test_one_bad_vassal_never_hides_the_others(vassals: Path) -> None:
    (vassals / "bad.ini").write_text(BAD)
    (vassals / "bad.json").write_text("{")
    (vassals / "dir.ini").mkdir()
    os.mkfifo(vassals / "pipe.ini")
    (vassals / "gone.ini").symlink_to("nowhere")
    done = compile_(vassals, "--format", "json", ".")
    assert done.code == ERRORS
    by_name = {item["name"]: item for item in done.data}
    assert {name for name, item in by_name.items() if item["digest"] is not None} == {
        "a.ini",
        "b.json",
        "c.xml",
        "d.yaml",
    }
    found = {name: [d["code"] for d in item["diagnostics"]] for name, item in by_name.items()}
    assert found["bad.ini"] == ["missing-file"]
    assert found["bad.json"] == ["syntax"]
    assert found["dir.ini"] == ["not-a-file"]
    assert found["pipe.ini"] == ["not-a-file"]
    assert found["gone.ini"] == ["missing-file"]


def test_many_vassals_keep_their_order_and_their_findings(tmp_path: Path) -> None:
    for number in range(300):
        text = BAD if number == 150 else f"[uwsgi]\nnumber = {number}\n"
        (tmp_path / f"v{number:03}.ini").write_text(text)
    done = compile_(tmp_path, "--format", "json", ".")
    assert done.code == ERRORS
    assert names(done) == [f"v{number:03}.ini" for number in range(300)]
    assert [item["name"] for item in done.data if item["diagnostics"]] == ["v150.ini"]
    assert done.data[299]["options"][1] == ["number", "299"]
    assert done.err.count("error[") == 1


# -- what is printed -----------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["ini", "yaml", "xml"])
def test_what_is_printed_can_be_read_again(vassals: Path, format_: str) -> None:
    options = [["a", "x & <y> \"z\" 'q' # ;"], ["b", "é: - [1"], ["a", "- 2"], ["c", "true"]]
    (vassals / "odd.ini").write_text(
        "[uwsgi]\n" + "".join(f"{key} = {value}\n" for key, value in options)
    )
    printed = compile_(vassals, "--format", format_, "--argv", "--", "odd.ini").out
    again = compile_(
        vassals, "--format=json", "--format-in", format_, "-", stdin=printed.encode()
    )
    assert again.data["options"] == [[format_, "-"], *options]


def test_the_plan_is_canonical_and_valid(vassals: Path) -> None:
    (vassals / "bad.ini").write_text(BAD)
    done = compile_(vassals, "--format", "plan", ".")
    assert done.code == ERRORS
    jsonschema.Draft202012Validator(schema("plan.schema.json")).validate(done.data)
    assert [v["name"] for v in done.data["vassals"]] == ["a.ini", "b.json", "c.xml", "d.yaml"]
    again = compile_(vassals, "--format", "plan", ".")
    assert again.out == done.out


def test_the_command_that_is_run(vassals: Path) -> None:
    done = compile_(vassals, "--format", "argv", "a.ini")
    assert done.code == FINE
    assert done.out.endswith("uwsgi --inherit emperor://a.ini\n")


def test_only_what_is_left_when_all_had_their_say(vassals: Path) -> None:
    (vassals / "two.ini").write_text(
        "[uwsgi]\nprocesses = 1\nmine = 1\nsocket = :1\nworkers = 3\nsocket = :2\n"
    )
    lines = compile_(vassals, "--effective", "two.ini").out.splitlines()
    assert [line for line in lines if line.startswith("socket")] == [
        "socket = :1",
        "socket = :2",
    ]
    assert len([line for line in lines if line.endswith(" = 3")]) == 1
    assert not any(line.endswith("= 1") or line.startswith("mine") for line in lines)


def test_explain_says_where_every_value_comes_from(vassals: Path) -> None:
    (vassals / "base.ini").write_text("[uwsgi]\nharakiri = 30\n")
    (vassals / "e.ini").write_text(
        "[uwsgi]\ninclude = base.ini\nfor = 1 2\nenv = A%(_)\nend =\n"
    )
    done = compile_(vassals, "e.ini", "--explain")
    assert done.code == FINE
    assert "harakiri = 30" in done.out
    assert "base.ini:2:1" in done.out
    assert "e.ini:2:1" in done.out
    assert "e.ini:4:1" in done.out


def test_explain_of_one_option_tells_its_whole_life(vassals: Path) -> None:
    (vassals / "base.ini").write_text("[uwsgi]\nharakiri = %(slow)\nslow = 30\n")
    (vassals / "e.ini").write_text("[uwsgi]\nharakiri = 5\ninclude = base.ini\n")
    out = compile_(vassals, "e.ini", "--explain", "harakiri").out
    assert "e.ini:2:1" in out
    assert "base.ini:2:1" in out
    assert "included from e.ini:3:1" in out
    assert "%(slow)" in out
    (winner,) = [line for line in out.splitlines() if "->" in line and "harakiri" in line]
    assert "harakiri = 30" in winner
    assert "slow = 30" not in out


# -- the Emperor's part --------------------------------------------------------------------


def test_what_the_emperor_adds_stands_where_uwsgi_puts_it(vassals: Path) -> None:
    for name in ("ib", "nb", "i", "n"):
        (vassals / f"{name}.part.ini").write_text(f"[uwsgi]\nfrom-{name} = 1\n")
    done = compile_(
        vassals,
        "--format=json",
        "--vassals-inherit=i.part.ini",
        "--vassals-include=n.part.ini",
        "--vassal-set=tenant=acme",
        "--vassals-include-before=nb.part.ini",
        "--vassals-inherit-before=ib.part.ini",
        "a.ini",
    )
    keys = [key for key, _ in done.data["options"]]
    assert keys == [
        *("inherit", "include", "from-nb", "set", "tenant"),
        *("ini", "socket", "processes", "cores"),
        *("inherit", "include", "from-n", "from-ib", "from-i"),
    ]


def test_the_emperors_file_says_the_same(vassals: Path) -> None:
    (vassals.parent / "emperor.ini").write_text(
        f"[uwsgi]\nemperor = {vassals}\nvassal-set = tenant=acme\nenv = TIER=gold\n"
        "[emperor]\nemperor-freq = 5\n"
    )
    (vassals / "t.ini").write_text("[uwsgi]\nx = %(tenant) $(TIER)\n")
    done = compile_(vassals, "--format=json", "--emperor-config=../emperor.ini", "t.ini")
    assert done.err == ""
    assert ["x", "acme gold"] in done.data["options"]


def test_an_emperors_file_with_a_mistake_is_an_error_that_hides_no_vassal(
    vassals: Path,
) -> None:
    (vassals.parent / "emperor.ini").write_text("[uwsgi]\nhttp = :80\n")
    done = compile_(vassals, "--emperor-config=../emperor.ini", "a.ini")
    assert done.code == ERRORS
    assert "emperor.ini:2:1: error[emperor-option]" in done.err
    assert "socket = /run/a.sock" in done.out


def test_the_environment(vassals: Path) -> None:
    (vassals / "e.ini").write_text("[uwsgi]\nx = <$(ONE)$(TWO)$(HOME)>\n")
    own = compile_(vassals, "--format=json", "e.ini", "--env=TWO=2", ONE="1", UWSGI_FOO="bar")
    assert own.data["options"] == [
        ["foo", "bar"],
        ["ini", "e.ini"],
        ["x", f"<12{vassals}>"],
    ]
    clean = compile_(vassals, "--format=json", "--clean-env", "--env=TWO=2", "e.ini", ONE="1")
    assert clean.data["options"] == [["ini", "e.ini"], ["x", "<$(ONE)2$(HOME)>"]]


def test_variables_for_vassals_are_compiled_in(vassals: Path) -> None:
    done = compile_(vassals, "--format=json", "a.ini", UWSGI_VASSAL_THREADS="7")
    assert done.data["options"][0] == ["threads", "7"]


# -- rules and sources ---------------------------------------------------------------------


def test_strict_is_uwsgis_own_from_the_first_line_on(vassals: Path) -> None:
    (vassals / "s.ini").write_text("[uwsgi]\nmaster = true\nprocceses = 4\n")
    assert compile_(vassals, "s.ini").code == FINE
    done = compile_(vassals, "--strict", "s.ini")
    assert done.code == ERRORS
    assert "s.ini:3:1: error[unknown-directive]" in done.err


def test_commands_run_only_where_they_are_allowed(vassals: Path) -> None:
    (vassals / "x.ini").write_text("[uwsgi]\nx = @(exec://touch ran; echo yes)\n")
    denied = compile_(vassals, "x.ini")
    assert denied.code == ERRORS
    assert "error[source-denied]" in denied.err
    assert not (vassals / "ran").exists()
    allowed = compile_(vassals, "--allow=file,exec", "x.ini")
    assert allowed.code == FINE
    assert "x = yes\n" in allowed.out
    assert (vassals / "ran").exists()


@pytest.mark.parametrize(("version", "wanted"), [("2.0.31", []), ("2.1", ["y"])])
def test_the_target_decides(vassals: Path, version: str, wanted: list[str]) -> None:
    (vassals / "e.ini").write_text("[uwsgi]\nif-env = NOPE\nx = 1\nelse =\ny = 2\nendif =\n")
    done = compile_(vassals, "--format=json", "--uwsgi", version, "e.ini")
    assert [k for k, _ in done.data["options"] if k in {"x", "y"}] == wanted


# -- any command line of uWSGI -------------------------------------------------------------


def test_any_command_line_of_uwsgi(vassals: Path) -> None:
    done = compile_(
        vassals, "--format=json", "--argv", "--", "a.ini", "--master", "-p", "3", "--set", "z=1"
    )
    assert done.code == FINE
    assert done.data["name"] == "uwsgi"
    assert done.data["options"] == [
        *(["master", None], ["processes", "3"], ["set", "z=1"], ["z", "1"]),
        *(["socket", "/run/a.sock"], ["processes", "4"], ["cores", "2"]),
    ]


def test_a_command_line_that_uwsgi_refuses(vassals: Path) -> None:
    done = compile_(vassals, "--argv", "--", "--no-such-thing")
    assert done.code == ERRORS
    assert "error[command-line]" in done.err


def test_bytes_that_are_not_utf8_come_out_as_they_went_in(vassals: Path) -> None:
    (vassals / "l.ini").write_bytes(b"[uwsgi]\nname = Zo\xeb\n")
    done = compile_(vassals, "l.ini")
    assert done.code == FINE
    assert "name = Zo\udceb\n" in done.out
    assert "warning[not-utf8]" in done.err
    options = compile_(vassals, "--format=json", "l.ini").data["options"]
    assert options[1] == ["name", "Zo\udceb"]


def test_control_characters_never_reach_the_terminal(vassals: Path) -> None:
    (vassals / "c.ini").write_text("[uwsgi]\n\x1b[31m = 1\ninclude = \x1b[2J.ini\n")
    done = compile_(vassals, "c.ini")
    assert "\x1b" not in done.err
    assert "\x1b" not in compile_(vassals, "c.ini", "--explain").out


# -- programs, and other people's vassals ----------------------------------------------------


def test_a_program_is_shown_as_the_command_that_is_run(vassals: Path) -> None:
    (vassals / "p.ini").write_text("[uwsgi]\nvassal-exec = ./serve --port 80\nuid = 1234\n")
    done = compile_(vassals, "--format=argv", "p.ini")
    assert done.err == ""
    assert done.out.startswith("setpriv --reuid=1234 ")
    assert done.out.endswith("-- ./serve --port 80\n")


def test_namespaces_stand_in_front_of_the_command(vassals: Path) -> None:
    (vassals.parent / "emperor.ini").write_text("[uwsgi]\nemperor-use-clone = pid,uts\n")
    done = compile_(vassals, "--format=argv", "--emperor-config=../emperor.ini", "a.ini")
    assert done.out.startswith("unshare --pid --uts -- timeout --foreground 0 setpriv ")


@needs_root
def test_a_tyrants_vassal_is_shown_as_its_owner(tmp_path: Path) -> None:
    town = tmp_path / "town"
    with other_peoples(town) as vassals:
        (vassals / "a.ini").write_text("[uwsgi]\nwho = %(vassal.uid) %u\n")
        os.chown(vassals / "a.ini", 20001, 20002)
        config = ("--emperor-config", str(town / "emperor.ini"))
        done = compile_(vassals, "--format=argv", *config, "a.ini")
        assert done.out.startswith("setpriv --reuid 20001 --regid 20002 --clear-groups ")
        assert "who = 20001 20001" in compile_(vassals, *config, "a.ini").out


@needs_root
def test_what_a_tyrant_refuses_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    town = tmp_path / "town"
    with other_peoples(town) as vassals:
        (vassals / "a.ini").write_text("[uwsgi]\nx = 1\n")
        done = compile_(vassals, "--emperor-config", str(town / "emperor.ini"), "a.ini")
    assert done.code == ERRORS
    assert "error[tyrant]: its file" in done.err
    assert f"= help: chown USER:GROUP {vassals}/a.ini" in done.err


@contextmanager
def other_peoples(town: Path) -> Iterator[Path]:
    """A tyrant's directory, with a way to it that is nobody's to change."""
    place = tempfile.mkdtemp(prefix="emp-")
    os.chmod(place, 0o755)
    town.symlink_to(place)
    vassals = Path(place, "vassals")
    vassals.mkdir(mode=0o755)
    Path(place, "emperor.ini").write_text("[uwsgi]\nemperor-tyrant = true\n")
    try:
        yield vassals
    finally:
        shutil.rmtree(place)
