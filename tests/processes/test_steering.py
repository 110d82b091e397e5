"""Generations of listening sockets at one address: each connection goes to the right one."""

import os
import select
import socket
import stat
import struct
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.marks import needs_root

from emperor.compiler.programs.values import HeldSocket
from emperor.runtime.addresses import LONGEST_PATH_BYTES, Address, Kind, parse
from emperor.runtime.programs.held import HeldSockets
from emperor.runtime.tenants.privileges import Owner

pytestmark = pytest.mark.process


PATIENCE_SECONDS = 20.0

#: So many connections are made to see where they go.
VISITORS = 24

TENANT = Owner(uid=20_001, gid=20_001)

#: The addresses of the tests, and where their clients find them.
PLACES = {
    "ipv4": ("127.0.0.1:{port}", "127.0.0.1:{port}"),
    "ipv4-any": (":{port}", "127.0.0.1:{port}"),
    "ipv6": ("[::1]:{port}", "[::1]:{port}"),
    "ipv6-any": ("[::]:{port}", "[::1]:{port}"),
    "ipv6-any-by-ipv4": ("[::]:{port}", "127.0.0.1:{port}"),
    "unix": ("{directory}/a", "{directory}/a"),
}


class Generation:
    """A generation's sockets, and a program that would serve them."""

    def __init__(self, held: HeldSockets, wanted: Sequence[HeldSocket]) -> None:
        self.held = held
        self.wanted = wanted
        self.sockets = [socket.socket(fileno=os.dup(number)) for number in held.open(wanted)]

    def heir(self, *more: HeldSocket) -> "Generation":
        return Generation(self.held.heir(), (*self.wanted, *more))

    def next(self) -> "Generation":
        """An heir that takes over at once."""
        heir = self.heir()
        heir.held.take_over()
        return heir

    def accept(self) -> socket.socket:
        self.sockets[0].settimeout(PATIENCE_SECONDS)
        return self.sockets[0].accept()[0]

    def close(self) -> None:
        for one in self.sockets:
            one.close()
        self.held.close()


class Place:
    """An address, and who comes to it."""

    def __init__(self, stack: ExitStack, address: str, reached_at: str) -> None:
        self._stack = stack
        self.address = address
        self.target = parse(reached_at)

    def found(
        self, owner: Owner | None = None, *, mode: str | None = None, backlog: int = 100
    ) -> Generation:
        """The first generation."""
        first = wanted(self.address, mode=mode, backlog=backlog)
        return self.known(Generation(HeldSockets(owner), [first]))

    def known(self, generation: Generation) -> Generation:
        """The same, closed with the test."""
        self._stack.callback(generation.close)
        return generation

    def visit(self) -> socket.socket:
        connected = self._stack.enter_context(socket.socket(self.target.family))
        connected.settimeout(PATIENCE_SECONDS)
        connected.connect(self.target.for_kernel)
        return connected

    def served_by(self, *generations: Generation) -> list[int]:
        """How many of the connections that are made now each of them gets."""
        found: Counter[int] = Counter()
        for _ in range(VISITORS):
            client = self.visit()
            ready, _, _ = select.select(
                [one.sockets[0] for one in generations], [], [], PATIENCE_SECONDS
            )
            for number, one in enumerate(generations):
                if one.sockets[0] in ready:
                    one.accept().close()
                    found[number] += 1
            assert client.recv(1) == b""
            client.close()
        return [found[number] for number in range(len(generations))]


def wanted(
    address: str | Path,
    *,
    mode: str | None = None,
    owner: str | None = None,
    backlog: int = 100,
) -> HeldSocket:
    return HeldSocket(
        name="socket", address=str(address), backlog=backlog, mode=mode, owner=owner
    )


def free_port() -> int:
    with socket.socket(socket.AF_INET6) as bound:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(("::", 0))
        number: int = bound.getsockname()[1]
        return number


def listeners(port: int) -> int:
    """How many sockets listen on an IPv4 port, by the kernel's own list."""
    found = 0
    with open("/proc/net/tcp", encoding="ascii") as file:
        next(file)
        for row in file:
            _, local, _, state, *_ = row.split()
            if state != "0A":  # those that listen come first
                break
            found += local.endswith(f":{port:04X}")
    return found


