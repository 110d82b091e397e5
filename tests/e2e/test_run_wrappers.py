"""Another program than uWSGI, configurations that are printed, and other endings of files."""

import os
import shlex
import sys

import pytest
from tests.e2e.asking import Control
from tests.e2e.daemon import OUTPUT, eventually, reign
from tests.e2e.sites import Town, in_format

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

#: Speaks the Emperor's protocol, and is no uWSGI: takes its config, says that it is there,
#: obeys. What it was told stands in a file beside it.
STRANGER = """
import os, socket, struct, sys
command = socket.socket(fileno=int(os.environ["UWSGI_EMPEROR_FD"]))
config = socket.socket(fileno=int(os.environ["UWSGI_EMPEROR_FD_CONFIG"]))

def take_config():
    _, size, _ = struct.unpack("<BHB", config.recv(4, socket.MSG_WAITALL))
    text = config.recv(size, socket.MSG_WAITALL).decode()
    with open(sys.argv[1], "a") as file:
        file.write(f"{sys.argv[2:]} {text.split()}\\n")

take_config()
command.send(bytes([1, 5]))
while byte := command.recv(1):
    if byte == b"\\1":
        command.send(b"\\2")
        take_config()
        command.send(b"\\5")
    else:
        sys.exit(0)
"""


