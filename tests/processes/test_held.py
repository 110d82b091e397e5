"""Sockets that the Emperor holds: they stay, and a tenant gets no more than is his."""

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.marks import needs_root

from emperor.compiler.programs.values import HeldSocket
from emperor.runtime.addresses import parse
from emperor.runtime.programs.held import MOST_SOCKETS, HeldSockets, listen_for_tenant
from emperor.runtime.tenants.privileges import Owner

pytestmark = pytest.mark.process


PATIENCE_SECONDS = 20.0

TENANT = Owner(uid=20_001, gid=20_001)


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


@pytest.fixture
def held() -> Iterator[HeldSockets]:
    made = HeldSockets(None)
    yield made
    made.close()


@pytest.fixture
def tenants() -> Iterator[HeldSockets]:
    made = HeldSockets(TENANT)
    yield made
    made.close()


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of the tenant's, which others may reach, below one that is not his."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        inner = Path(name) / "home"
        inner.mkdir(mode=0o755)
        os.chown(inner, TENANT.uid, TENANT.gid)
        yield inner


def connect(path: str) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(PATIENCE_SECONDS)
    connected.connect(path)
    return connected


def inode(descriptor: int) -> int:
    return os.fstat(descriptor).st_ino


def port(descriptor: int) -> int:
    with socket.socket(fileno=os.dup(descriptor)) as listening:
        number: int = listening.getsockname()[1]
        return number


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return port(bound.fileno())


def test_who_comes_while_nobody_accepts_waits_and_is_served(
    held: HeldSockets, tmp_path: Path
) -> None:
    path = str(tmp_path / "a.sock")
    (one,) = held.open([wanted(path)])
    with connect(path) as client:
        client.sendall(b"question")
        (again,) = held.open([wanted(path)])
        with socket.socket(fileno=os.dup(again)) as program:
            program.settimeout(PATIENCE_SECONDS)
            served, _ = program.accept()
            with served:
                assert served.recv(100) == b"question"
    assert again == one


def test_what_stays_is_the_same_socket_and_what_goes_is_gone(
    held: HeldSockets, tmp_path: Path
) -> None:
    a, b, c = (tmp_path / name for name in "abc")
    first = held.open([wanted(a), wanted("127.0.0.1:0"), wanted(b)])
    before = [inode(number) for number in first]
    second = held.open([wanted(c), wanted(b), wanted("127.0.0.1:0")])
    assert [inode(number) for number in second[1:]] == [before[2], before[1]]
    assert inode(second[0]) not in before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c"]
    held.close()
    held.close()
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_is_named_twice_is_one_socket(held: HeldSockets) -> None:
    one, other, alone = held.open([wanted(":0"), wanted("0.0.0.0:0"), wanted("127.0.0.1:0")])
    assert one == other != alone


def test_a_refused_address_leaves_all_as_it_was(held: HeldSockets, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    before = held.open([wanted(a, mode="600", backlog=5), wanted("127.0.0.1:0")])
    (tmp_path / "file").touch()
    refused: list[tuple[str | Path, str]] = [
        (tmp_path / "file", "no socket"),
        (tmp_path / "no" / "a", "No such file"),
        (f"127.0.0.1:{port(before[1])}", "in use"),
        ("no.such.host:80", "no IP address"),
        ("a\0b", "NUL"),
        ("/\ud800", "surrogates"),
    ]
    for address, said in refused:
        with pytest.raises(OSError, match=f"^.*cannot listen on .*{said}") as caught:
            held.open([wanted(a, mode="666"), wanted(b), wanted(address)])
        assert str(address) in str(caught.value)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "file"]
        assert stat.S_IMODE(a.stat().st_mode) == 0o600
    assert held.open([wanted(a, mode="600", backlog=5), wanted("127.0.0.1:0")]) == before


@pytest.mark.parametrize(
    ("mode", "owner", "said"),
    [("rw", None, "no mode"), (None, "no-such-user", "no user"), (None, "", "names nobody")],
)
def test_texts_that_mean_nothing(
    held: HeldSockets, tmp_path: Path, mode: str | None, owner: str | None, said: str
) -> None:
    with pytest.raises(OSError, match=f"cannot listen on {tmp_path}/a: .*{said}"):
        held.open([wanted(tmp_path / "a", mode=mode, owner=owner)])


def test_more_sockets_than_a_program_can_have(held: HeldSockets) -> None:
    with pytest.raises(OSError, match="@60: a program gets 60 sockets at most"):
        held.open([wanted(f"@{number}") for number in range(MOST_SOCKETS + 1)])


