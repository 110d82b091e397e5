"""What stands in front of the program, which program that is, and the on-demand socket."""

from dataclasses import replace

import pytest
from tests.support.readers import DictReader

from emperor.compiler.diagnostics import Diagnostics, Severity
from emperor.compiler.launching import Launching, launching_of
from emperor.compiler.vassal import Templates, VassalFile, vassal_arguments

FILE = VassalFile(name="app.ini", directory="/srv/vassals", monitor="/srv/vassals")
BINARY = "/usr/bin/uwsgi"


def launching(
    templates: Templates,
    *,
    file: VassalFile = FILE,
    reader: DictReader | None = None,
    path: str = "/usr/bin:/bin",
) -> tuple[Launching, list[tuple[str, Severity]]]:
    diagnostics = Diagnostics()
    found = launching_of(
        file,
        templates,
        binary=BINARY,
        environment={"PATH": path},
        reader=reader or DictReader(),
        diagnostics=diagnostics,
    )
    return found, [(item.code, item.severity) for item in diagnostics.items]


def test_a_plain_vassal_is_uwsgi_and_nothing_else() -> None:
    assert launching(Templates(set=("a=1",))) == (Launching(program=BINARY), [])


# -- the program -----------------------------------------------------------------------------


def program(templates: Templates, *programs: str, path: str = "/usr/bin:/bin") -> str:
    reader = DictReader(programs=frozenset(programs))
    return launching(templates, reader=reader, path=path)[0].program


ALL = Templates(wrapper="w", wrapper_override=("/o1", "o2"), wrapper_fallback=("/f1", "./f2"))


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        (("/f1", "/bin/w", "/usr/bin/o2", "/o1"), "/o1"),
        (("/f1", "/bin/w", "/bin/o2"), "/bin/o2"),
        (("/f1", "/bin/w", "/usr/bin/w"), "/usr/bin/w"),
        (("/f1", "/srv/vassals/f2"), "/f1"),
        (("/srv/vassals/f2", BINARY), "./f2"),
        ((BINARY,), "w"),
    ],
)
def test_the_first_program_that_is_there_is_taken(there: tuple[str, ...], chosen: str) -> None:
    assert program(ALL, *there) == chosen


def test_without_a_wrapper_the_binary_stands_between_override_and_fallback() -> None:
    templates = replace(ALL, wrapper=None)
    assert program(templates, BINARY, "/f1") == BINARY
    assert program(templates, "/f1") == "/f1"


def test_a_missing_wrapper_is_not_gone_around() -> None:
    assert program(Templates(wrapper="/jail"), BINARY) == "/jail"


def test_an_empty_place_on_the_path_is_the_working_directory() -> None:
    assert program(Templates(wrapper="w"), "/srv/vassals/w", path=":/bin") == "./w"


# -- hooks -----------------------------------------------------------------------------------


def test_the_name_is_a_word_and_never_a_part_of_the_script() -> None:
    name = "a'; reboot #\n.ini"
    templates = Templates(as_vassal=(("vassals-start-hook", "/hook"),))
    found, _ = launching(templates, file=replace(FILE, name=name))
    shell, option, script, called, word = found.chain
    assert (shell, option, word) == ("/bin/sh", "-c", name)
    assert "reboot" not in script
    assert called == "a'; reboot #\\n.ini"
    assert found.set == (("UWSGI_VASSALS_DIR", "/srv/vassals"),)


def test_a_section_is_a_part_of_the_name() -> None:
    templates = Templates(as_vassal=(("vassals-start-hook", "/hook"),))
    found, _ = launching(templates, file=replace(FILE, section="zerg"))
    assert found.chain[3:] == ("app.ini:zerg", "app.ini:zerg")


def test_the_last_start_hook_counts() -> None:
    templates = Templates(
        as_vassal=(("vassals-start-hook", "/one"), ("vassals-start-hook", "/two"))
    )
    script = launching(templates)[0].chain[2]
    assert "/one" not in script
    assert script.count("/two") == 3


def test_a_private_hook_is_not_said() -> None:
    templates = Templates(as_vassal=(("hook-as-vassal", "!print:sesame"),))
    script = launching(templates)[0].chain[2]
    assert [line for line in script.splitlines() if "sesame" in line] == [
        "printf '%s\\n' sesame >&2 || end '\"hook-as-vassal = (private)\"' $?"
    ]