def make(stack: ExitStack, kind: str, directory: Path) -> Place:
    port = free_port()
    address, reached_at = PLACES[kind]
    return Place(
        stack,
        address.format(port=port, directory=directory),
        reached_at.format(port=port, directory=directory),
    )


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, stack: ExitStack, tmp_path: Path) -> Place:
    return make(stack, request.param, tmp_path)


@pytest.fixture
def tcp(stack: ExitStack, tmp_path: Path) -> Place:
    return make(stack, "ipv4", tmp_path)


@pytest.fixture
def path(stack: ExitStack, tmp_path: Path) -> Place:
    return make(stack, "unix", tmp_path)


# -- who gets a connection ---------------------------------------------------------------------


def test_each_connection_goes_to_the_newest_that_is_ready(place: Place) -> None:
    a = place.found()
    assert place.served_by(a) == [VISITORS]
    b = place.known(a.heir())
    assert place.served_by(a, b) == [VISITORS, 0]
    b.held.take_over()
    assert place.served_by(a, b) == [0, VISITORS]
    c = place.known(b.heir())
    assert place.served_by(a, b, c) == [0, VISITORS, 0]
    a.close()
    assert place.served_by(b, c) == [VISITORS, 0]
    c.held.take_over()
    assert place.served_by(b, c) == [0, VISITORS]
    d = place.known(c.next())
    assert place.served_by(b, c, d) == [0, 0, VISITORS]
    c.close()
    assert place.served_by(b, d) == [0, VISITORS]
    b.close()
    assert place.served_by(d) == [VISITORS]


def test_an_heir_that_fails_changes_nothing(place: Place) -> None:
    a = place.found()
    for _ in range(3):
        heir = place.known(a.heir())
        heir.close()
        assert place.served_by(a) == [VISITORS]
    b = place.known(a.next())
    failed, third = place.known(b.heir()), place.known(b.heir())
    assert place.served_by(a, b, failed, third) == [0, VISITORS, 0, 0]
    failed.close()
    assert place.served_by(a, b, third) == [0, VISITORS, 0]
    third.held.take_over()
    assert place.served_by(a, b, third) == [0, 0, VISITORS]


def test_an_heir_that_cannot_have_all_gets_nothing(place: Place, tmp_path: Path) -> None:
    a = place.found()
    with pytest.raises(OSError, match="cannot listen on"):
        a.heir(wanted(tmp_path / "no" / "directory"))
    assert place.served_by(a) == [VISITORS]
    assert not list(tmp_path.glob("*.next*"))


def test_the_last_one_takes_what_comes_when_the_newest_goes(place: Place) -> None:
    a = place.found()
    b = place.known(a.next())
    b.close()
    if place.target.kind is not Kind.UNIX:  # whose file is gone
        assert place.served_by(a) == [VISITORS]


def test_a_generation_may_have_other_sockets(tcp: Place, stack: ExitStack) -> None:
    port = free_port()
    a = tcp.found()
    b = tcp.known(a.heir(wanted(f"127.0.0.1:{port}")))
    b.held.take_over()
    more = Place(stack, "", f"127.0.0.1:{port}")
    more.visit()
    assert select.select([b.sockets[1]], [], [], PATIENCE_SECONDS)[0]
    c = tcp.known(Generation(b.held.heir(), a.wanted))
    c.held.take_over()
    assert listeners(port) == 1  # the elder's, until it is gone
    b.close()
    assert listeners(port) == 0
    assert tcp.served_by(a, c) == [0, VISITORS]


# -- how quiet it is ---------------------------------------------------------------------------


def test_it_is_quiet_when_all_are_accepted(place: Place) -> None:
    a = place.found()
    early = place.visit()
    b = place.known(a.heir())
    assert not a.held.is_relieved
    b.held.take_over()
    assert (a.held.is_relieved, b.held.is_relieved) == (True, False)
    assert not a.held.is_quiet()
    late = place.visit()
    with a.accept() as served:
        served.sendall(b"a")
        assert a.held.is_quiet()
        assert early.recv(1) == b"a"
    with b.accept() as served:
        served.sendall(b"b")
        assert late.recv(1) == b"b"


