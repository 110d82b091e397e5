"""The stats sockets and who reads them: programs of others, slow ones, and too many."""

import asyncio
import http.client
import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.uwsgi import ENVIRONMENT, the_uwsgi
from tests.support.views import DELAYED, SERVING, many

from emperor.runtime.addresses import Address, parse
from emperor.runtime.sockets import listen
from emperor.runtime.stats import client as clients
from emperor.runtime.stats import server as servers
from emperor.runtime.stats.document import EmperorFacts, document, pieces
from emperor.runtime.stats.listeners import open_listeners
from emperor.runtime.stats.server import MOST_CLIENTS, StatsServer

pytestmark = pytest.mark.process
DEADLINE_SECONDS = 20

FACTS = EmperorFacts(
    version="0.1.0", pid=42, uid=0, gid=0, cwd="/srv", monitors=("/etc/v",), is_tyrant=False
)
VIEWS = (replace(SERVING, id="caf\udce9.ini"), DELAYED, *many(3))


@asynccontextmanager
async def serving(
    *texts: str,
    is_http: bool = False,
    made: Callable[[], Iterator[bytes]] = lambda: pieces(VIEWS, FACTS),
) -> AsyncIterator[tuple[StatsServer, list[Address]]]:
    listeners = open_listeners(texts or ("127.0.0.1:0",), ())
    server = StatsServer(listeners=listeners, pieces=made, is_http=is_http)
    server.start()
    try:
        yield server, [listener.address for listener in listeners]
    finally:
        server.close()
        assert server.clients == 0


async def connected(address: Address) -> socket.socket:
    opened = socket.socket(address.family, socket.SOCK_STREAM)
    opened.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(opened, address.for_kernel)
    except OSError:
        opened.close()
        raise
    return opened


async def rest_of(opened: socket.socket) -> bytes:
    """All that comes until the server's end is closed."""
    got = b""
    loop = asyncio.get_running_loop()
    with opened:
        while data := await loop.sock_recv(opened, 65536):
            got += data
    return got


async def answer(address: Address) -> Any:
    return json.loads(await rest_of(await connected(address)))


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 (the server tells nobody of its clients)
        await asyncio.sleep(0.005)


def tell(story: Callable[[], Any]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await story()

    asyncio.run(in_time())


async def output_of(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0, out
    return out


def test_every_kind_of_socket_says_the_same(tmp_path: Path) -> None:
    async def story() -> None:
        abstract = f"@emperor-test-{uuid.uuid4().hex}"
        texts = ("127.0.0.1:0", "[::1]:0", f"{tmp_path}/stats", abstract)
        async with serving(*texts) as (_, addresses):
            for address in addresses:
                assert await answer(address) == document(VIEWS, FACTS)
        assert os.listdir(tmp_path) == []

    tell(story)


def test_a_client_that_talks_still_gets_all(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving("127.0.0.1:0", f"{tmp_path}/stats") as (server, addresses):
            for address in addresses:
                opened = await connected(address)
                opened.send(b"GET / HTTP/1.1\r\n\r\n")
                assert json.loads(await rest_of(opened)) == document(VIEWS, FACTS)
            await until(lambda: server.clients == 0)

    tell(story)


def test_http_readers_of_others() -> None:
    async def story() -> None:
        async with serving(is_http=True) as (server, (address,)):
            url = f"http://{address}/"

            def fetch() -> tuple[int, http.client.HTTPMessage, bytes]:
                with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as response:
                    return response.status, response.headers, response.read()

            status, headers, body = await asyncio.to_thread(fetch)
            assert status == 200
            assert headers["Content-Type"] == "application/json"
            assert headers["Connection"] == "close"
            assert int(headers["Content-Length"]) == len(body)
            assert json.loads(body) == document(VIEWS, FACTS)
            if curl := shutil.which("curl"):
                said = await output_of(curl, "-s", "-S", "--noproxy", "*", url)
                assert json.loads(said) == document(VIEWS, FACTS)
                # a large question, which nobody reads to its end before it is answered
                said = await output_of(
                    *(curl, "-s", "-S", "--noproxy", "*", "-H", "Expect:"),
                    *("-d", "x" * 60000, url),
                )
                assert json.loads(said) == document(VIEWS, FACTS)
            await until(lambda: server.clients == 0)

    tell(story)


def test_http_answers_who_says_nothing_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "REQUEST_SECONDS", 0.05)

    async def story() -> None:
        async with serving(is_http=True) as (_, (address,)):
            silent = await connected(address)
            half = await connected(address)
            half.shutdown(socket.SHUT_WR)
            for opened in (silent, half):
                head, _, body = (await rest_of(opened)).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 OK\r\n")
                assert json.loads(body) == document(VIEWS, FACTS)

    tell(story)


def test_what_is_shown_is_never_older_than_the_question() -> None:
    async def story() -> None:
        number = 0

        def made() -> Iterator[bytes]:
            yield b"%d" % number

        async with serving(made=made) as (_, (address,)):
            for number in range(1, 4):
                assert await answer(address) == number

    tell(story)


def test_silent_and_slow_readers_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "LINGER_SECONDS", 0.2)
    large = b"x" * 8_000_000

    async def story() -> None:
        async with serving(made=lambda: iter((large,))) as (server, (address,)):
            silent = [await connected(address) for _ in range(10)]
            await until(lambda: server.clients == 10)
            assert await rest_of(await connected(address)) == large
            # now one of them begins to read, and another goes in the middle
            assert await rest_of(silent.pop()) == large
            assert await asyncio.get_running_loop().sock_recv(silent[0], 1000)
            silent.pop(0).close()
            await until(lambda: server.clients <= 8)
            for opened in silent:
                opened.close()
            await until(lambda: server.clients == 0)

    tell(story)


def test_who_never_reads_is_dropped_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "CLIENT_SECONDS", 0.2)

    async def story() -> None:
        async with serving(made=lambda: iter((b"x" * 8_000_000,))) as (server, (address,)):
            with await connected(address):
                await until(lambda: server.clients == 1)
                await until(lambda: server.clients == 0)

    tell(story)


