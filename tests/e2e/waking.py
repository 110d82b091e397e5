"""Vassals that wait for a connection, and who connects."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.sites import Town, in_format

from emperor.runtime import addresses

#: How long an answer may take, in seconds; a vassal may have to be spawned for it.
PATIENCE_SECONDS = 20.0

#: Options that only an ordinary vassal has: this one is given its socket.
_SOCKET = ("http-socket", "chmod-socket")

#: Leaves when nobody has asked for a second or two.
IDLE = (("idle", "1"), ("die-on-idle", "true"))

#: The app of a vassal; its /slow takes longer than all that happens when a vassal leaves.
SLOW = """\
import time
exec(open("app.py").read())
plain = application

def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.3)
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


class Crowd:
    """Clients that ask at the same time; ``lost`` says what those got that got no answer."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.answers: list[str] = []
        self.lost: list[str] = []

    def ask(self, *paths: str) -> None:
        """One request for each path, all at once; waits for all."""
        threads = [threading.Thread(target=self._ask, args=(path,)) for path in paths]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _ask(self, path: str) -> None:
        try:
            self.answers.append(ask(self._address, path))
        except (OSError, AssertionError) as error:
            self.lost.append(f"{path}: {error!r}")


@contextmanager
def steady_client(address: str) -> Iterator[Crowd]:
    """Somebody who asks again and again, one request after the other, while the block runs."""
    crowd, is_over = Crowd(address), threading.Event()

    def work() -> None:
        while not is_over.is_set():
            crowd.ask("/")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield crowd
    finally:
        is_over.set()
        thread.join()