def test_it_is_not_quiet_while_an_older_one_is_there(tcp: Place) -> None:
    a = tcp.found()
    b = tcp.known(a.next())
    tcp.known(b.next())
    assert (a.held.is_quiet(), b.held.is_quiet()) == (True, False)
    a.close()
    assert b.held.is_quiet()


def test_one_that_is_shut_down_by_its_program_is_quiet(tcp: Place) -> None:
    a = tcp.found()
    b = tcp.known(a.next())
    c = tcp.known(b.heir())
    a.sockets[0].shutdown(socket.SHUT_RD)  # and the last one moves to its place
    assert a.held.is_quiet()
    c.held.take_over()
    assert tcp.served_by(b, c) == [0, VISITORS]
    assert b.held.is_quiet()


def test_an_heir_that_has_shut_its_socket_down_takes_nothing_over(tcp: Place) -> None:
    a = tcp.found()
    heir = tcp.known(a.heir())
    heir.sockets[0].shutdown(socket.SHUT_RD)
    with pytest.raises(OSError, match="has shut the socket down"):
        heir.held.take_over()
    assert tcp.served_by(a) == [VISITORS]


# -- what is left ------------------------------------------------------------------------------


def test_no_socket_is_left_of_a_generation_that_is_gone(tcp: Place) -> None:
    port = tcp.target.port
    generation = tcp.found()
    before = len(os.listdir("/proc/self/fd"))
    strays: list[socket.socket] = []
    for _ in range(20):
        heir = tcp.known(generation.heir())
        assert listeners(port) == 2
        tcp.known(generation.heir()).close()  # one that fails
        heir.held.take_over()
        strays.append(generation.sockets[0].dup())  # some process has got away with it
        generation.close()
        assert listeners(port) == 1
        assert tcp.served_by(heir) == [VISITORS]
        generation = heir
    for stray in strays:
        stray.close()
    assert len(os.listdir("/proc/self/fd")) == before
    generation.close()
    assert listeners(port) == 0


def test_nobody_joins_before_there_is_an_heir(tcp: Place) -> None:
    tcp.found()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(tcp.target.for_kernel)


def test_another_vassal_of_the_same_address_is_refused(tcp: Place) -> None:
    a = tcp.found()
    b = tcp.known(a.next())
    with pytest.raises(OSError, match="in use"):
        tcp.found()
    a.close()
    with pytest.raises(OSError, match="in use"):
        tcp.found()
    assert tcp.served_by(b) == [VISITORS]


def test_the_backlog_is_the_one_that_is_wanted(tcp: Place) -> None:
    a = tcp.found(backlog=7)
    heir = tcp.known(Generation(a.held.heir(), [wanted(tcp.address, backlog=9)]))

    def backlog(generation: Generation) -> int:
        info = generation.sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
        most: int = struct.unpack_from("I", info, 28)[0]  # tcpi_sacked, of a listening socket
        return most

    assert (backlog(a), backlog(heir)) == (7, 9)
    heir.held.take_over()
    assert heir.held.open(heir.wanted) == heir.held.open(heir.wanted)


def test_a_port_that_the_kernel_chose_is_the_heirs_too(stack: ExitStack) -> None:
    place = Place(stack, "127.0.0.1:0", "127.0.0.1:1")
    a = place.found()
    b = place.known(a.next())
    name = a.sockets[0].getsockname()
    assert b.sockets[0].getsockname() == name
    place.target = Address(kind=Kind.TCP4, name=name[0], port=name[1])
    assert place.served_by(a, b) == [0, VISITORS]


# -- files -------------------------------------------------------------------------------------