def test_who_never_closes_is_dropped_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "LINGER_SECONDS", 0.1)

    async def story() -> None:
        async with serving() as (server, (address,)):
            with await connected(address) as opened:
                loop = asyncio.get_running_loop()
                while await loop.sock_recv(opened, 65536):
                    pass
                await until(lambda: server.clients == 0)

    tell(story)


def test_who_talks_for_ever_is_cut_off() -> None:
    async def story() -> None:
        async with serving() as (server, (address,)):
            loop = asyncio.get_running_loop()
            with await connected(address) as opened:
                with suppress(ConnectionError):
                    for _ in range(1000):
                        await loop.sock_sendall(opened, b"x" * 65536)
                await until(lambda: server.clients == 0)

    tell(story)


def test_one_too_many_drops_the_oldest() -> None:
    async def story() -> None:
        large = b"x" * 8_000_000
        async with serving(made=lambda: iter((large,))) as (server, (address,)):
            first = await connected(address)
            await until(lambda: server.clients == 1)
            others = [await connected(address) for _ in range(MOST_CLIENTS)]
            with pytest.raises(ConnectionResetError):  # it has not got all, and must know
                await rest_of(first)
            assert server.clients == MOST_CLIENTS
            assert await rest_of(others[-1]) == large
            for opened in others:
                opened.close()
            await until(lambda: server.clients == 0)

    tell(story)


def test_old_documents_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "MOST_UNSENT_BYTES", 20_000_000)

    async def story() -> None:
        begun = 0

        def made() -> Iterator[bytes]:
            nonlocal begun
            begun += 1
            yield bytes(8_000_000)

        async with serving(made=made) as (server, (address,)):
            slow = [await connected(address)]
            await until(lambda: begun == 1)
            slow.append(await connected(address))
            await until(lambda: begun == 2)
            slow.append(await connected(address))
            await until(lambda: server.clients == 3)
            await until(lambda: server.clients == 2)
            assert len(await rest_of(slow[2])) == 8_000_000
            for opened in slow:
                opened.close()

    tell(story)


def test_without_descriptors_it_waits_and_does_not_spin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers, "PAUSE_SECONDS", 0.3)
    tries = 0

    def counted(accept: Callable[..., Any]) -> Callable[..., Any]:
        def count(server: StatsServer, *arguments: object) -> object:
            nonlocal tries
            tries += 1
            return accept(server, *arguments)

        return count

    monkeypatch.setattr(StatsServer, "_accept", counted(StatsServer._accept))

    async def story() -> None:
        async with serving() as (_, (address,)):
            # without a turn of the loop, in which it would be accepted
            waiting = socket.create_connection((address.name, address.port))
            waiting.setblocking(False)
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            highest = max(int(name) for name in os.listdir("/proc/self/fd"))
            fillers: list[int] = []
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
                with suppress(OSError):
                    while True:
                        fillers.append(os.dup(0))
                begun = time.monotonic()
                await until(lambda: tries == 2)
                assert time.monotonic() - begun >= 0.3
            finally:
                for number in fillers:
                    os.close(number)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert json.loads(await rest_of(waiting)) == document(VIEWS, FACTS)

    tell(story)


def test_a_reader_that_resets_at_once_is_nothing() -> None:
    async def story() -> None:
        async with serving() as (server, (address,)):
            for _ in range(50):
                opened = await connected(address)
                at_once = struct.pack("ii", 1, 0)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
                opened.close()
            assert await answer(address) == document(VIEWS, FACTS)
            await until(lambda: server.clients == 0)

    tell(story)


def test_sockets_of_systemd_by_number_and_name(tmp_path: Path) -> None:
    async def story() -> None:
        one = listen(parse("127.0.0.1:0"), backlog=5)
        two = listen(parse(f"{tmp_path}/stats"), backlog=5)
        passed = [("web", one.socket), ("bureau", two.socket)]
        listeners = open_listeners((f"fd://{one.fileno()}", "fd://bureau"), passed)
        server = StatsServer(
            listeners=listeners, pieces=lambda: pieces(VIEWS, FACTS), is_http=False
        )
        server.start()
        assert [listener.address for listener in listeners] == [one.address, two.address]
        for listener in listeners:
            assert await answer(listener.address) == document(VIEWS, FACTS)
        server.close()
        assert os.listdir(tmp_path) == ["stats"]  # systemd's, not ours

    tell(story)


