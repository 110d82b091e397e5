"""What a program sees of what its vassal file says, and with which rights it runs."""

import os
import sys
from collections.abc import Iterator

import pytest
from tests.e2e.daemon import reign
from tests.e2e.programs import A_TENANT, Yard, ready, yard
from tests.support.marks import needs_root

pytestmark = pytest.mark.process


@pytest.fixture
def place() -> Iterator[Yard]:
    with yard() as found:
        yield found


def test_directory_environment_mask_and_limits(place: Yard) -> None:
    os.mkdir(f"{place.root}/site")
    place.put_program(
        "one.ini",
        ("chdir", f"{place.root}/site"),
        ("umask", "027"),
        ("env", "COLOUR=red and $HOME"),
        ("unenv", "LANG"),
        ("max-fd", "200"),
        ("limit-as", "700"),
        ("cpu-affinity", "1"),
        ("prio", "5"),
        ("vassal-oom-score", "300"),
        words="a 'b c'",
    )
    with reign(*place.words, environment={"HOME": "/nowhere"}) as daemon:
        pid = ready(daemon, "one.ini")
        seen = place.ask("one.ini")
        assert daemon.said("one.ini", "warning", "error") == []
    environment = seen["environment"]
    assert (seen["pid"], seen["session"], environment["LISTEN_PID"]) == (pid, pid, str(pid))
    assert (seen["cwd"], seen["umask"]) == (f"{place.root}/site", 0o27)
    assert (environment["COLOUR"], "LANG" in environment) == ("red and $HOME", False)
    assert (seen["files"], seen["memory"]) == (200, 700 * 2**20)
    assert (seen["cores"], seen["nice"], seen["oom"]) == (1, 5, "300")
    assert seen["argv"] == ["a", "b c"]
    assert [name for name in environment if name.startswith("EMPEROR_0")] == []


def test_sockets_and_what_is_said_of_them(place: Yard) -> None:
    place.put(
        "two.ini",
        ("vassal-exec", place.command()),
        ("socket", place.socket("two.ini")),
        ("http-socket", f"{place.root}/second"),
        ("chmod-socket", "640"),
    )
    with reign(*place.words) as daemon:
        ready(daemon, "two.ini")
        seen = place.ask("two.ini")
        assert os.stat(f"{place.root}/second").st_mode & 0o777 == 0o640
    environment = seen["environment"]
    assert (environment["LISTEN_FDS"], environment["UWSGI_EMPEROR_FD"]) == ("2", "5")
    assert environment["LISTEN_FDNAMES"] == "socket:http-socket"
    assert seen["descriptors"][:7] == [0, 1, 2, 3, 4, 5, 6]  # 6 is the connection
    assert not os.path.exists(f"{place.root}/second")  # with the vassal its sockets go


@needs_root
def test_user_group_and_no_capability(place: Yard) -> None:
    place.put_program(
        "lesser.ini",
        ("uid", str(A_TENANT)),
        ("gid", str(A_TENANT + 1)),
        ("add-gid", str(A_TENANT + 2)),
    )
    with reign(*place.words) as daemon:
        ready(daemon, "lesser.ini")
        seen = place.ask("lesser.ini")
    assert seen["uids"] == [A_TENANT] * 3
    assert (seen["gids"], seen["groups"]) == ([A_TENANT + 1] * 3, [A_TENANT + 2])
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(seen["status"][name], 16) == 0, name


@needs_root
def test_a_privileged_patch_keeps_its_rights(place: Yard) -> None:
    # as uWSGI has it: before uid and gid
    place.put(
        "patch.ini",
        ("privileged-binary-patch-arg", f"exec {place.command('privileged')}"),
        ("socket", place.socket("patch.ini")),
        ("uid", str(A_TENANT)),
    )
    with reign(*place.words) as daemon:
        ready(daemon, "patch.ini")
        seen = place.ask("patch.ini")
        assert seen["uids"] == [0, 0, 0]
        (warning,) = daemon.said("patch.ini", "warning")
        assert '"uid" has no effect' in warning


def test_unprivileged_patches(place: Yard) -> None:
    program = place.write("run", f'#!/bin/sh\nexec {place.command()} "$@"\n')
    place.put(
        "plain.ini",
        ("unprivileged-binary-patch", program),
        ("socket", place.socket("plain.ini")),
    )
    place.put(
        "arg.ini",
        ("unprivileged-binary-patch-arg", f"{program} of a shell $((1 + 1))"),
        ("socket", place.socket("arg.ini")),
    )
    with reign(*place.words) as daemon:
        for name in ("plain.ini", "arg.ini"):
            daemon.expect("is ready", name)
        # a patch takes the program's place and has its words
        assert place.ask("plain.ini")["argv"] == ["--ini", "plain.ini"]
        assert place.ask("arg.ini")["argv"] == ["of", "a", "shell", "2"]


def test_pid_files(place: Yard) -> None:
    names = ("pidfile", "pidfile2", "safe-pidfile", "safe-pidfile2")
    files = tuple((name, f"{place.root}/{name}") for name in names)
    place.put_program("one.ini", *files)
    with reign(*place.words) as daemon:
        pid = ready(daemon, "one.ini")
        place.ask("one.ini")
        for _, path in files:
            with open(path, encoding="ascii") as file:
                assert int(file.read()) == pid


def test_hooks_have_their_turn_before_the_program(place: Yard) -> None:
    place.put_program(
        "one.ini",
        ("env", "COLOUR=red"),
        ("exec-pre-jail", f"echo jail $COLOUR >>{place.root}/hooks"),
        ("exec-pre-app", f"echo app $COLOUR >>{place.root}/hooks"),
        ("hook-pre-app", "putenv:SHAPE=round"),
    )
    place.put_program("failing.ini", ("exec-pre-app", "exit 7"))
    with reign(*place.words) as daemon:
        ready(daemon, "one.ini")
        assert place.ask("one.ini")["environment"]["SHAPE"] == "round"
        daemon.expect("died (exit code 1)", "failing.ini", level="warning")
    with open(f"{place.root}/hooks", encoding="ascii") as file:
        assert file.read() == "jail red\napp red\n"


def test_what_only_a_uwsgi_could_honour_is_named(place: Yard) -> None:
    place.put_program("one.ini", ("workers", "4"), ("cron", "1 2 3 4 5 true"), words="x")
    with reign(*place.words) as daemon:
        ready(daemon, "one.ini")
        warnings = "\n".join(daemon.said("one.ini", "warning"))
    assert 'only a uWSGI could honour "cron"' in warnings
    assert '"workers"' in warnings


def test_an_emperor_without_any_uwsgi(place: Yard) -> None:
    """Beside this interpreter's name there is no wheel, and nothing on PATH."""
    os.mkdir(f"{place.root}/bin")
    python = f"{place.root}/bin/python"
    os.symlink(os.path.realpath(sys.executable), python)
    os.symlink("/bin/sh", f"{place.root}/bin/sh")
    imports = os.pathsep.join(path for path in sys.path if os.path.isdir(path))
    environment = {"PATH": f"{place.root}/bin", "PYTHONPATH": imports}
    place.put_program("one.ini")
    place.put("site.ini", ("http-socket", "127.0.0.1:0"))
    command = (python, "-m", "emperor")
    with reign(*place.words, command=command, environment=environment) as daemon:
        daemon.expect("there is no uWSGI on PATH", level="warning")
        ready(daemon, "one.ini")
        assert place.ask("one.ini")["environment"]["PATH"] == f"{place.root}/bin"
        daemon.expect("uWSGI", "site.ini", level="error")
