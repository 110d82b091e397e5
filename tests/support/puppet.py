"""A vassal that does what a test says, and tells the test what the Emperor says.

    python puppet.py STAGE --inherit emperor://NAME.ini

It connects to the unix socket STAGE and sends a line of JSON for each thing that happens:

    {"enters": NAME, "pid": PID, "environment": {...}}     first
    {"config": TEXT}                                       what came over the config pipe
    {"hears": BYTE}                                        the Emperor's word
    {"signal": NUMBER}                                     SIGTERM, after which it leaves
    {"serves": TEXT}                                       an answer that it was told to give

and obeys lines of JSON: {"say": [BYTE, ...]}, {"answer": TEXT} (to the next connection to the
socket that is its standard input) and {"leave": EXIT_CODE}.
"""

import json
import os
import select
import signal
import socket
import struct
import sys

#: A packet of the config pipe: modifier 115, size, modifier 0.
HEADER = struct.Struct("<BHB")

HTTP = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n{}"


class Puppet:
    """The connection to the test, and those to the Emperor."""

    def __init__(self, stage: str) -> None:
        self.test = socket.socket(socket.AF_UNIX)
        self.test.connect(stage)
        self.orders = b""
        self.command = int(os.environ["UWSGI_EMPEROR_FD"])
        self.config = int(os.environ["UWSGI_EMPEROR_FD_CONFIG"])

    def tell(self, **fields: object) -> None:
        self.test.sendall(json.dumps(fields).encode() + b"\n")

    def run(self) -> None:
        sources = [self.command, self.config, self.test.fileno()]
        while sources:
            for source in select.select(sources, [], [])[0]:
                if source == self.command:
                    self.hear()
                elif source == self.config:
                    self.read_config(sources)
                elif not self.obey():
                    sources.remove(source)  # the test is over: the Emperor ends this

    def hear(self) -> None:
        word = os.read(self.command, 1)
        if not word:
            os._exit(1)
        self.tell(hears=word[0])

    def read_config(self, sources: list[int]) -> None:
        header = os.read(self.config, HEADER.size)
        if not header:
            sources.remove(self.config)
            return
        size, text = HEADER.unpack(header)[1], b""
        while len(text) < size:
            text += os.read(self.config, size - len(text))
        self.tell(config=text.decode())

    def obey(self) -> bool:
        data = self.test.recv(4096)
        *orders, self.orders = (self.orders + data).split(b"\n")
        for order in map(json.loads, orders):
            if "say" in order:
                os.write(self.command, bytes(order["say"]))
            elif "answer" in order:
                self.answer(order["answer"])
            else:
                os._exit(order["leave"])
        return bool(data)

    def answer(self, text: str) -> None:
        with socket.socket(fileno=os.dup(0)) as listening:
            connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(HTTP.format(text).encode())
        self.tell(serves=text)


def main() -> None:
    stage, word = sys.argv[1], sys.argv[-1]
    puppet = Puppet(stage)

    def leave(number: int, _: object) -> None:
        puppet.tell(signal=number)
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    name = word.removeprefix("emperor://")
    if "UWSGI_BROODLORD_NUM" in os.environ:
        name += ":zerg"
    puppet.tell(enters=name, pid=os.getpid(), environment=dict(os.environ))
    puppet.run()


if __name__ == "__main__":
    main()