def put_program(path: str, text: str) -> str:
    """Write a program; gives its path."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o755)
    return path


def put_wrapper(town: Town, label: str, path: str | None = None) -> str:
    """Write a wrapper that becomes uWSGI, with its label in the environment; gives its path."""
    server = shlex.quote(town.server.path)
    text = f'#!/bin/sh\nWRAPPER={label} ARGUMENTS="$*" exec {server} "$@"\n'
    return put_program(path or f"{town.root}/{label}", text)


def wrapper_of(town: Town, name: str) -> str:
    """The label of the wrapper that a vassal runs in; "-" for none."""
    return town.get(name, "/env?WRAPPER")


# -- wrappers --------------------------------------------------------------------------------


def test_emperor_wrapper_is_run_instead_of_uwsgi(each_town: Town) -> None:
    town = each_town
    town.put("site.ini", "one")
    with reign(*town.words, "--emperor-wrapper", put_wrapper(town, "usual")) as daemon:
        pid = daemon.up("site.ini")
        assert wrapper_of(town, "site.ini") == "usual"
        assert town.get("site.ini", "/env?ARGUMENTS") == "--inherit emperor://site.ini"
        town.put("site.ini", "two")
        daemon.reloaded("site.ini", "changed")
        assert (town.get("site.ini"), wrapper_of(town, "site.ini")) == ("two", "usual")
        assert pid in daemon.family()


def test_emperor_wrapper_may_be_a_program_that_is_no_uwsgi(one_town: Town) -> None:
    town = one_town
    heard = f"{town.root}/heard"
    program = put_program(f"{town.root}/stranger.py", STRANGER)
    python = shlex.quote(sys.executable)
    wrapper = put_program(
        f"{town.root}/stranger", f'#!/bin/sh\nexec {python} {program} {heard} "$@"\n'
    )
    town.write("site.ini", "[uwsgi]\ncolour = red\n")
    with reign(*town.words, "--emperor-wrapper", wrapper) as daemon:
        pid = daemon.up("site.ini")
        town.write("site.ini", "[uwsgi]\ncolour = blue\n")
        daemon.reloaded("site.ini", "changed")
        assert pid in daemon.family()
        os.unlink(town.path("site.ini"))
        daemon.expect("is gone (exit code 0)", "site.ini")
    with open(heard, encoding="utf-8") as file:
        first, second = file.read().splitlines()
    for line, colour in ((first, "red"), (second, "blue")):
        assert line.startswith("['--inherit', 'emperor://site.ini'] ")
        assert f"'colour', '=', '{colour}'" in line


def test_emperor_wrapper_is_found_on_the_path_and_in_the_vassals_directory(
    one_town: Town,
) -> None:
    town = one_town
    os.mkdir(f"{town.root}/bin")
    put_wrapper(town, "named", f"{town.root}/bin/a-wrapper")
    put_wrapper(town, "beside", town.path("a-wrapper"))
    town.put("site.ini", "one")
    environment = {"PATH": f"{town.root}/bin:/usr/bin:/bin"}
    words = (*town.words, "--emperor-wrapper")
    with reign(*words, "a-wrapper", environment=environment) as daemon:
        daemon.up("site.ini")
        assert wrapper_of(town, "site.ini") == "named"
    with reign(*words, "./a-wrapper", environment=environment) as daemon:
        daemon.up("site.ini")
        assert wrapper_of(town, "site.ini") == "beside"


def test_a_wrapper_that_is_not_there_is_waited_for_and_never_gone_around(
    one_town: Town,
) -> None:
    town = one_town
    town.put("site.ini", "one")
    wrapper = f"{town.root}/late"
    with reign(*town.words, "--emperor-wrapper", wrapper) as daemon:
        said = daemon.expect("cannot be spawned", "site.ini", level="error")
        assert "No such file or directory" in said
        assert town.is_down("site.ini")
        put_wrapper(town, "late")
        daemon.up("site.ini")
        assert wrapper_of(town, "site.ini") == "late"


def test_emperor_wrapper_override_is_tried_first_in_its_order(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    wrapper = put_wrapper(town, "usual")
    put_wrapper(town, "third")
    words = ["--emperor-wrapper", wrapper]
    for label in ("first", "second", "third"):
        words += ["--emperor-wrapper-override", f"{town.root}/{label}"]
    put_wrapper(town, "first")
    os.chmod(f"{town.root}/first", 0o644)  # it is there, and may not be run
    with reign(*town.words, *words) as daemon:
        daemon.up("site.ini")
        assert wrapper_of(town, "site.ini") == "third"
        put_wrapper(town, "second")
        os.utime(town.path("site.ini"))  # the next compile sees it; only a restart can be it
        daemon.expect("changed: restarting", "site.ini")
        daemon.up("site.ini")
        assert wrapper_of(town, "site.ini") == "second"
        for label in ("second", "third"):
            os.unlink(f"{town.root}/{label}")
        os.utime(town.path("site.ini"))
        daemon.up("site.ini")
        assert wrapper_of(town, "site.ini") == "usual"


def test_emperor_wrapper_override_alone_stands_before_uwsgi(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    words = ("--emperor-wrapper-override", f"{town.root}/over")
    with reign(*town.words, *words) as daemon:
        daemon.up("site.ini")
        assert wrapper_of(town, "site.ini") == "-"
        put_wrapper(town, "over")
        os.utime(town.path("site.ini"))
        daemon.up("site.ini")
        assert wrapper_of(town, "site.ini") == "over"


def test_emperor_wrapper_fallback_is_tried_last_in_its_order(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    words = ["--emperor-wrapper", f"{town.root}/usual"]
    for label in ("missing", "fallback", "later"):
        words += ["--emperor-wrapper-fallback", f"{town.root}/{label}"]
    for label in ("fallback", "later"):
        put_wrapper(town, label)
    with reign(*town.words, *words) as daemon:
        daemon.up("site.ini")
        assert wrapper_of(town, "site.ini") == "fallback"
        put_wrapper(town, "usual")
        os.utime(town.path("site.ini"))
        daemon.up("site.ini")
        assert wrapper_of(town, "site.ini") == "usual"


def test_emperor_wrapper_fallback_stands_in_for_a_uwsgi_that_is_gone(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    binary = f"{town.root}/my-uwsgi"
    os.symlink(town.server.path, binary)
    fallback = put_wrapper(town, "fallback")
    words = ("--emperor", town.vassals, "--binary-path", binary)
    with reign(*words, "--emperor-wrapper-fallback", fallback) as daemon:
        daemon.up("site.ini")
        assert wrapper_of(town, "site.ini") == "-"
        os.unlink(binary)
        os.utime(town.path("site.ini"))
        daemon.up("site.ini")
        assert wrapper_of(town, "site.ini") == "fallback"


# -- configurations that are printed ---------------------------------------------------------


def put_script(town: Town, name: str, text: str) -> None:
    """Write a vassal's file that may be executed, as an editor does."""
    os.rename(put_program(town.path(f".{name}.new"), text), town.path(name))


def printing(town: Town, name: str, greeting: str) -> str:
    """A script that prints the config of a vassal that greets."""
    config = in_format(name.rpartition(".")[2], town.options(name, greeting))
    return f"#!/bin/sh\ncat <<END\n{config}\nEND\n"


