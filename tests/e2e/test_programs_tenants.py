"""Programs of tenants and in namespaces; and nothing is left when the daemon is killed."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.e2e.daemon import LAST_BREATH_SECONDS, Daemon, eventually, reign, state_of
from tests.e2e.programs import (
    A_TENANT,
    ANOTHER_TENANT,
    Yard,
    needed,
    needed_server,
    ready,
    yard,
)
from tests.e2e.sites import APP, get, request
from tests.support.marks import needs_root
from tests.support.uwsgi import a_server

pytestmark = pytest.mark.process

MODES = {
    "plain": (),
    "tyrant": ("--emperor-tyrant",),
    "pid": ("--emperor-use-clone", "pid"),
    "tyrant-pid": ("--emperor-tyrant", "--emperor-use-clone", "pid"),
}


@pytest.fixture
def place() -> Iterator[Yard]:
    with yard() as found:
        os.mkdir(f"{found.root}/his")
        if os.geteuid() == 0:
            os.chown(f"{found.root}/his", A_TENANT, A_TENANT)
            os.chmod(found.root, 0o755)
        yield found


def his(place: Yard, name: str) -> str:
    """Where a tenant's vassal serves HTTP."""
    return f"{place.root}/his/{name}.http"


def status(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file)


def below(pid: int) -> set[int]:
    """All processes that came of one, and have not been given to another."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        try:
            with open(f"/proc/{one}/task/{one}/children", encoding="ascii") as file:
                waiting += map(int, file.read().split())
        except OSError:
            continue
        found.add(one)
    return found


# -- a tenant's gunicorn -----------------------------------------------------------------------


def shared_packages(place: Yard) -> str:
    """Where everybody finds gunicorn: that of the tests may be below somebody's home."""
    script = "import gunicorn, os; print(os.path.dirname(os.path.dirname(gunicorn.__file__)))"
    python = os.path.join(os.path.dirname(needed_server("gunicorn")), "python")
    found = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True)
    packages = f"{place.root}/packages"
    os.mkdir(packages)
    names = os.listdir(found.stdout.strip())
    for name in names:
        if name.startswith(("gunicorn", "packaging")):
            source = os.path.join(found.stdout.strip(), name)
            subprocess.run(["cp", "-r", source, packages], check=True)
    subprocess.run(["chmod", "-R", "go+rX", packages], check=True)
    return packages


@needs_root
@pytest.mark.parametrize("mode", ["tyrant", "tyrant-pid"])
def test_gunicorn_as_a_tenant(place: Yard, mode: str) -> None:
    place.write("app.py", _TENANTS_APP)
    options = (
        (
            "vassal-exec",
            f"{needed('python3', 'Debian: python3')} -m gunicorn --preload app:app",
        ),
        ("chdir", place.root),
        ("env", f"PYTHONPATH={shared_packages(place)}"),
        ("env", f"HOME={place.root}/his"),
        ("env", "PYTHONDONTWRITEBYTECODE=1"),
        ("socket", his(place, "site")),
        ("vassal-ready", "notify"),
        ("vassal-reload", "rolling"),
        ("vassal-log", f"{place.root}/his/log"),
    )
    place.put("site.ini", *options, owner=A_TENANT)
    with reign(*place.words, *MODES[mode]) as daemon:
        ready(daemon, "site.ini")
        assert get(his(place, "site")) == f"{A_TENANT} {A_TENANT} []"
        assert os.stat(his(place, "site")).st_uid == A_TENANT
        done = place.control("reload", "--wait", "site.ini")
        assert done.code == 0, f"{done}\n{daemon}"
        daemon.expect("is gone (", "site.ini:old")
        assert get(his(place, "site")) == f"{A_TENANT} {A_TENANT} []"
        assert os.stat(f"{place.root}/his/log").st_uid == A_TENANT
        os.chown(place.path("site.ini"), ANOTHER_TENANT, ANOTHER_TENANT)
        eventually(lambda: place.control.view("site.ini")["state"] == "parked")


