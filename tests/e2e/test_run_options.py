"""The Emperor's own options: its file, its command line, its environment, its refusals."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from tests.e2e.daemon import OUTPUT, emperor_program, eventually, reign
from tests.e2e.sites import Town
from tests.support.uwsgi import ENVIRONMENT, do_without

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

NOBODY = 65534

#: The package and all that it needs, for an interpreter that does not have them.
IMPORTS = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if os.path.isdir(path))}

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def refused(*words: str) -> tuple[int, str]:
    """What ``emperor run`` leaves with when it does not even start, and what it says."""
    done = subprocess.run(
        [emperor_program(), "run", *words],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def owner(pid: int) -> tuple[list[int], list[int]]:
    """The uids and gids of a process (real, effective, saved, file system)."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        rows = dict(line.rstrip("\n").split(":\t", 1) for line in file)
    return [*map(int, rows["Uid"].split())], [*map(int, rows["Gid"].split())]


def test_an_emperor_file_with_both_sections(one_town: Town) -> None:
    town = one_town
    path = f"{town.root}/emperor.ini"
    with open(path, "w", encoding="utf-8") as file:
        file.write(
            "[uwsgi]\n"
            f"emperor = {town.vassals}\n"
            f"binary-path = {town.server.path}\n"
            "vassal-set = colour=red\n"
            "master = true\n"
            "env = ADDED=yes\n"
            "unenv = UNWANTED\n"
            f"pidfile = {town.root}/emperor.pid\n"
            "[emperor]\n"
            f"vassals-include = {town.root}/common.ini\n"
            f"vassals-include-before = {town.root}/defaults.ini\n"
        )
    for name, text in (("common", "common = %(colour)"), ("defaults", "default = yes")):
        with open(f"{town.root}/{name}.ini", "w", encoding="utf-8") as file:
            file.write(f"[uwsgi]\n{text}\n")
    town.put("site.ini", "%(colour) %(default)")
    words = (path, "--vassal-set", "size=small")
    environment = {"UNWANTED": "x", "KEPT": "kept", "UWSGI_VASSAL_SHAPE": "round"}
    with reign(*words, environment=environment) as daemon:
        daemon.up("site.ini")
        with open(f"{town.root}/emperor.pid", encoding="ascii") as file:
            assert int(file.read()) == daemon.pid
        assert town.get("site.ini") == "red yes"
        options = ("common", "size", "shape", "colour")
        found = [town.get("site.ini", f"/opt?{name}") for name in options]
        assert found == ["red", "small", "round", "red"]
        names = ("ADDED", "UNWANTED", "KEPT", "UWSGI_SHAPE", "UWSGI_VASSAL_SHAPE")
        found = [town.get("site.ini", f"/env?{name}") for name in names]
        assert found == ["yes", "-", "kept", "-", "-"]
        daemon.stop()
        assert daemon.said("", "warning", "error") == []