def test_a_file_is_there_all_the_time_and_goes_with_the_last(
    path: Place, tmp_path: Path
) -> None:
    def names() -> list[str]:
        return sorted(os.listdir(tmp_path))

    a = path.found(mode="600")
    b = path.known(Generation(a.held.heir(), [wanted(tmp_path / "a", mode="660")]))
    failed = path.known(a.heir())
    assert names() == ["a", "a.next", "a.next2"]
    failed.close()
    assert names() == ["a", "a.next"]
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    b.held.take_over()
    assert names() == ["a"]
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o660
    a.close()
    assert names() == ["a"]
    assert len(b.held.open(b.wanted)) == 1
    assert path.served_by(b) == [VISITORS]
    b.close()
    assert names() == []


def test_a_file_that_is_in_the_way(path: Place, tmp_path: Path) -> None:
    a = path.found()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "a.next"))
    (tmp_path / "a.next2").touch()
    b = path.known(a.next())
    assert path.served_by(a, b) == [0, VISITORS]
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "a.next3"))
    heir = path.known(b.heir())  # one that nobody listens at is removed if it must be
    (tmp_path / "a").unlink()
    (tmp_path / "a").touch()
    with pytest.raises(OSError, match="is no socket any more"):
        heir.held.take_over()
    (tmp_path / "a").unlink()
    (tmp_path / "a.next").rename(tmp_path / "elsewhere")
    (tmp_path / "a.next").touch()
    with pytest.raises(OSError, match="another file in the place of"):
        heir.held.take_over()


def test_what_cannot_be_taken_over_stays_where_it_was(tcp: Place, tmp_path: Path) -> None:
    a = tcp.known(Generation(HeldSockets(None), [wanted(tcp.address), wanted(tmp_path / "a")]))
    heir = tcp.known(a.heir())
    (tmp_path / "a.next").unlink()
    with pytest.raises(FileNotFoundError):
        heir.held.take_over()
    assert tcp.served_by(a, heir) == [VISITORS, 0]
    assert not a.held.is_relieved
    heir.close()
    assert tcp.served_by(a) == [VISITORS]


# -- where there cannot be two -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["abstract", "long"])
def test_generations_share_what_can_only_be_one(
    stack: ExitStack, tmp_path: Path, kind: str
) -> None:
    name = f"@{tmp_path}" if kind == "abstract" else str(tmp_path / "a")
    if kind == "long":
        name += "b" * (LONGEST_PATH_BYTES - len(name))
    place = Place(stack, name, name)
    a = place.found()
    failed = place.known(a.heir())
    failed.close()
    client = place.visit()
    b = place.known(a.next())
    assert not a.held.is_relieved
    assert os.fstat(b.sockets[0].fileno()).st_ino == os.fstat(a.sockets[0].fileno()).st_ino
    a.close()
    with b.accept() as served:
        served.sendall(b"b")
        assert client.recv(1) == b"b"
    assert place.served_by(b) == [VISITORS]
    b.close()
    with pytest.raises(OSError, match=r"refused|No such file"):
        place.visit()


# -- tenants -----------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("kind", PLACES)
def test_a_tenants_sockets_are_steered_too(stack: ExitStack, kind: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, TENANT.uid, TENANT.gid)
        place = make(stack, kind, Path(name))
        a = place.found(TENANT)
        b = place.known(a.heir())
        assert place.served_by(a, b) == [VISITORS, 0]
        b.held.take_over()
        assert place.served_by(a, b) == [0, VISITORS]
        a.close()
        c = place.known(b.next())
        assert place.served_by(b, c) == [0, VISITORS]
        if kind == "unix":
            status = os.stat(f"{name}/a")
            assert (status.st_uid, status.st_gid) == (TENANT.uid, TENANT.gid)
        stack.close()


@needs_root
def test_a_tenant_shares_where_he_may_make_no_file_any_more(stack: ExitStack) -> None:
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        os.chown(name, TENANT.uid, TENANT.gid)
        place = make(stack, "unix", Path(name))
        a = place.found(TENANT)
        os.chown(name, 0, 0)
        b = place.known(a.next())
        assert os.listdir(name) == ["a"]
        a.close()
        assert place.served_by(b) == [VISITORS]
        stack.close()
