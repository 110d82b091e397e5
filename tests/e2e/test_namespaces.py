"""Vassals in namespaces of their own (emperor-use-clone): real uWSGI, its hooks, networks."""

import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from tests.e2e.daemon import Daemon, emperor_program, eventually, reign
from tests.e2e.sites import Town
from tests.e2e.test_run_hooks import emperor_file

pytestmark = [
    pytest.mark.process,
    pytest.mark.uwsgi,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

ALL_BUT_USER = "emperor-use-clone = fs,net,ipc,pid,uts"

#: What the documentation of uWSGI shows for such a vassal.
ITS_OWN_HOOKS = (
    ("exec-as-root", "hostname foobar"),
    ("exec-as-root", "umount /proc"),
    ("exec-as-root", "mount -t proc none /proc"),
    ("uid", "20001"),
    ("gid", "20001"),
)

#: Says where it is, as its vassal's greeting.
APP = """\
import os
def application(environ, start_response):
    start_response("200 OK", [])
    names = sorted((name for name in os.listdir("/proc") if name.isdecimal()), key=int)
    address = os.environ.get("EMPEROR_VASSAL_ADDRESS", "-")
    shown = os.uname().nodename, os.getuid(), names[0], len(names) < 9, address
    return [" ".join(map(str, shown)).encode()]
"""


@pytest.fixture
def jailed_town(one_town: Town) -> Town:
    Path(one_town.root, "app.py").write_text(APP, encoding="utf-8")
    return one_town


def inner(daemon: Daemon, outer: int) -> int:
    """The vassal behind the process that waits for it outside."""
    (pid,) = daemon.below(outer)
    return pid


def namespaces(pid: int) -> set[str]:
    """The namespaces of a process that are not ours."""
    kinds = ("mnt", "net", "ipc", "pid", "uts", "user")
    return {k for k in kinds if os.readlink(f"/proc/{pid}/ns/{k}") != _ours(k)}


def _ours(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


def test_its_own_hooks_work_inside_and_the_host_sees_nothing_of_them(jailed_town: Town) -> None:
    town = jailed_town
    host = os.uname().nodename
    town.put("site.ini", "one", *ITS_OWN_HOOKS)
    with reign(emperor_file(town, ALL_BUT_USER)) as daemon:
        pid = daemon.up("site.ini")
        assert namespaces(inner(daemon, pid)) == {"mnt", "net", "ipc", "pid", "uts"}
        assert town.get("site.ini") == "foobar 20001 1 True -"
        assert os.uname().nodename == host
        assert os.path.exists(f"/proc/{os.getpid()}")
        daemon.stop()


def test_a_reload_and_exit_codes_come_through(jailed_town: Town) -> None:
    town = jailed_town
    town.put("site.ini", "one", *ITS_OWN_HOOKS)
    with reign(emperor_file(town, ALL_BUT_USER)) as daemon:
        pid = daemon.up("site.ini")
        town.put("site.ini", "two", *ITS_OWN_HOOKS, ("reload-mercy", "5"))
        daemon.reloaded("site.ini", "changed")
        assert town.get("site.ini") == "foobar 20001 1 True -"
        os.kill(inner(daemon, pid), signal.SIGKILL)
        daemon.expect("died (SIGKILL)", "site.ini")
        daemon.up("site.ini")
        app = town.put_doomed("doomed.ini")
        daemon.expect("died (exit code 22)", "doomed.ini")
        assert os.path.exists(app)
        daemon.stop()


def test_a_removed_file_and_a_killed_daemon_leave_nothing(jailed_town: Town) -> None:
    town = jailed_town
    for name in ("one.ini", "two.ini"):
        town.put(name, name, *ITS_OWN_HOOKS)
    with reign(emperor_file(town, ALL_BUT_USER)) as daemon:
        outer = daemon.up("one.ini")
        daemon.up("two.ini")
        pid = inner(daemon, outer)
        os.unlink(town.path("one.ini"))
        daemon.gone("one.ini")
        eventually(lambda: not os.path.exists(f"/proc/{pid}"))
        daemon.kill()


@pytest.mark.parametrize("words", ["fs,net,ipc,pid,uts", "fs,net,ipc,pid,uts,user", "pid"])
def test_a_tenant_gets_namespaces_too(jailed_town: Town, words: str) -> None:
    town = jailed_town
    os.chmod(town.root, 0o1777)
    os.chmod(town.vassals, 0o755)
    town.put("site.ini", "one")
    os.chown(town.path("site.ini"), 20001, 20001)
    path = emperor_file(town, "emperor-tyrant = true", f"emperor-use-clone = {words}")
    with reign(path) as daemon:
        outer = daemon.up("site.ini")
        pid = inner(daemon, outer)
        kinds = {"fs": "mnt"}
        assert namespaces(pid) == {kinds.get(word, word) for word in words.split(",")}
        assert os.stat(f"/proc/{pid}").st_uid == 20001
        has_user = "user" in words
        assert town.get("site.ini").split()[1] == ("0" if has_user else "20001")
        daemon.kill()


def test_a_program_without_a_handler_goes_at_once(jailed_town: Town) -> None:
    town = jailed_town
    town.write("tool.ini", "[uwsgi]\nvassal-exec = sleep 1000\n")
    with reign(emperor_file(town, "emperor-use-clone = pid")) as daemon:
        daemon.spawned("tool.ini")
        daemon.expect("is ready", "tool.ini")
        assert daemon.stop() < 5.0


def test_an_unknown_namespace_is_refused_by_name(jailed_town: Town) -> None:
    path = emperor_file(jailed_town, "emperor-use-clone = fs,moon")
    with reign(path) as daemon:
        assert daemon.process.wait(20) == 1
        assert "moon" in str(daemon)


def test_a_routed_network_of_its_own(jailed_town: Town) -> None:
    pytest.importorskip("pyroute2", reason="the extra [net] is not installed")
    town = jailed_town
    address = "http-socket", "0.0.0.0:8080"
    for name in ("a.ini", "b.ini"):
        town.put(name, name, *ITS_OWN_HOOKS, address)
    network = "emperor-net-veth = 10.213.7.1/24"
    with reign(emperor_file(town, ALL_BUT_USER, network)) as daemon:
        for name in ("a.ini", "b.ini"):
            daemon.expect('running "emperor-net-veth', name)
            daemon.expect("accepts requests", name)
        for own in ("10.213.7.2", "10.213.7.3"):
            eventually(partial(answers_from, own))
        daemon.stop()
    eventually(lambda: "10.213.7.1" not in addresses())


def test_a_bad_network_ends_the_start(jailed_town: Town) -> None:
    with reign(emperor_file(jailed_town, "emperor-net-veth = 10.213.7.1/32")) as daemon:
        assert daemon.process.wait(20) == 1
        assert "10.213.7.1/32" in str(daemon)


TUNTAP_ROUTER = """\
[uwsgi]
plugins = tuntap
master = true
socket = @{root}/router
tuntap-router = emperor0 {root}/tuntap
exec-as-root = ip addr replace 192.168.77.1/24 dev emperor0
exec-as-root = ip link set emperor0 up
"""

#: As the documentation of uWSGI has it; IPv6 would confuse the router, which learns of a vassal
#: by the first packet that it sends.
TUNTAP_VASSAL = (
    ("plugins", "tuntap"),
    ("jailed", "true"),
    ("exec-as-root", "echo 1 > /proc/sys/net/ipv6/conf/uwsgi0/disable_ipv6"),
    ("exec-as-root", "ip link set lo up"),
    ("exec-as-root", "ip addr add 192.168.77.2/24 dev uwsgi0"),
    ("exec-as-root", "ip link set uwsgi0 up"),
    ("uid", "20001"),
    ("gid", "20001"),
    ("exec-pre-app", 'bash -c "echo hail > /dev/udp/192.168.77.1/9"'),
)


ASK = (
    "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=2).read().decode())"
)


@pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="needs /dev/net/tun")
def test_a_tuntap_router_reaches_a_vassal_as_in_uwsgi(jailed_town: Town) -> None:
    """The router runs outside of all vassals' namespaces, in a network that stands for the
    host's."""
    town = jailed_town
    if town.server.is_wheel:
        pytest.skip("the wheel has no tuntap plugin")
    Path(town.root, "router.ini").write_text(
        TUNTAP_ROUTER.format(root=town.root), encoding="utf-8"
    )
    device = ("tuntap-device", f"uwsgi0 {town.root}/tuntap")
    town.put("site.ini", "one", device, *TUNTAP_VASSAL, address="192.168.77.2:8080")
    router = subprocess.Popen(
        ["unshare", "--net", "--", town.server.path, "--ini", f"{town.root}/router.ini"],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    inside = ("nsenter", f"--net=/proc/{router.pid}/ns/net", "--")
    try:
        eventually(lambda: os.path.exists(f"{town.root}/tuntap"))
        with reign(
            emperor_file(town, ALL_BUT_USER), command=(*inside, emperor_program())
        ) as daemon:
            daemon.up("site.ini")
            shown = ""

            def is_answered() -> bool:
                nonlocal shown
                words = (*inside, sys.executable, "-c", ASK, "http://192.168.77.2:8080/")
                shown = subprocess.run(words, capture_output=True, text=True).stdout
                return bool(shown)

            eventually(is_answered)
            assert shown.split()[1] == "20001"
            daemon.stop()
    finally:
        os.killpg(router.pid, signal.SIGKILL)
        router.wait()


def answers_from(host: str) -> bool:
    """Whether the vassal at an address knows that it is there."""
    return f"{host}/24" in asked(host)


def asked(host: str) -> str:
    """What the vassal at an address answers, or nothing."""
    try:
        with socket.create_connection((host, 8080), timeout=2) as channel:
            channel.sendall(b"GET / HTTP/1.0\r\n\r\n")
            parts = []
            while part := channel.recv(4096):
                parts.append(part)
    except OSError:
        return ""
    return b"".join(parts).decode()


def addresses() -> str:
    """All addresses of this machine."""
    return subprocess.run(["ip", "addr"], capture_output=True, text=True, check=True).stdout
