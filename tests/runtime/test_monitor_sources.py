"""How sources are read, and which names they mean."""

import os
import subprocess
import sys

import pytest

from emperor.runtime.monitors.sources import (
    Kind,
    Source,
    UnknownMonitorError,
    is_too_long,
    is_vassal_name,
    parse_source,
)
from emperor.runtime.monitors.trust import file_system_type, remote_name
from emperor.runtime.patterns import component, has_magic, unescape


def parse(text: str, *, directories: tuple[str, ...] = ()) -> Source:
    source = parse_source(text, cwd="/home", is_directory=lambda path: path in directories)
    assert isinstance(source, Source)
    return source


def test_a_dir_source() -> None:
    source = parse("dir:///etc/vassals/")
    assert (source.id, source.kind) == ("dir:///etc/vassals/", Kind.DIRECTORY)
    assert (source.root, source.prefix) == ("/etc/vassals", "")
    assert source.components[0].matches(".hidden.ini")


def test_a_bare_path_is_a_directory_if_there_is_one() -> None:
    assert parse("vassals", directories=("/home/vassals",)).root == "/home/vassals"
    assert parse("vassals").kind is Kind.GLOB


@pytest.mark.parametrize(
    ("text", "root", "prefix", "levels"),
    [
        ("glob:///opt/app*/*.ini", "/opt", "/opt/", 2),
        ("/opt/apps/*.ini", "/opt/apps", "/opt/apps/", 1),
        ("*/conf/app.ini", "/home", "", 3),
        ("./a/x.ini", "/home/./a", "./a/", 1),
        ("/*.ini", "/", "/", 1),
        ("x.ini", "/home", "", 1),
    ],
)
def test_a_glob_starts_at_its_first_wildcard(
    text: str, root: str, prefix: str, levels: int
) -> None:
    source = parse(text)
    assert source.kind is Kind.GLOB
    assert (source.root, source.prefix, len(source.components)) == (root, prefix, levels)


def test_an_unknown_scheme_is_refused_by_name() -> None:
    with pytest.raises(UnknownMonitorError, match=r"no monitor zmq://; .*\(installed: none\)"):
        parse("zmq://tcp://127.0.0.1:5000")


def test_only_a_scheme_that_is_not_ours_has_plugins_looked_for() -> None:
    program = (
        "import os, sys;"
        "from emperor.runtime.monitors.sources import *;"
        "parse_source('dir:///v', cwd='/', is_directory=os.path.isdir);"
        "parse_source('/v/*.ini', cwd='/', is_directory=os.path.isdir);"
        "import emperor.runtime.monitors.watchtower;"
        "print([m for m in ('importlib.metadata', 'hashlib', 'json') if m in sys.modules])"
    )
    command = [sys.executable, "-S", "-c", program]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    assert done.stdout.decode().strip() == "[]"


def test_a_bare_path_with_a_scheme_in_the_middle_is_a_path() -> None:
    assert parse("a/b://*.ini").kind is Kind.GLOB


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.ini", ["a.ini", "a b.ini", "\udcff.ini", "a\n.ini"], [".a.ini", "a.ini.bak"]),
        (".*.ini", [".a.ini"], ["a.ini"]),
        ("app?.ini", ["app1.ini"], ["app.ini", "app12.ini"]),
        ("[ab]*", ["a", "bx"], ["c", "]"]),
        ("[!ab]", ["c"], ["a", ""]),
        ("[^ab]", ["c"], ["a"]),
        ("[]x]", ["]", "x"], ["y"]),
        ("[a-c-]", ["b", "-"], ["d"]),
        ("[[:digit:]_]x", ["1x", "_x"], ["ax"]),
        ("[c-a]", [], ["a", "b", "c"]),
        ("[a", ["[a"], ["a"]),
        (r"\*.ini", ["*.ini"], ["a.ini"]),
        (r"a\[b*", ["a[bc"], ["ab"]),
        (r"[\]]*", ["]x"], ["\\"]),
        ("{a,b}.ini", ["{a,b}.ini"], ["a.ini"]),
        ("**", ["a"], [".a"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_a_component_means_what_glob_means(pattern: str, yes: list[str], no: list[str]) -> None:
    compiled = component(pattern)
    assert [name for name in yes if not compiled.matches(name)] == []
    assert [name for name in no if compiled.matches(name)] == []


def test_a_backslash_takes_a_wildcard_away() -> None:
    assert has_magic(r"a\**")
    assert not has_magic(r"a\*\?\[")
    assert unescape(r"a\*\\") == "a*\\"


def test_endings_make_a_vassal() -> None:
    for name in ("a.ini", "a.xml", "a.yml", "a.yaml", "a.js", "a.json", ".ini"):
        assert is_vassal_name(name, ())
    for name in ("a.skel", "a.conf", "a.ini~", "ini"):
        assert not is_vassal_name(name, ())
    assert is_vassal_name("a.conf", (".conf",))


def test_the_length_of_a_name_is_counted_in_bytes() -> None:
    assert not is_too_long("a" * 254)
    assert is_too_long("ä" * 128)


def test_file_systems_that_others_change() -> None:
    assert remote_name(0x6969) == "nfs"
    assert remote_name(0xFF534D42 - (1 << 32)) == "cifs"  # a long of 32 bits is negative here
    assert remote_name(0xEF53) is None


def test_the_type_of_a_file_system_is_asked_of_the_kernel() -> None:
    assert file_system_type(b"/proc") == 0x9FA0
    assert file_system_type(b"/no/such/path") == 0
