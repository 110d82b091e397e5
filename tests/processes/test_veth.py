"""Vassals in network namespaces of their own reach the host, and each other.

What is called the host here is a namespace too, so nothing is done to the real one.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.guardian_court import DEADLINE_SECONDS

from emperor.compiler.chain import Jail, chain
from emperor.runtime.networks import veth
from emperor.runtime.networks.veth_plan import address_for

pytestmark = pytest.mark.process

OWNER = (20001, 20002)
GATEWAY = "10.98.7.1/24"
FIRST, SECOND = (address_for(GATEWAY, index) for index in (0, 1))


@contextlib.contextmanager
def process(
    words: Sequence[str], stdin: int | None = None, stdout: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        words, stdin=stdin, stdout=stdout, text=True, start_new_session=True
    ) as started:
        try:
            yield started
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)


class Host:
    """A namespace that stands for the host's, and the vassals that are started in it."""

    def __init__(self, pid: int, stack: contextlib.ExitStack) -> None:
        self.pid = pid
        self._stack = stack
        self._prefix = ("nsenter", f"--net=/proc/{pid}/ns/net", "--")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the host, to its end."""
        return subprocess.run(
            [*self._prefix, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_SECONDS,
        )

    def ip(self, words: str) -> str:
        done = self.run("ip", *words.split())
        assert done.returncode == 0, done.stderr
        return done.stdout

    def vassal(self, jail: Jail | None = None) -> subprocess.Popen[str]:
        return self.start(*chain(jail or Jail(namespaces=("net",))), "sleep", "60")

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command that is on the host when this returns."""
        pipe = subprocess.PIPE
        arrived = ("/bin/sh", "-c", 'echo here; exec "$@"', "sh")
        started = process([*self._prefix, *arrived, *words], stdin=pipe, stdout=pipe)
        there = self._stack.enter_context(started)
        assert there.stdout is not None
        assert there.stdout.readline() == "here\n"
        return there

    def connect(self, vassal: subprocess.Popen[str], options: str) -> None:
        done = self.run(*program(vassal.pid, options))
        assert (done.returncode, done.stderr) == (0, "")

    def refused(self, vassal: subprocess.Popen[str], options: str) -> str:
        done = self.run(*program(vassal.pid, options))
        assert done.returncode == 1
        return done.stderr

    def names(self) -> set[str]:
        lines = self.ip("-oneline link").splitlines()
        return {line.split(": ")[1].partition("@")[0] for line in lines}

    def waits_for_the_end_of(self, name: str) -> None:
        """The kernel takes namespaces apart in its own time."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while name in self.names():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def program(pid: int, options: str) -> tuple[str, ...]:
    module = "emperor.runtime.networks.veth"
    return (sys.executable, "-P", "-m", module, "--pid", str(pid), *options.split())


@pytest.fixture
def host() -> Iterator[Host]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if shutil.which("ip") is None:
        pytest.skip("no ip(8)")
    pytest.importorskip("pyroute2")
    with contextlib.ExitStack() as stack:
        sleeper = stack.enter_context(process(["unshare", "--net", "sleep", "60"]))
        with veth.open_namespace(sleeper.pid):
            made = Host(sleeper.pid, stack)
        trial = made.run("ip", "link", "add", "trial", "type", "veth")
        if trial.returncode:
            pytest.skip(f"no veth in this kernel: {trial.stderr}")
        made.ip("link del trial")
        yield made


def socket_in(pid: int, family: int = socket.AF_INET) -> socket.socket:
    """A socket of another namespace: it stays where it was made."""
    libc = ctypes.CDLL(None, use_errno=True)

    def make() -> socket.socket:
        with open(f"/proc/{pid}/ns/net", "rb") as namespace:
            assert libc.setns(namespace.fileno(), 0) == 0
        made = socket.socket(family)
        made.settimeout(DEADLINE_SECONDS)
        return made

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(make).result()


def reaches(client: int, server: int, address: str) -> bool:
    """Whether a process of one namespace reaches one that listens in the other."""
    ip = address.partition("/")[0]
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket_in(server, family) as listener, socket_in(client, family) as caller:
        listener.bind((ip, 0))
        listener.listen()
        caller.connect(listener.getsockname()[:2])
        accepted, _ = listener.accept()
        with accepted:
            accepted.sendall(b"hail")
            return caller.recv(4) == b"hail"


ROUTED = f"--name first --gateway {GATEWAY} --address"


@pytest.mark.parametrize(
    "jail",
    [
        Jail(namespaces=("net",)),
        Jail(owner=OWNER, namespaces=("net", "pid")),
        Jail(owner=OWNER, namespaces=("net", "user")),
    ],
    ids=["net", "owner-net-pid", "owner-net-user"],
)
def test_host_and_vassal_reach_each_other_without_a_bridge(host: Host, jail: Jail) -> None:
    vassal = host.vassal(jail)
    host.connect(vassal, f"{ROUTED} {FIRST}")
    assert reaches(host.pid, vassal.pid, FIRST)
    assert reaches(vassal.pid, host.pid, GATEWAY)
    assert reaches(vassal.pid, vassal.pid, "127.0.0.1")
    vassal.kill()
    host.waits_for_the_end_of("first")
    assert host.names() == {"lo"}


def test_vassals_without_a_bridge_share_the_gateway(host: Host) -> None:
    host.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    first, second = host.vassal(), host.vassal()
    host.connect(first, f"{ROUTED} {FIRST}")
    host.connect(second, f"--name second --gateway {GATEWAY} --address {SECOND}")
    assert reaches(host.pid, first.pid, FIRST)
    assert reaches(second.pid, host.pid, GATEWAY)
    assert reaches(first.pid, second.pid, SECOND)


def test_the_sixth_version_works_as_well(host: Host) -> None:
    vassal = host.vassal()
    gateway, address = "fd98:7::1/64", address_for("fd98:7::1/64", 0)
    host.connect(vassal, f"--name first --gateway {gateway} --address {address}")
    assert reaches(host.pid, vassal.pid, address)
    assert reaches(vassal.pid, host.pid, gateway)


def test_vassals_on_a_bridge_reach_each_other_and_the_host(host: Host) -> None:
    host.ip("link add bridge0 type bridge")
    host.ip(f"addr add {GATEWAY} dev bridge0")
    host.ip("link set bridge0 up")
    first, second = host.vassal(), host.vassal()
    host.connect(first, f"--name first --bridge bridge0 --address {FIRST}")
    host.connect(second, f"--name second --bridge bridge0 --address {SECOND}")
    assert reaches(first.pid, second.pid, SECOND)
    assert reaches(second.pid, first.pid, FIRST)
    assert reaches(first.pid, host.pid, GATEWAY)
    assert reaches(host.pid, second.pid, SECOND)
    first.kill()
    host.waits_for_the_end_of("first")
    assert host.names() == {"lo", "bridge0", "second"}


def test_a_bridge_alone_gives_an_interface_without_an_address(host: Host) -> None:
    host.ip("link add bridge0 type bridge")
    vassal = host.vassal()
    host.connect(vassal, "--name first --bridge bridge0")
    assert "master bridge0" in host.ip("link show first")
    inside = host.run("nsenter", f"--net=/proc/{vassal.pid}/ns/net", "ip", "-4", "addr").stdout
    assert "127.0.0.1" in inside
    assert "eth0" not in inside


def test_a_second_time_changes_nothing(host: Host) -> None:
    vassal = host.vassal()
    host.connect(vassal, f"{ROUTED} {FIRST}")
    before = [host.ip(f"-oneline {what}") for what in ("link", "addr", "route")]
    host.connect(vassal, f"{ROUTED} {FIRST}")
    assert [host.ip(f"-oneline {what}") for what in ("link", "addr", "route")] == before
    assert reaches(host.pid, vassal.pid, FIRST)


def test_the_next_process_of_a_vassal_takes_the_name_over(host: Host) -> None:
    old = host.vassal()
    host.connect(old, f"{ROUTED} {FIRST}")
    new = host.vassal()
    host.connect(new, f"{ROUTED} {FIRST}")
    assert reaches(host.pid, new.pid, FIRST)


def test_what_belongs_to_others_is_left_alone(host: Host) -> None:
    host.ip("link add bridge0 type bridge")
    vassal = host.vassal()
    options = f"--name bridge0 --gateway {GATEWAY} --address {FIRST}"
    assert 'another interface "bridge0"' in host.refused(vassal, options)
    assert 'no interface "none"' in host.refused(vassal, "--name first --bridge none")
    host.connect(vassal, "--name first --bridge bridge0")
    assert 'another "eth0"' in host.refused(vassal, "--name second --bridge bridge0")
    assert host.names() == {"lo", "bridge0", "first"}


def test_a_namespace_that_is_still_to_come_is_waited_for(host: Host) -> None:
    vassal = host.start("sh", "-c", "read _; exec unshare --net sleep 60")
    hook = host.start(*program(vassal.pid, f"{ROUTED} {FIRST}"))
    assert vassal.stdin is not None
    vassal.stdin.write("now\n")
    vassal.stdin.close()
    assert hook.wait(DEADLINE_SECONDS) == 0
    assert reaches(host.pid, vassal.pid, FIRST)


def test_the_namespace_may_be_that_of_the_child(host: Host) -> None:
    vassal = host.start("sh", "-c", "unshare --net sleep 60; true")
    host.connect(vassal, f"{ROUTED} {FIRST}")
    assert host.names() == {"lo", "first"}


def test_a_process_that_goes_is_not_waited_for() -> None:
    with process(["cat"], stdin=subprocess.PIPE) as vassal, ThreadPoolExecutor(1) as thread:
        words = ["--pid", str(vassal.pid), "--name", "first", "--bridge", "bridge0"]
        waiting = thread.submit(veth.main, words)
        vassal.communicate(timeout=DEADLINE_SECONDS)
        assert waiting.result(DEADLINE_SECONDS) == 1


def test_a_process_that_stays_in_our_namespace_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(veth, "DEADLINE_SECONDS", 0.05)
    with process(["sleep", "60"]) as vassal:
        words = ["--pid", str(vassal.pid), "--name", "first", "--bridge", "bridge0"]
        assert veth.main(words) == 1
    assert "no network namespace of its own" in capsys.readouterr().err


def test_without_the_package_it_says_what_to_install(host: Host) -> None:
    vassal = host.vassal()
    script = (
        "import sys; sys.modules['pyroute2'] = None; from emperor.runtime.networks import veth;"
    )
    words = program(vassal.pid, "--name first --bridge b")[4:]
    done = host.run(sys.executable, "-P", "-c", f"{script} sys.exit(veth.main())", *words)
    assert done.returncode == 1
    assert "emperor-compiler[net]" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        "--name first",
        f"--name first --address {FIRST}",
        f"--name first --gateway {GATEWAY}",
        f"--name first --gateway {GATEWAY} --address fd98::2/64",
        "--name first --bridge 1234567890123456",
        "--name a/b --bridge bridge0",
        f"--name first --gateway none --address {FIRST}",
    ],
)
def test_other_wishes_are_a_usage_error(options: str) -> None:
    with pytest.raises(SystemExit) as exit_code:
        veth.main(["--pid", "1", *options.split()])
    assert exit_code.value.code == 2