_TENANTS_APP = """\
import os

def app(environ, start_response):
    body = f"{os.getuid()} {os.getgid()} {os.getgroups()}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


# -- pid namespaces ----------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("whose", ["emperor", "vassal"])
def test_a_program_in_a_pid_namespace(place: Yard, whose: str) -> None:
    is_own = whose == "vassal"
    more = (("unshare", "pid,uts"),) if is_own else ()
    place.put_program("one.ini", ("vassal-ready", "notify"), *more, words="ready")
    with reign(*place.words, *(() if is_own else MODES["pid"])) as daemon:
        outer = ready(daemon, "one.ini")
        seen = place.ask("one.ini")
        assert (seen["pid"], seen["environment"]["LISTEN_PID"]) == (1, "1")
        assert len(below(outer)) == 2
        # it ends as it does, comes back, and goes when it is told to
        with pytest.raises(ConnectionError):
            place.ask("one.ini", "/exit?5")
        daemon.expect("died (exit code 5)", "one.ini")
        assert ready(daemon, "one.ini") != outer
        done = place.control("stop", "--wait", "--timeout", "5", "one.ini")
        assert (done.code, done.out) == (0, "one.ini: stopped\n")


# -- the end -----------------------------------------------------------------------------------


#: Writes a vassal, for a tenant or for the Emperor's own user.
Put = Callable[[Yard, int | None], None]


def put_uwsgi(place: Yard, owner: int | None) -> None:
    server = a_server()
    place.write("wsgi.py", APP)
    place.put(
        "site.ini",
        *server.python,
        ("http-socket", his(place, "site")),
        ("wsgi-file", f"{place.root}/wsgi.py"),
        ("greeting", "hello"),
        ("processes", "2"),
        owner=owner,
    )


def put_program(place: Yard, owner: int | None) -> None:
    script = f"sleep 1000 & setsid sleep 1000 & trap '' TERM HUP; {place.command()}; true"
    place.put(
        "site.ini",
        ("vassal-exec", script),
        ("socket", his(place, "site")),
        owner=owner,
    )


@pytest.mark.uwsgi
@pytest.mark.parametrize(
    "mode",
    [mode if mode == "plain" else pytest.param(mode, marks=needs_root) for mode in MODES],
)
@pytest.mark.parametrize("put", [put_uwsgi, put_program], ids=["uwsgi", "program"])
def test_the_daemon_is_killed_and_nothing_is_left(place: Yard, put: Put, mode: str) -> None:
    put(place, A_TENANT if "tyrant" in mode else None)
    words = (*place.words, *MODES[mode], "--binary-path", a_server().path)
    with reign(*words) as daemon, ExitStack() as stack:
        daemon.spawned("site.ini")
        eventually(lambda: os.path.exists(his(place, "site")) and answers(place))
        stack.enter_context(request(his(place, "site"), "/busy"))
        pids = below(daemon.pid)
        owners = {int(status(pid)["Uid"].split()[0]) for pid in pids}
        assert (A_TENANT in owners) is ("tyrant" in mode)
        assert len(pids) >= 6, f"{pids}\n{daemon}"
        taken = killed(daemon, pids)
        assert taken < LAST_BREATH_SECONDS, f"{taken}\n{daemon}"


def answers(place: Yard) -> bool:
    try:
        return bool(get(his(place, "site")))
    except OSError:
        return False


def killed(daemon: Daemon, pids: set[int]) -> float:
    """Kill the daemon; gives the seconds until none of these processes is alive."""
    began = time.monotonic()
    os.kill(daemon.pid, signal.SIGKILL)
    daemon.process.wait()
    eventually(
        lambda: not {pid for pid in pids if state_of(pid) not in ("", "Z")},
        complaint=lambda: f"{[(p, status(p)) for p in pids if state_of(p)]}\n{daemon}",
    )
    return time.monotonic() - began
