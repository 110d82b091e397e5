"""Listening sockets: who may connect, what is in the way, and what is left of them."""

import os
import socket
import stat
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from emperor.runtime.addresses import parse
from emperor.runtime.sockets import Listener, address_of, listen, parse_mode, parse_owner

pytestmark = pytest.mark.process


@contextmanager
def listening(
    text: str,
    *,
    mode: int | None = None,
    owner: tuple[int | None, int | None] | None = None,
) -> Iterator[Listener]:
    listener = listen(parse(text), backlog=5, mode=mode, owner=owner)
    try:
        yield listener
    finally:
        listener.close()


def connects(listener: Listener) -> bool:
    with socket.socket(listener.address.family, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect(listener.address.for_kernel)
        accepted, _ = listener.socket.accept()
        with accepted:
            accepted.sendall(b"x")
            return client.recv(1) == b"x"


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("text", ["127.0.0.1:0", ":0", "localhost:0", "[::1]:0"])
def test_tcp_is_told_its_port(text: str) -> None:
    with listening(text) as listener:
        assert listener.address.port > 0
        assert listener.socket.getblocking()
        assert not os.get_inheritable(listener.fileno())
        assert listener.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert connects(listener)
        assert address_of(listener.socket) == listener.address


def test_all_ipv6_addresses_are_all_ipv4_addresses_too() -> None:
    with (
        listening("[::]:0") as listener,
        socket.create_connection(("127.0.0.1", listener.address.port)) as client,
        listener.socket.accept()[0] as accepted,
    ):
        assert accepted.getpeername()[:2] == ("::ffff:127.0.0.1", client.getsockname()[1])


def test_a_port_in_use_is_named() -> None:
    with (
        listening("127.0.0.1:0") as listener,
        pytest.raises(OSError, match=f"on 127.0.0.1:{listener.address.port}: Address"),
    ):
        listen(listener.address, backlog=5)


def test_an_abstract_name() -> None:
    name = f"@emperor-test-{uuid.uuid4().hex}"
    with listening(name) as listener:
        assert connects(listener)
        assert address_of(listener.socket) == listener.address
        with pytest.raises(OSError, match=f"on {name}: Address already in use"):
            listen(listener.address, backlog=5)


def test_a_relative_path_is_removed_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with listening("a.sock") as listener:
        assert connects(listener)
        monkeypatch.chdir("/")
    assert list(tmp_path.iterdir()) == []


def test_without_a_mode_it_is_as_the_umask_has_it(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    before = os.umask(0o027)
    try:
        with listening(str(path)):
            assert permissions(path) == 0o750
            assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


@pytest.mark.parametrize("mode", [0o666, 0o600, 0o660, 0])
def test_the_mode_is_what_was_asked_for(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.sock"
    with listening(str(path), mode=mode):
        assert permissions(path) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_is_who_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    for owner, expected in (
        ((1234, 2345), (1234, 2345)),
        ((1234, None), (1234, os.getegid())),
        ((None, 2345), (os.geteuid(), 2345)),
    ):
        with listening(str(path), mode=0o660, owner=owner):
            status = path.lstat()
            assert (status.st_uid, status.st_gid) == expected
            assert permissions(path) == 0o660


def test_what_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    program = f"import socket; socket.socket(socket.AF_UNIX).bind({str(path)!r})"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert path.is_socket()
    with listening(str(path)) as listener:
        assert connects(listener)
    assert not path.exists()


def test_who_listens_already_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with listening(str(path)) as listener:
        with pytest.raises(OSError, match=rf"{path}: .+ \(pid {os.getpid()}\) listens there"):
            listen(listener.address, backlog=5)
        listener.socket.accept()[0].close()  # the question who is there
        assert connects(listener)


def test_who_is_too_busy_to_answer_is_there_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind(str(path))
        busy.listen(0)
        first.connect(str(path))
        with pytest.raises(OSError, match="is busy"):
            listen(parse(str(path)), backlog=5)


@pytest.mark.parametrize("what", ["file", "link", "directory", "datagram"])
def test_anything_else_is_left_alone(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.sock"
    other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    match what:
        case "file":
            path.write_text("precious")
        case "link":
            path.symlink_to("elsewhere")
        case "directory":
            path.mkdir()
        case _:
            other.bind(str(path))
    before = path.lstat()
    with other, pytest.raises(OSError, match=f"^.*cannot listen on {path}: "):
        listen(parse(str(path)), backlog=5)
    assert path.lstat() == before


def test_a_missing_directory_is_an_error_that_names_the_address(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"cannot listen on {tmp_path}/no/a.sock: No"):
        listen(parse(f"{tmp_path}/no/a.sock"), backlog=5)


def test_an_owner_that_may_not_be_leaves_nothing() -> None:
    with tempfile.TemporaryDirectory() as directory:  # which others may reach, unlike tmp_path
        os.chmod(directory, 0o777)
        path = f"{directory}/a.sock"
        program = (
            "import os\n"
            "from emperor.runtime.addresses import parse\n"
            "from emperor.runtime.sockets import listen\n"
            "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
            f"try: listen(parse({path!r}), backlog=1, owner=(0, None))\n"
            "except PermissionError as error: print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True
        )
        assert f"cannot listen on {path}: " in done.stdout
        assert os.listdir(directory) == []


def test_a_file_that_is_another_one_by_now_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with listening(str(path)):
        path.rename(tmp_path / "moved")
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"


def test_closing_twice_removes_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    listener = listen(parse(str(path)), backlog=5)
    listener.close()
    listener.close()
    assert list(tmp_path.iterdir()) == []


def test_owners() -> None:
    assert parse_owner("root:root") == (0, 0)
    assert parse_owner("root") == parse_owner("root:") == (0, None)
    assert parse_owner(":root") == (None, 0)
    assert parse_owner(" 1000:2000 ") == (1000, 2000)
    for text, said in (
        ("", "names nobody"),
        (":", "names nobody"),
        ("no-such-user", 'no user "no-such-user"'),
        (":no-such-group", 'no group "no-such-group"'),
    ):
        with pytest.raises(ValueError, match=said):
            parse_owner(text)


def test_modes() -> None:
    assert (parse_mode("666"), parse_mode(" 0660"), parse_mode("0")) == (0o666, 0o660, 0)
    for text in ("", "rw", "888", "1777", "-1"):
        with pytest.raises(ValueError, match="in octal"):
            parse_mode(text)