def test_output_goes_to_logto(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    log = f"{town.root}/emperor.log"
    with reign(*town.words, "--logto", log) as daemon:
        eventually(lambda: os.path.exists(log) and "accepts requests" in _text(log))
        assert town.get("site.ini") == "one"
        daemon.stop()
        assert daemon.lines == []
        ours = [line for line in _text(log).splitlines() if line.startswith('{"time"')]
        assert "the Emperor leaves" in json.loads(ours[-1])["message"]
        assert "Starting uWSGI" in _text(log)  # the vassal's, too


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def anybodys_python() -> str:
    """An interpreter like ours that nobody may run (ours may be in somebody's home)."""
    same = f"python{sys.version_info.major}.{sys.version_info.minor}"
    paths = (sys.executable, shutil.which(same, path="/usr/local/bin:/usr/bin"))
    program = "import emperor.runtime.daemon"
    usable = [path for path in paths if path is not None and _may_run(path, "-c", program)]
    if not usable:
        do_without("no interpreter with this package that the user nobody may run")
    return usable[0]


def _may_run(*words: str) -> bool:
    try:
        done = subprocess.run(
            words,
            env=IMPORTS,
            cwd="/",
            user=NOBODY,
            group=NOBODY,
            extra_groups=(),
            capture_output=True,
        )
    except PermissionError:
        return False
    return done.returncode == 0


@as_root
def test_everybody_becomes_the_emperors_user(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one", ("processes", "2"))
    pidfiles = (f"{town.root}/early.pid", f"{town.root}/late.pid")
    user = ("--uid", str(NOBODY), "--gid", str(NOBODY))
    words = (*town.words, *user, "--pidfile", pidfiles[0], "--emperor-pidfile", pidfiles[1])
    command = (anybodys_python(), "-m", "emperor")
    with reign(*words, command=command, environment=IMPORTS, cwd=town.root) as daemon:
        master = daemon.up("site.ini")
        family = daemon.family()
        assert {daemon.guardian, daemon.compile_server, daemon.pid, master} < family
        for pid in family:
            assert owner(pid) == ([NOBODY] * 4, [NOBODY] * 4), pid
        assert town.get("site.ini", "/uid") == f"{NOBODY} {NOBODY}"
        assert [os.stat(path).st_uid for path in pidfiles] == [0, NOBODY]

        secret = f"{town.root}/secret"
        with open(secret, "w", encoding="ascii") as file:
            file.write("secret")
        os.chmod(secret, 0o600)
        town.put("thief.ini", f"@({secret})")
        daemon.expect("does not compile", "thief.ini", level="error")

        for helper in (daemon.guardian, daemon.compile_server):  # their successors as well
            os.kill(helper, signal.SIGKILL)
        daemon.expect("the guardian is dead")
        town.put("late.ini", "@(exec://id -u)")
        assert owner(daemon.up("late.ini"))[0] == [NOBODY] * 4
        assert town.get("late.ini") == str(NOBODY)
        for helper in (daemon.guardian, daemon.compile_server):
            assert owner(helper)[0] == [NOBODY] * 4
        town.put("site.ini", "two", ("processes", "2"))
        daemon.reloaded("site.ini", "changed")
        assert town.get("site.ini") == "two"
        daemon.kill()


@as_root
def test_an_unknown_user_is_named(one_town: Town) -> None:
    code, text = refused(*one_town.words, "--uid", "no-such-user")
    assert (code, 'there is no user "no-such-user"' in text) == (1, True)


def test_an_option_that_the_emperor_does_not_obey_is_named(one_town: Town) -> None:
    path = f"{one_town.root}/emperor.ini"
    for option in ("http", "socket"):
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"[uwsgi]\nemperor = {one_town.vassals}\n{option} = :8080\n")
        for words in ((path,), (*one_town.words, f"--{option}", ":8080")):
            code, text = refused(*words)
            assert (code, f'"{option}"' in text, "run it as a vassal" in text) == (
                1,
                True,
                True,
            )
        assert "emperor.ini:3" in refused(path)[1]


def test_without_a_monitor_there_is_nothing_to_do() -> None:
    code, text = refused()
    assert (code, "--emperor" in text) == (2, True)


@pytest.mark.parametrize(
    "words", [("--log-level",), ("--log-level", "loud"), ("--log-format=x",)]
)
def test_words_that_make_no_sense(words: tuple[str, ...]) -> None:
    code, text = refused("--emperor", "/tmp", *words)
    assert (code, words[0].partition("=")[0] in text) == (2, True)


def test_a_missing_file_and_a_missing_program_are_named(one_town: Town) -> None:
    code, text = refused("/nonexistent/emperor.ini")
    assert (code, "/nonexistent/emperor.ini" in text) == (1, True)
    code, text = refused("--emperor", one_town.vassals, "--binary-path", "/nonexistent/uwsgi")
    assert (code, "/nonexistent/uwsgi" in text) == (1, True)


def test_an_unknown_monitor_is_named() -> None:
    code, text = refused("--emperor", "carrier-pigeon://x", "--binary-path", "/bin/true")
    assert (code, "carrier-pigeon" in text) == (1, True)


def test_a_directory_that_is_not_there_yet_is_waited_for(one_town: Town) -> None:
    town = one_town
    os.rename(town.vassals, f"{town.root}/away")
    words = ("--emperor", f"dir://{town.vassals}", *town.words[2:])
    with reign(*words) as daemon:
        daemon.expect("governs")
        os.rename(f"{town.root}/away", town.vassals)
        town.put("site.ini", "one")
        daemon.up("site.ini")


def test_under_the_wheel_a_reload_keeps_the_environment(wheel_town: Town) -> None:
    town = wheel_town
    app = f"{town.root}/other.py"
    with open(app, "w", encoding="utf-8") as file, open(f"{town.root}/app.py") as source:
        file.write(f"import asyncinotify\n{source.read()}")
    town.put("site.ini", "one", ("wsgi-file", app))
    with reign(*town.words) as daemon:
        pid = daemon.up("site.ini")
        town.put("site.ini", "two", ("wsgi-file", app))
        daemon.reloaded("site.ini", "changed")
        daemon.hang_up(pid)
        daemon.expect("accepts requests", "site.ini")
        assert town.get("site.ini") == "two"


def test_warnings_are_said_and_the_vassal_runs(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one", ("include", f"{town.root}/other.ini"))
    with open(f"{town.root}/other.ini", "w", encoding="ascii") as file:
        file.write("[other]\n")
    with reign(*town.words) as daemon:
        message = daemon.expect("compiles with warnings", "site.ini", level="warning")
        assert "other.ini" in message
        daemon.up("site.ini")
        os.utime(town.path("site.ini"))
        daemon.reloaded("site.ini", "touched")
        assert len(daemon.said("site.ini", "warning")) == 1
        assert OUTPUT in {line.vassal for line in daemon.lines}