def test_a_hook_that_was_refused_ends_the_process() -> None:
    templates = Templates(as_vassal=(("hook-as-vassal", "call:x"),))
    assert "\nend 'hook-as-vassal: " in launching(templates)[0].chain[2]


# -- the on-demand socket --------------------------------------------------------------------


def socket(
    templates: Templates, *, file: VassalFile = FILE, reader: DictReader | None = None
) -> str | None:
    found, problems = launching(templates, file=file, reader=reader)
    assert problems == []
    return found.socket


def beside(content: bytes) -> DictReader:
    return DictReader(files={"/srv/vassals/app.ini.socket": content})


EXTENSION = Templates(on_demand_extension=".socket")


@pytest.mark.parametrize(
    ("content", "address"),
    [
        (b"/run/a.sock\n", "/run/a.sock"),
        (b"/run/a b.sock\x01rest", "/run/a b.sock"),
        (b":8080", ":8080"),
        (b"[::1]:0\r\n", "[::1]:0"),
        (b"localhost:1", "localhost:1"),
        (b"@here", "@here"),
        (b"run/a.sock", "/srv/vassals/run/a.sock"),
        (b"/run/a:b", "/run/a:b"),
        (b"", None),
        (b"\n/run/a.sock", None),
    ],
)
def test_the_address_is_what_stands_before_the_first_control_character(
    content: bytes, address: str | None
) -> None:
    assert socket(EXTENSION, reader=beside(content)) == address


@pytest.mark.parametrize(
    "content", [b"host.example.org:80", b":", b":70000", b"@", b"::1:80", b"/" + b"x" * 107]
)
def test_what_is_no_address_is_an_error(content: bytes) -> None:
    found, problems = launching(EXTENSION, reader=beside(content))
    assert problems == [("invalid-value", Severity.ERROR)]
    assert found.socket is None


def test_the_monitors_own_address_comes_first() -> None:
    file = replace(FILE, socket="/run/given")
    assert socket(EXTENSION, file=file, reader=beside(b":1")) == "/run/given"
    assert socket(Templates(), file=file) == "/run/given"


def test_a_zerg_is_never_on_demand() -> None:
    file = replace(FILE, section="zerg", socket="/run/given")
    assert socket(EXTENSION, file=file, reader=beside(b":1")) is None


def test_only_the_first_way_that_is_given_is_gone() -> None:
    templates = replace(EXTENSION, on_demand_directory="/run")
    assert socket(templates) is None


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("app.ini", "/run/app.socket"),
        ("/etc/v/a.b.ini", "/run/a.b.socket"),
        ("/etc/v.d/plain", None),
    ],
)
def test_the_directory_holds_a_socket_for_each_stem(name: str, address: str | None) -> None:
    templates = Templates(on_demand_directory="/run")
    assert socket(templates, file=replace(FILE, name=name)) == address


def test_the_command_gets_the_name_quoted() -> None:
    reader = DictReader(outputs={"where 'a b$(c).ini'": b":7\nmore"})
    templates = Templates(on_demand_exec="where")
    assert socket(templates, file=replace(FILE, name="a b$(c).ini"), reader=reader) == ":7"


def test_a_command_that_fails_is_a_warning() -> None:
    found, problems = launching(Templates(on_demand_exec="where"))
    assert problems == [("source-denied", Severity.WARNING)]
    assert found.socket is None


# -- magic exec ------------------------------------------------------------------------------


def argument(name: str, *, is_program: bool = True, text: str | None = None) -> list[str]:
    full = name if name.startswith("/") else f"/srv/vassals/{name}"
    reader = DictReader(
        files={full: b""}, programs=frozenset([full]) if is_program else frozenset()
    )
    file = replace(FILE, name=name, text=text)
    arguments, index = vassal_arguments(file, Templates(magic_exec=True), reader)
    assert index == 1
    return arguments


def test_a_vassal_that_may_be_executed_is_run() -> None:
    assert argument("app.yaml") == ["--yaml", "exec://./app.yaml"]
    assert argument("/etc/v/app.ini") == ["--ini", "exec:///etc/v/app.ini"]
    assert argument("a b;c.ini") == ["--ini", "exec://'./a b;c.ini'"]


def test_others_are_read() -> None:
    assert argument("app.ini", is_program=False) == ["--ini", "app.ini"]
    assert argument("app.ini", text="[uwsgi]") == ["--ini", "emperor://app.ini"]
