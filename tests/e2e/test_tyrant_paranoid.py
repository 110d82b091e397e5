"""An Emperor that is a lesser user with setgid and setuid: who holds what, and how all end."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.e2e.daemon import Daemon, eventually, reign, state_of
from tests.e2e.tenants import (
    EMPEROR,
    KINDS,
    Estate,
    estate,
    fields,
    processes_of,
    read,
    rigged,
    vassals_of,
)
from tests.support.marks import needs_root

pytestmark = [pytest.mark.process, pytest.mark.uwsgi, needs_root]

#: setgid (6) and setuid (7), as the kernel shows them.
KEPT = f"{1 << 6 | 1 << 7:016x}"
NONE = "0" * 16
SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")

#: A vassal with two children, none of which minds SIGTERM.
STUBBORN = 'trap "" TERM INT HUP; sleep 100000 & sleep 100000 & echo $$ > {}/up; wait; wait'


@pytest.fixture
def place() -> Iterator[Estate]:
    with estate() as found:
        yield found


@contextmanager
def paranoia(place: Estate) -> Iterator[Daemon]:
    """The Emperor that has kept two capabilities."""
    with reign(
        *place.words, *KINDS["reduced"], command=rigged(place), cwd=place.root
    ) as daemon:
        yield daemon


def put_stubborn(place: Estate, name: str, uid: int) -> None:
    """Write a vassal that has to be killed."""
    text = STUBBORN.format(place.home(uid))
    script = place.script(uid, "stubborn.sh", text)
    place.put(name, uid, ("vassal-exec", script), ("vassal-kill-after", "1"))


def status_of(pid: int) -> dict[str, str]:
    return fields(Path(f"/proc/{pid}/status").read_text())


def test_who_holds_what(place: Estate) -> None:
    uid = place.tenant()
    home = place.home(uid)
    os.mkfifo(f"{home}/gate")
    os.chown(f"{home}/gate", uid, uid)
    script = place.script(uid, "wait.sh", f"echo $PPID > {home}/pid; cat {home}/gate")
    place.put_plain("a.ini", uid, ("x", f"@(exec://exec {script})"))
    with paranoia(place) as daemon:
        worker = int(read(f"{home}/pid"))
        for pid in (daemon.pid, daemon.guardian, daemon.compile_server):
            status = status_of(pid)
            assert status["Uid"].split() == status["Gid"].split() == [str(EMPEROR)] * 4
            assert {name: status[name] for name in SETS} == dict.fromkeys(SETS, KEPT)
            assert status["Groups"] == ""
        status = status_of(worker)
        assert status["Uid"].split() == [str(uid)] * 4
        assert {name: status[name] for name in SETS} == dict.fromkeys(SETS, NONE)
        assert status["NoNewPrivs"] == "1"
        with open(f"{home}/gate", "w", encoding="ascii"):
            pass
        vassal = daemon.spawned("a.ini")
        eventually(lambda: status_of(vassal)["Uid"].split() == [str(uid)] * 4)
        eventually(lambda: os.readlink(f"/proc/{vassal}/exe").endswith("sleep"))
        status = status_of(vassal)
        assert {name: status[name] for name in SETS} == dict.fromkeys(SETS, NONE)


def test_one_that_does_not_want_to_go_is_killed(place: Estate) -> None:
    uid = place.tenant()
    put_stubborn(place, "a.ini", uid)
    with paranoia(place) as daemon:
        daemon.spawned("a.ini")
        read(f"{place.home(uid)}/up")
        assert len(vassals_of(uid)) == 3
        os.unlink(place.path("a.ini"))
        daemon.expect("is gone (SIGKILL)", "a.ini")
        assert vassals_of(uid) == []


def test_what_a_dead_vassal_leaves_is_killed_before_the_next(place: Estate) -> None:
    uid = place.tenant()
    put_stubborn(place, "a.ini", uid)
    with paranoia(place) as daemon:
        pid = daemon.spawned("a.ini")
        read(f"{place.home(uid)}/up")
        before = set(vassals_of(uid))
        os.kill(pid, signal.SIGKILL)
        daemon.spawned("a.ini")
        assert not before & set(vassals_of(uid))


def test_the_daemon_is_killed(place: Estate) -> None:
    """Nothing is left in the time of the bars: no vassal, no worker, no command."""
    stubborn, slow = place.tenant(), place.tenant()
    put_stubborn(place, "a.ini", stubborn)
    command = f"echo $$ > {place.home(slow)}/pid; setsid sleep 1000 & exec sleep 1000"
    place.put_plain("slow.ini", slow, ("x", f"@(exec://{command})"))
    with paranoia(place) as daemon:
        daemon.spawned("a.ini")
        read(f"{place.home(stubborn)}/up")
        read(f"{place.home(slow)}/pid")
        daemon.kill()
        assert processes_of(stubborn) == []
        eventually(lambda: processes_of(slow) == [], 3.0, lambda: f"{processes_of(slow)}")


def test_the_guardian_is_killed(place: Estate) -> None:
    """Its vassals live on, and are killed all the same when it is their turn."""
    uid = place.tenant()
    put_stubborn(place, "a.ini", uid)
    with paranoia(place) as daemon:
        daemon.spawned("a.ini")
        read(f"{place.home(uid)}/up")
        before = vassals_of(uid)
        guardian = daemon.guardian
        os.kill(guardian, signal.SIGKILL)
        daemon.expect("the guardian is dead")
        eventually(lambda: state_of(guardian) == "")
        assert vassals_of(uid) == before
        os.unlink(place.path("a.ini"))
        daemon.expect("is gone (SIGKILL)", "a.ini")
        eventually(lambda: vassals_of(uid) == [])


def test_the_compile_server_is_killed(place: Estate) -> None:
    """Workers and commands go with it."""
    uid = place.tenant()
    mark = f"{place.home(uid)}/pid"
    place.put_plain("slow.ini", uid, ("x", f"@(exec://echo $$ > {mark}; exec sleep 1000)"))
    with paranoia(place) as daemon:
        command = int(read(mark))
        server = daemon.compile_server
        os.unlink(place.path("slow.ini"))
        os.kill(server, signal.SIGKILL)
        daemon.expect("the compile server is gone")
        eventually(lambda: state_of(command) == "")
        eventually(lambda: processes_of(uid) == [])


def test_it_leaves_while_tenants_wait_for_a_worker(place: Estate) -> None:
    """More tenants than workers, all with slow commands: none of these is left."""
    uids = [place.tenant() for _ in range(10)]
    for uid in uids:
        mark = f"{place.home(uid)}/pid"
        place.put_plain(
            f"slow-{uid}.ini", uid, ("x", f"@(exec://echo $$ > {mark}; exec sleep 1000)")
        )
    with paranoia(place) as daemon:
        eventually(lambda: sum(os.path.exists(f"{place.home(u)}/pid") for u in uids) >= 8)
        daemon.stop()
        assert [pid for uid in uids for pid in processes_of(uid)] == []
