"""Where the control socket of the running daemon lies, and who may use it."""

import os
import socket
import stat
import subprocess
import sys

import pytest
from tests.e2e.asking import Control, refused
from tests.e2e.daemon import DEADLINE_SECONDS, emperor_program, eventually, reign
from tests.e2e.sites import Town
from tests.e2e.test_run_options import IMPORTS, NOBODY, anybodys_python, as_root
from tests.support.uwsgi import ENVIRONMENT

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]


@pytest.fixture
def control(one_town: Town) -> Control:
    return Control(path=f"{one_town.root}/control")


#: Says what is heard at a control socket, or which error there is.
ASK = """
import contextlib, socket, sys
channel = socket.socket(socket.AF_UNIX)
channel.settimeout(20)
try:
    channel.connect(sys.argv[1])
    with contextlib.suppress(BrokenPipeError):  # it may have been turned away already
        channel.sendall(b'{"version": 1, "verb": "status"}\\n')
    print(channel.makefile().readline(), end="")
except OSError as error:
    print(type(error).__name__)
"""


def ask_as(uid: int, path: str) -> str:
    """What somebody else hears at a control socket, or the error."""
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-c", ASK, path],
        env=ENVIRONMENT,
        cwd="/",
        user=uid,
        group=uid,
        extra_groups=(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    return done.stdout


def test_the_socket_is_its_users_alone_and_goes_with_the_daemon(
    one_town: Town, control: Control
) -> None:
    town = one_town
    with reign(*town.words, "--umask", "000", "--emperor-control", control.path) as daemon:
        daemon.expect("governs")
        eventually(lambda: control("status").code == 0)
        status = os.stat(control.path)
        assert (stat.S_ISSOCK(status.st_mode), stat.S_IMODE(status.st_mode)) == (True, 0o600)
        assert status.st_uid == os.geteuid()
        code, said = refused(*town.words, "--emperor-control", control.path)
        assert (code, control.path in said) == (111, True)
        daemon.stop()
    assert not os.path.lexists(control.path)


@as_root
def test_another_user_is_refused_by_mode_and_by_name(one_town: Town, control: Control) -> None:
    town = one_town
    with reign(*town.words, "--emperor-control", control.path) as daemon:
        daemon.expect("governs")
        eventually(lambda: control("status").code == 0)
        assert ask_as(NOBODY, control.path) == "PermissionError\n"
        os.chmod(control.path, 0o666)
        answer = ask_as(NOBODY, control.path)
        assert '"kind":"error"' in answer
        assert f"user {NOBODY} may not" in answer
        daemon.expect(f"user {NOBODY} may not use the control socket", level="warning")


@as_root
def test_the_socket_of_a_daemon_with_uid_is_that_users(
    one_town: Town, control: Control
) -> None:
    town = one_town
    town.put("site.ini", "one")
    path = f"{town.root}/made/control"
    words = (*town.words, "--emperor-control", path, "--uid", str(NOBODY), "--gid", str(NOBODY))
    command = (anybodys_python(), "-m", "emperor")
    with reign(*words, command=command, environment=IMPORTS, cwd=town.root) as daemon:
        daemon.up("site.ini")
        for place, mode in ((path, 0o600), (os.path.dirname(path), 0o700)):
            status = os.stat(place)
            assert (status.st_uid, status.st_gid) == (NOBODY, NOBODY)
            assert stat.S_IMODE(status.st_mode) == mode
        assert '"site.ini"' in ask_as(NOBODY, path)
        assert ask_as(NOBODY - 1, path) == "PermissionError\n"
        assert Control(path=path)("status").code == 0  # root may, too
        daemon.stop()
    assert not os.path.lexists(path)


def test_the_default_is_in_the_runtime_directory(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    runtime = f"{town.root}/runtime"
    os.mkdir(runtime)
    launcher = (sys.executable, "-c", WITHOUT_CONTROL, emperor_program())
    environment = {"RUNTIME_DIRECTORY": f"{runtime}:{town.root}/other"}
    with reign(*town.words, command=launcher, environment=environment) as daemon:
        daemon.up("site.ini")
        path = f"{runtime}/control"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        done = subprocess.run(
            [emperor_program(), "status"],
            env={**ENVIRONMENT, **environment},
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
        )
        assert (done.returncode, "site.ini" in done.stdout) == (0, True)
        daemon.stop()
    assert os.listdir(runtime) == []


#: Starts the daemon without the word that the tests' daemons get: the option's default holds.
WITHOUT_CONTROL = """
import os, sys
words = sys.argv[1:]
at = words.index("--emperor-control")
assert words[at + 1] == "none"
del words[at : at + 2]
os.execv(words[0], words)
"""


def test_none_is_no_socket(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    runtime = f"{town.root}/runtime"
    os.mkdir(runtime)
    words = (*town.words, "--emperor-control", "none")
    with reign(*words, environment={"RUNTIME_DIRECTORY": runtime}) as daemon:
        daemon.up("site.ini")
        assert os.listdir(runtime) == []
        done = Control(path=f"{runtime}/control")("status")
        assert done.code == 111


def test_a_socket_left_behind_is_replaced_and_a_file_is_not(
    one_town: Town, control: Control
) -> None:
    town = one_town
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(control.path)
    with reign(*town.words, "--emperor-control", control.path) as daemon:
        daemon.expect("governs")
        eventually(lambda: control("status").code == 0)
    with open(control.path, "w", encoding="ascii") as file:
        file.write("precious")
    code, said = refused(*town.words, "--emperor-control", control.path)
    assert (code, control.path in said) == (111, True)
    with open(control.path, encoding="ascii") as file:
        assert file.read() == "precious"