def test_addresses_that_cannot_be_leave_nothing_open(tmp_path: Path) -> None:
    with socket.socket() as deaf, socket.create_server(("127.0.0.1", 0)) as good:
        passed = [("deaf", deaf), ("good", good)]
        for text, said in (
            ("fd://nobody", f"fd://{deaf.fileno()} or fd://deaf, fd://{good.fileno()}"),
            ("fd://deaf", "does not listen"),
            ("example.org:1", "not looked up"),
        ):
            with pytest.raises(ValueError, match=said):
                open_listeners((f"{tmp_path}/stats", "fd://good", text), passed)
            assert list(tmp_path.iterdir()) == []
        assert good.getsockname()[1]  # still open: it is not ours
    with pytest.raises(ValueError, match="no socket was"):
        open_listeners(("fd://3",), ())


# -- the programs of others ------------------------------------------------------------------


@contextmanager
def screen_of(*command: str) -> Iterator[tuple[int, Callable[[Callable[[str], bool]], str]]]:
    """A program on a terminal of 25 lines: its pid, and a way to wait for what it shows."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", LINES="25", COLUMNS="120", LANG="C.UTF-8")
        os.execv(command[0], command)
    shown = b""

    def wait_for(condition: Callable[[str], bool]) -> str:
        nonlocal shown
        until = time.monotonic() + DEADLINE_SECONDS
        while not condition(text := re.sub(r"\x1b[\[(][0-9;?]*[A-Za-z]", " ", shown.decode())):
            left = until - time.monotonic()
            assert left > 0, text
            assert select.select([terminal], [], [], left)[0], text
            try:
                shown += os.read(terminal, 65536)
            except OSError:  # Linux' way to say that nobody is at the other end
                raise AssertionError(text) from None
        return text

    try:
        yield terminal, wait_for
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def uwsgitop() -> str:
    found = shutil.which("uwsgitop", path=sysconfig.get_path("scripts"))
    if found is None:
        pytest.skip("no uwsgitop in this environment (pip install uwsgitop)")
    return found


@pytest.mark.parametrize("kind", ["tcp", "unix", "abstract", "http"])
def test_uwsgitop_shows_the_vassals(kind: str, tmp_path: Path) -> None:
    program = uwsgitop()
    text = {
        "unix": f"{tmp_path}/stats",
        "abstract": f"@emperor-test-{uuid.uuid4().hex}",
    }.get(kind, "127.0.0.1:0")

    def watch(address: str) -> None:
        with screen_of(sys.executable, program, address) as (terminal, wait_for):
            wait_for(lambda text: all(view.id in text for view in many(3)))
            shown = wait_for(lambda text: "caf\\xe9.ini" in text and "broken.ini" in text)
            assert "uwsgi-0.1.0" in shown
            assert "emperor: ['/etc/v'] - tyrant: 0" in shown
            assert "VASSAL" in shown
            assert "4711" in shown
            assert "-1" in shown
            os.write(terminal, b"q")

    async def story() -> None:
        async with serving(text, is_http=kind == "http") as (_, (address,)):
            shown = f"http://{address}" if kind == "http" else str(address)
            await asyncio.to_thread(watch, shown)

    tell(story)


def test_the_document_has_the_shape_of_the_original(tmp_path: Path) -> None:
    """The keys, their order and their types are those of a real uWSGI Emperor."""
    target = the_uwsgi()
    vassals = tmp_path / "vassals"
    vassals.mkdir()
    (vassals / "broken.ini").write_text("[uwsgi]\nini = nowhere.ini\n")
    address = parse(f"{tmp_path}/stats")
    process = subprocess.Popen(
        [target.path, "--emperor", str(vassals), "--emperor-stats", str(address)],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        theirs = asyncio.run(_blacklisted(address))
    finally:
        process.terminate()
        process.wait(DEADLINE_SECONDS)
    ours = json.loads(json.dumps(document((DELAYED,), FACTS)))
    assert list(ours) == list(theirs)
    for our_part, their_part in (
        (ours, theirs),
        (ours["vassals"][0], theirs["vassals"][0]),
        (ours["blacklist"][0], theirs["blacklist"][0]),
    ):
        shape = shape_of(their_part)
        assert shape_of(our_part)[: len(shape)] == shape


def shape_of(data: dict[str, object]) -> list[tuple[str, type]]:
    return [(key, type(value)) for key, value in data.items()]


async def _blacklisted(address: Address) -> Any:
    """What a real Emperor says when its vassal is on the blacklist."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            with suppress(OSError):
                said = await answer(address)
                if said["vassals"] and said["blacklist"]:
                    return said
            await asyncio.sleep(0.05)