@pytest.mark.parametrize("ending", ["ini", "xml", "yaml", "json"])
def test_emperor_magic_exec_runs_a_file_that_prints_its_config(
    one_town: Town, ending: str
) -> None:
    town = one_town
    name = f"site.{ending}"
    put_script(town, name, printing(town, name, "from $(basename $PWD)"))
    town.put("plain.ini", "plain")
    with reign(*town.words, "--emperor-magic-exec") as daemon:
        pid = daemon.up(name)
        daemon.up("plain.ini")
        assert town.get(name) == "from vassals"
        assert town.get("plain.ini") == "plain"
        put_script(town, name, printing(town, name, "two"))
        daemon.reloaded(name, "changed")
        assert (town.get(name), pid in daemon.family()) == ("two", True)


def test_emperor_magic_exec_runs_it_again_at_each_reload(one_town: Town) -> None:
    town = one_town
    with open(f"{town.root}/source", "w", encoding="ascii") as file:
        file.write("one")
    put_script(town, "site.ini", printing(town, "site.ini", f"$(cat {town.root}/source)"))
    control = Control(path=f"{town.root}/control")
    words = ("--emperor-magic-exec", "--emperor-control", control.path)
    with reign(*town.words, *words) as daemon:
        daemon.up("site.ini")
        assert town.get("site.ini") == "one"
        with open(f"{town.root}/source", "w", encoding="ascii") as file:
            file.write("two")
        assert control("reload", "--wait", "site.ini").code == 0
        assert town.get("site.ini") == "two"


@pytest.mark.parametrize("text", ["echo ini = missing.ini", "exit 3"], ids=["nonsense", "exit"])
def test_emperor_magic_exec_a_script_that_fails_leaves_the_vassal_alone(
    one_town: Town, text: str
) -> None:
    town = one_town
    put_script(town, "site.ini", printing(town, "site.ini", "one"))
    with reign(*town.words, "--emperor-magic-exec") as daemon:
        pid = daemon.up("site.ini")
        put_script(town, "site.ini", f"#!/bin/sh\necho '[uwsgi]'\n{text}\n")
        said = daemon.expect("does not compile", "site.ini", level="error")
        assert "the running instance is left alone" in said
        assert town.get("site.ini") == "one"
        put_script(town, "site.ini", printing(town, "site.ini", "two"))
        daemon.reloaded("site.ini", "changed")
        assert (town.get("site.ini"), pid in daemon.family()) == ("two", True)


def test_without_emperor_magic_exec_a_file_is_read_whatever_its_mode(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    os.chmod(town.path("site.ini"), 0o755)
    with reign(*town.words) as daemon:
        daemon.up("site.ini")
        assert town.get("site.ini") == "one"


# -- endings, and the rest -------------------------------------------------------------------


@pytest.mark.parametrize("option", ["emperor-extra-extension", "emperor-extra-ext"])
def test_emperor_extra_extension_makes_files_of_that_ending_vassals(
    one_town: Town, option: str
) -> None:
    town = one_town
    town.put("site.ini", "one")
    for name in ("site.conf", "site.local", "notes.txt"):
        town.write(name, in_format("ini", town.options(name, name)))
    words = (f"--{option}", ".conf", f"--{option}", ".local")
    with reign(*town.words, *words) as daemon:
        daemon.up("site.ini")
        for name in ("site.conf", "site.local"):
            # uWSGI would be given --config NAME, and knows no format of that ending
            said = daemon.expect("does not compile", name, level="error")
            assert f'error[unknown-format]: the ending of "{name}" says no format' in said
            assert f"--config {name}" in said
        assert town.get("site.ini") == "one"
        daemon.stop()
        assert daemon.said("notes.txt") == []
    with reign(*town.words) as daemon:
        daemon.up("site.ini")
        daemon.stop()
        assert daemon.said("site.conf") == []


def test_early_emperor_is_taken_in_silence_as_the_emperor_is_always_early(
    one_town: Town,
) -> None:
    town = one_town
    town.put("site.ini", "one")
    with reign(*town.words, "--early-emperor") as daemon:
        daemon.up("site.ini")
        assert town.get("site.ini") == "one"
        daemon.stop()
        assert daemon.said("", "warning", "error") == []
        eventually(lambda: bool(daemon.said(OUTPUT)))
