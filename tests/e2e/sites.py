"""Vassals that serve HTTP: their apps, their files in each format, and who asks them."""

import http.client
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from xml.sax.saxutils import escape

from tests.support.uwsgi import Server

FORMATS = ("ini", "xml", "yaml", "json")

#: Says its vassal's greeting, or what /env?NAME or /opt?NAME has; /busy takes 30 seconds.
APP = """\
import os, sys, time, uwsgi

def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)

def application(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/busy":
        sys.stderr.write("busy\\n")
        sys.stderr.flush()
        time.sleep(30)
    answers = {
        "/env": lambda: os.environ.get(query, "-"),
        "/opt": lambda: text(uwsgi.opt.get(query, "-")),
        "/cwd": os.getcwd,
        "/pid": lambda: str(os.getpid()),
        "/uid": lambda: f"{os.getuid()} {os.getgid()}",
    }
    body = answers.get(path, lambda: text(uwsgi.opt["greeting"]))()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]
"""

#: An app whose import never ends.
ENDLESS_IMPORT = """\
import sys, time
sys.stderr.write("importing\\n")
sys.stderr.flush()
while True:
    time.sleep(30)
"""

Options = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Town:
    """A directory of vassals, and beside it their apps and sockets; all may be read by all."""

    root: str
    server: Server

    @property
    def vassals(self) -> str:
        """The directory that the Emperor watches."""
        return f"{self.root}/vassals"

    @property
    def words(self) -> tuple[str, ...]:
        """The Emperor's words for this town."""
        return ("--emperor", self.vassals, "--binary-path", self.server.path)

    def path(self, name: str) -> str:
        """Where a vassal's file is."""
        return f"{self.vassals}/{name}"

    def socket(self, name: str) -> str:
        """Where a vassal serves HTTP."""
        return f"{self.root}/{name}.http"

    def options(
        self, name: str, greeting: str, *more: tuple[str, str], address: str | None = None
    ) -> list[tuple[str, str]]:
        """The options of a vassal that greets."""
        return [
            *self.server.python,
            ("http-socket", address or self.socket(name)),
            ("chmod-socket", "666"),
            ("wsgi-file", f"{self.root}/app.py"),
            ("need-app", "true"),
            ("disable-logging", "true"),
            ("greeting", greeting),
            *more,
        ]

    def put(
        self, name: str, greeting: str, *more: tuple[str, str], address: str | None = None
    ) -> None:
        """Write a vassal's file."""
        options = self.options(name, greeting, *more, address=address)
        self.write(name, in_format(name.rpartition(".")[2], options))

    def put_doomed(self, name: str) -> str:
        """Write a vassal whose app cannot be imported; gives the path of the app."""
        app = f"{self.root}/{name}.py"
        with open(app, "w", encoding="ascii") as file:
            file.write("import nothing_of_that_name\n")
        self.put(name, name, ("wsgi-file", app))
        return app

    def mend(self, app: str) -> None:
        """Make an app one that can be imported, and greets."""
        with open(app, "w", encoding="utf-8") as file:
            file.write(APP)

    def write(self, name: str, text: str) -> None:
        """Write a vassal's file as an editor does: beside it, then over it."""
        with open(self.path(f".{name}.new"), "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(self.path(f".{name}.new"), self.path(name))

    def get(self, name: str, path: str = "/") -> str:
        """What a vassal answers."""
        return get(self.socket(name), path)

    def is_down(self, name: str) -> bool:
        """Whether nobody answers for a vassal."""
        return is_down(self.socket(name))


@contextmanager
def town(server: Server) -> Iterator[Town]:
    """A town that is gone afterwards. Its path is short, for sockets, and open to all users."""
    root = tempfile.mkdtemp(prefix="emp-")
    os.chmod(root, 0o777)
    try:
        os.mkdir(f"{root}/vassals")
        os.chmod(f"{root}/vassals", 0o777)
        for name, text in (("app.py", APP), ("endless.py", ENDLESS_IMPORT)):
            with open(f"{root}/{name}", "w", encoding="utf-8") as file:
                file.write(text)
        yield Town(root=root, server=server)
    finally:
        shutil.rmtree(root)


def in_format(ending: str, options: Options) -> str:
    """The text of a vassal's file."""
    match ending:
        case "xml":
            rows = "".join(f"  <{key}>{escape(value)}</{key}>\n" for key, value in options)
            return f"<uwsgi>\n{rows}</uwsgi>\n"
        case "yaml" | "yml":
            rows = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in options)
            return f"uwsgi:\n{rows}"
        case "json" | "js":
            return json.dumps({"uwsgi": dict(options)}, indent=1)
        case _:
            return "[uwsgi]\n" + "".join(f"{key} = {value}\n" for key, value in options)


def broken(ending: str) -> str:
    """A text that uWSGI would refuse in this format."""
    return {
        "ini": "[uwsgi]\nini = missing.ini\n",
        "xml": "<uwsgi><a>\n",
        "yaml": 'uwsgi:\n  greeting: "endless\n',
        "json": '{"uwsgi": ',
    }[ending]


class _LocalConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, *, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def get(address: str, path: str = "/", *, seconds: float = 10.0) -> str:
    """The body of the answer to one request; OSError if nobody answers.

    ``address`` is a unix socket's path or HOST:PORT.
    """
    connection = (
        _LocalConnection(address, timeout=seconds)
        if address.startswith("/")
        else http.client.HTTPConnection(address, timeout=seconds)
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode()
        assert answer.status == 200, (answer.status, body)
        return body
    finally:
        connection.close()


def is_down(address: str) -> bool:
    """Whether nobody answers there."""
    try:
        get(address)
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    return False


@contextmanager
def request(address: str, path: str) -> Iterator[None]:
    """A request that is under way while the block runs; its answer is not waited for."""
    connection = (
        _LocalConnection(address, timeout=10.0)
        if address.startswith("/")
        else http.client.HTTPConnection(address, timeout=10.0)
    )
    try:
        connection.request("GET", path)
        yield
    finally:
        connection.close()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
