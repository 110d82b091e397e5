"""Vassals that are programs: their directory, a small program of the tests' own, real ones."""

import json
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.e2e.asking import Control
from tests.e2e.daemon import Daemon, eventually
from tests.e2e.sites import get, in_format
from tests.support.uwsgi import ENVIRONMENT, do_without

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXAMPLES = f"{HOME}/examples/programs"

#: Users of the tests, whom nobody knows by name.
A_TENANT, ANOTHER_TENANT = 20101, 20102


#: Serves on descriptor 3 and says what it sees; the words of its command line change it.
#: It speaks no Python that takes long to start.
PROGRAM = """\
import os, signal, socket, sys, time
WORDS, HEARD = sys.argv[1:], []

def tell(words):
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    channel.sendto(words.encode(), os.environ["NOTIFY_SOCKET"])

def seen():
    import json, resource
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\\n").split(":\\t", 1) for line in file)
    os.umask(mask := os.umask(0))
    return json.dumps({
        "pid": os.getpid(), "argv": WORDS, "cwd": os.getcwd(), "umask": mask,
        "uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(),
        "environment": dict(os.environ), "status": status, "heard": HEARD,
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "memory": resource.getrlimit(resource.RLIMIT_AS)[0],
        "cores": len(os.sched_getaffinity(0)), "nice": os.nice(0),
        "oom": open("/proc/self/oom_score_adj").read().strip(),
        "descriptors": sorted(int(n) for n in os.listdir("/proc/self/fd"))[:-1],
        "session": os.getsid(0), "version": WORDS[-1] if WORDS else "",
    })

def answer(path, query):
    if path == "/write":
        count, _, letter = query.partition(":")
        sys.stdout.write(letter * int(count) + "\\n")
        sys.stdout.flush()
    elif path == "/tell":
        tell(query)
    elif path == "/exit":
        os._exit(int(query))
    elif path in ("/busy", "/hang"):
        time.sleep(1000)
    return seen()

def main():
    listener = socket.socket(fileno=3)
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, lambda number, frame: HEARD.append(signal.Signals(number).name))
    if "deaf" in WORDS:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "ready" in WORDS:
        tell("READY=1")
    while True:
        connection, _ = listener.accept()
        path, _, query = connection.recv(4096).split()[1].decode().partition("?")
        body = answer(path, query).encode()
        head = "HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n"
        connection.sendall(head.encode() % len(body) + body)
        connection.close()

main()
"""

#: An app for real servers; as ASGI it tells when it can serve.
_APP = """\
import os, socket

async def live(receive, send):
    await receive()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        return await live(receive, send)
    headers = [(b"content-length", str(len(BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})

def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", str(len(BODY)))])
    return [BODY]
"""

#: One that cannot be imported.
BROKEN_APP = "raise RuntimeError('this version does not start')\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Yard:
    """A directory of vassals that are programs; all may be read by all."""

    root: str
    python: str

    @property
    def vassals(self) -> str:
        """The directory that the Emperor watches."""
        return f"{self.root}/vassals"

    @property
    def control(self) -> Control:
        """The commands that ask this yard's daemon."""
        return Control(path=f"{self.root}/control")

    @property
    def words(self) -> tuple[str, ...]:
        """The Emperor's words for this yard."""
        return ("--emperor", self.vassals, "--emperor-control", self.control.path)

    def path(self, name: str) -> str:
        """Where a vassal's file is."""
        return f"{self.vassals}/{name}"

    def socket(self, name: str) -> str:
        """Where a vassal serves HTTP."""
        return f"{self.root}/{name}.http"

    def put(self, name: str, *options: tuple[str, str], owner: int | None = None) -> None:
        """Write a vassal's file as an editor does; with an ``owner`` it is that user's."""
        beside = self.path(f".{name}.new")
        with open(beside, "w", encoding="utf-8") as file:
            file.write(in_format("ini", options))
        if owner is not None:
            os.chown(beside, owner, owner)
        os.rename(beside, self.path(name))

    def command(self, *words: str) -> str:
        """The command line of the tests' own program."""
        return " ".join((self.python, "-I", "-S", f"{self.root}/program.py", *words))

    def put_program(
        self, name: str, *more: tuple[str, str], words: str = "", owner: int | None = None
    ) -> None:
        """Write a vassal that is the tests' own program."""
        served = (("socket", self.socket(name)), ("chmod-socket", "666"))
        execute = ("vassal-exec", self.command(*words.split()))
        self.put(name, execute, *served, *more, owner=owner)

    def ask(self, name: str, path: str = "/") -> dict[str, Any]:
        """What the tests' own program sees."""
        found: dict[str, Any] = json.loads(get(self.socket(name), path))
        return found

    def write(self, name: str, text: str) -> str:
        """Write a file beside the vassals' directory, which may be run; gives its path."""
        path = f"{self.root}/{name}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o755)
        return path


@contextmanager
def yard() -> Iterator[Yard]:
    """A yard that is gone afterwards. Its path is short, for sockets, and open to all users."""
    root = tempfile.mkdtemp(prefix="emq-")
    os.chmod(root, 0o777)
    try:
        os.mkdir(f"{root}/vassals")
        os.chmod(f"{root}/vassals", 0o755)
        found = Yard(root=root, python=a_python())
        found.write("program.py", PROGRAM)
        yield found
    finally:
        shutil.rmtree(root)


def app_saying(text: str) -> str:
    """An app for real servers that answers everything with this text."""
    return f"BODY = {text.encode()!r}\n{_APP}"


def a_python() -> str:
    """A Python that every user can run, which the one of these tests may not be."""
    return needed("python3", "Debian: python3")


def needed(program: str, remedy: str, *, places: str = "/usr/sbin") -> str:
    """The path of a program; without it the test is skipped, or failed where ``CI`` is set."""
    found = shutil.which(program, path=f"{ENVIRONMENT['PATH']}:{places}")
    if found is None:
        do_without(f"there is no {program} ({remedy})")
    return found


def needed_server(program: str) -> str:
    """The path of a server that is installed beside these tests' Python, as ``needed``."""
    scripts = sysconfig.get_path("scripts")
    return needed(program, f"pip install {program}", places=scripts)


def real(root: str) -> dict[str, str]:
    """An environment in which real servers are found, and leave nothing elsewhere."""
    scripts = os.path.dirname(sys.executable)
    return {
        "PATH": f"{scripts}:{ENVIRONMENT['PATH']}:/usr/sbin",
        "HOME": root,
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def ready(daemon: Daemon, name: str) -> int:
    """The pid of a program's next process, once it counts as ready."""
    pid = daemon.spawned(name)
    daemon.expect("is ready", name)
    return pid


def until(is_so: Callable[[], bool], daemon: Daemon) -> None:
    """Look until it is so; the daemon's log is the complaint."""
    eventually(is_so, complaint=lambda: str(daemon))