def test_another_mode_and_backlog_are_set_on_what_is_held(
    held: HeldSockets, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    before = held.open([wanted(path, mode="600", backlog=1)])
    with connect(str(path)):
        assert held.open([wanted(path, mode="660", backlog=-1)]) == before
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert held.open([wanted(path, backlog=10**20)]) == before
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with connect(str(path)), connect(str(path)):  # there is room for more by now
            pass


def test_a_file_that_somebody_removed_comes_back(held: HeldSockets, tmp_path: Path) -> None:
    path = tmp_path / "a"
    (before,) = held.open([wanted(path)])
    old = inode(before)
    path.unlink()
    (after,) = held.open([wanted(path)])
    assert inode(after) != old
    connect(str(path)).close()


@needs_root
def test_an_owner_is_given_and_changed(held: HeldSockets, tmp_path: Path) -> None:
    path = tmp_path / "a"
    before = held.open([wanted(path, owner="20001:20002")])
    assert (path.stat().st_uid, path.stat().st_gid) == (20_001, 20_002)
    assert held.open([wanted(path, owner="20003")]) == before
    assert (path.stat().st_uid, path.stat().st_gid) == (20_003, 20_002)


@needs_root
def test_a_tenants_file_is_his(tenants: HeldSockets, home: Path) -> None:
    path = home / "a"
    before = tenants.open([wanted(path, mode="660")])
    status = path.stat()
    assert (status.st_uid, status.st_gid) == (TENANT.uid, TENANT.gid)
    assert stat.S_IMODE(status.st_mode) == 0o660
    connect(str(path)).close()
    assert tenants.open([wanted(path, mode="600", owner="20001:20001")]) == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    tenants.close()
    assert list(home.iterdir()) == []


@needs_root
def test_a_tenant_gets_no_file_where_he_may_make_none(tenants: HeldSockets, home: Path) -> None:
    path = home.parent / "a"
    with pytest.raises(PermissionError, match=f"cannot listen on {path}: Permission denied"):
        tenants.open([wanted(path)])
    assert [child.name for child in home.parent.iterdir()] == ["home"]


@needs_root
def test_nothing_is_removed_that_a_tenant_may_not(tenants: HeldSockets, home: Path) -> None:
    path = home / "a"
    with socket.socket(socket.AF_UNIX) as dead:  # nobody listens: it would be replaced
        dead.bind(str(home.parent / "dead"))
    with pytest.raises(PermissionError):
        tenants.open([wanted(home.parent / "dead")])
    assert (home.parent / "dead").exists()
    tenants.open([wanted(path)])
    os.chown(home, 0, 0)
    tenants.close()
    assert path.exists()


@needs_root
@pytest.mark.parametrize("owner", ["root", "20002", ":20002", "20001:0"])
def test_a_tenant_gives_nothing_away(tenants: HeldSockets, home: Path, owner: str) -> None:
    path = home / "a"
    with pytest.raises(PermissionError, match=f'cannot listen on {path}: .*"{owner}"'):
        tenants.open([wanted(path, owner=owner)])
    assert not path.exists()


@needs_root
def test_low_ports_are_for_root(tenants: HeldSockets) -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first > 1:
        said = (
            rf"cannot listen on 127.0.0.1:{first - 1}: port {first - 1} is for root: .*{first}"
        )
        with pytest.raises(PermissionError, match=said):
            tenants.open([wanted(f"127.0.0.1:{first - 1}")])
    number = free_port()
    (descriptor,) = tenants.open([wanted(f"127.0.0.1:{number}")])
    assert port(descriptor) == number
    assert port(tenants.open([wanted("127.0.0.1:0")])[0]) > 0


@needs_root
def test_one_that_is_used_alone_is_the_tenants_too(home: Path) -> None:
    path = home / "a"
    listener = listen_for_tenant(parse(str(path)), TENANT, 5, 0o600)
    try:
        assert path.stat().st_uid == TENANT.uid
    finally:
        listener.close()
        listener.close()
    assert not path.exists()


def test_who_is_not_root_can_do_nothing_for_others(tmp_path: Path) -> None:
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(20_002)
            HeldSockets(TENANT).open([wanted(tmp_path / "a")])
        except PermissionError as error:
            os.write(tell, str(error).encode())
        finally:
            os._exit(0)
    os.close(tell)
    os.waitpid(pid, 0)
    said = os.read(told, 1000).decode()
    os.close(told)
    assert f"cannot listen on {tmp_path}/a: " in said
