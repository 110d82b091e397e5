"""Vassals that wait for a connection, and who connects."""

import os
import socket
import threading

from tests.e2e.daemon import Daemon
from tests.e2e.sites import Town, in_format
from tests.support.stage import LOYAL, Puppet, Stage

from emperor.runtime import addresses

#: How long an answer may take, in seconds; a vassal may have to be spawned for it.
PATIENCE_SECONDS = 20.0

#: What makes vassals wait that have an address beside them (``put_address``).
ON_DEMAND = ("--emperor-on-demand-extension", ".socket")

#: The name of a vassal, and what a played one does.
NAME, PLAY = "site.ini", "[uwsgi]\nplay = it\n"

#: Options that only an ordinary vassal has: this one is given its socket.
_SOCKET = ("http-socket", "chmod-socket")

#: Leaves when nobody has asked for a second or two.
IDLE = (("idle", "1"), ("die-on-idle", "true"))

#: The app of a vassal; its /held?PATH is answered when there is something at PATH.
HELD = """\
import os, sys, time
exec(open("{root}/app.py").read())
plain = application

def application(environ, start_response):
    if environ["PATH_INFO"] == "/held":
        sys.stderr.write("held\\n")
        sys.stderr.flush()
        while not os.path.exists(environ["QUERY_STRING"]):
            time.sleep(0.01)
    return plain(environ, start_response)
"""


def put_sleeper(town: Town, name: str, greeting: str, *more: tuple[str, str]) -> None:
    """Write the file of a vassal that serves HTTP on the socket that it is given."""
    options = [
        option for option in town.options(name, greeting, *more) if option[0] not in _SOCKET
    ]
    town.write(name, in_format("ini", [*options, ("protocol", "http")]))


def put_address(town: Town, name: str, address: str) -> None:
    """Write the file that says where a vassal waits (``emperor-on-demand-extension``)."""
    with open(town.path(f"{name}.socket.new"), "w", encoding="utf-8") as file:
        file.write(f"{address}\n")
    os.rename(town.path(f"{name}.socket.new"), town.path(f"{name}.socket"))


def connect(address: str) -> socket.socket:
    """A connection to any address that a vassal may wait at; OSError if nobody listens."""
    where = addresses.parse(address)
    channel = socket.socket(where.family, socket.SOCK_STREAM)
    channel.settimeout(PATIENCE_SECONDS)
    try:
        channel.connect(where.for_kernel)
    except OSError:
        channel.close()
        raise
    return channel


def answer_to(channel: socket.socket, path: str = "/") -> str:
    """What is answered to a request over this connection; AssertionError if it is lost."""
    text = b""
    with channel:
        channel.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        while data := channel.recv(65536):
            text += data
    head, _, body = text.partition(b"\r\n\r\n")
    assert b" 200 " in head.partition(b"\r\n")[0], f"no answer: {text!r}"
    return body.decode()


def ask(address: str, path: str = "/") -> str:
    """What is answered to a request at an address."""
    return answer_to(connect(address), path)


def is_closed(address: str) -> bool:
    """Whether nobody listens there."""
    try:
        connect(address).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    return False


def put_played(town: Town) -> str:
    """A vassal for the stage, and the address where it waits."""
    town.write(NAME, PLAY)
    address = f"{town.root}/site.sock"
    put_address(town, NAME, address)
    return address


def waits(daemon: Daemon, address: str, vassal: str = NAME) -> None:
    """Wait until the vassal waits for a connection."""
    daemon.expect(f"waits for a connection to {address}", vassal)


def serves(theatre: Stage, channel: socket.socket, text: str) -> Puppet:
    """The process that a connection has woken, after it has answered that."""
    puppet = theatre.enters(NAME)
    puppet.say(*LOYAL)
    puppet.answer(text)
    assert answer_to(channel) == text
    return puppet


class Crowd:
    """Clients that ask at the same time; ``lost`` says what those got that got no answer."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._threads: list[threading.Thread] = []
        self.answers: list[str] = []
        self.lost: list[str] = []

    def begin(self, *paths: str) -> None:
        """One request for each path, all at once."""
        threads = [threading.Thread(target=self._ask, args=(path,)) for path in paths]
        self._threads += threads
        for thread in threads:
            thread.start()

    def finish(self) -> None:
        """Wait until everybody has an answer, or none."""
        while self._threads:
            self._threads.pop().join()

    def _ask(self, path: str) -> None:
        try:
            self.answers.append(ask(self._address, path))
        except (OSError, AssertionError) as error:
            self.lost.append(f"{path}: {error!r}")
