"""Hooks around the life of real vassals: those that the Emperor has done beside them."""

import os
import signal
import subprocess
import time

import pytest
from tests.e2e.chronicles import Chronicle
from tests.e2e.daemon import eventually, reign, state_of
from tests.e2e.sites import Town, get
from tests.e2e.test_run_hooks import emperor_file, may_mount, mounts
from tests.e2e.test_run_options import NOBODY, as_root

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]


def told_of(town: Town, name: str, pid: int) -> dict[str, str]:
    """What a hook is told of a vassal."""
    status = os.stat(town.path(name))
    return {
        "UWSGI_VASSAL_CONFIG": name,
        "UWSGI_VASSAL_PID": str(pid),
        "UWSGI_VASSAL_UID": str(status.st_uid),
        "UWSGI_VASSAL_GID": str(status.st_gid),
        "UWSGI_VASSALS_DIR": town.vassals,
    }


def test_they_run_in_their_order_beside_the_vassal_and_know_it(one_town: Town) -> None:
    town = one_town
    chronicle = Chronicle(town)
    note = chronicle.noting
    town.put("site.ini", "one")
    if os.geteuid() == 0:
        os.chown(town.path("site.ini"), NOBODY, NOBODY - 1)
    path = emperor_file(
        town,
        f"vassals-stop-hook = {chronicle.program('stop')}",
        f"exec-as-emperor = {note('third')}",
        f"hook-as-emperor = exec:{note('first')}",
        f"hook-as-emperor = exec:{note('second')}",
    )
    with reign(path) as daemon:
        pid = daemon.up("site.ini")
        entries = chronicle.until("first", "second", "third")
        for entry in entries:
            assert entry.told == told_of(town, "site.ini", pid)
            assert entry.cwd == town.vassals
            assert entry.pid not in (pid, daemon.pid)
        os.utime(town.path("site.ini"))
        daemon.reloaded("site.ini", "touched")
        assert len(chronicle.entries()) == 3  # a reload keeps the process
        os.kill(pid, signal.SIGKILL)
        second = daemon.up("site.ini")
        eventually(lambda: len(chronicle.entries()) == 7)
        (stop,) = chronicle.entries("stop")
        assert stop.arguments == ("site.ini",)
        assert stop.told == told_of(town, "site.ini", pid)
        assert chronicle.entries()[-1].told["UWSGI_VASSAL_PID"] == str(second)
        daemon.stop()
        stops = chronicle.entries("stop")
        found = [entry.told["UWSGI_VASSAL_PID"] for entry in stops]
        assert found == [str(pid), str(second)]


def test_the_stop_hook_of_the_last_vassal_runs_at_shutdown(one_town: Town) -> None:
    town = one_town
    chronicle = Chronicle(town)
    hook = chronicle.program("stop", '! kill -0 "$UWSGI_VASSAL_PID" 2>/dev/null')
    names = ("one.ini", "two.ini")
    for name in names:
        town.put(name, name)
    with reign(*town.words, "--vassals-stop-hook", hook) as daemon:
        pids = {name: str(daemon.up(name)) for name in names}
        daemon.stop()
        told = [entry.told for entry in chronicle.entries("stop")]
        found = {row["UWSGI_VASSAL_CONFIG"]: row["UWSGI_VASSAL_PID"] for row in told}
        assert (found, len(told)) == (pids, 2)
        for name in names:  # the process was gone when its hook ran
            assert not [text for text in daemon.said(name) if "exited with" in text]
        last = [line.message for line in daemon.lines if line.level][-1]
        assert last == "all vassals are gone: the Emperor leaves"


def test_a_removed_vassals_stop_hook_runs_too(one_town: Town) -> None:
    town = one_town
    chronicle = Chronicle(town)
    town.put("site.ini", "one")
    words = ("--vassals-stop-hook", chronicle.program("stop"))
    with reign(*town.words, *words) as daemon:
        pid = daemon.up("site.ini")
        os.unlink(town.path("site.ini"))
        daemon.gone("site.ini")
        (stop,) = chronicle.until("stop")
        assert stop.told["UWSGI_VASSAL_PID"] == str(pid)


def test_the_emperors_own_hook_runs_once_at_its_start(one_town: Town) -> None:
    town = one_town
    chronicle = Chronicle(town)
    town.put("site.ini", "one")
    hook = f"exec:{chronicle.noting('begun')}"
    with reign(*town.words, "--hook-emperor-start", hook, cwd=town.root) as daemon:
        daemon.up("site.ini")
        (begun,) = chronicle.until("begun")
        assert (begun.cwd, set(begun.told.values())) == (town.root, {"-"})
        os.utime(town.path("site.ini"))
        daemon.reloaded("site.ini", "touched")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.expect("accepts requests", "site.ini")
        daemon.stop()
        assert chronicle.labels() == ["begun"]


def test_hooks_of_a_vassal_on_demand(one_town: Town) -> None:
    town = one_town
    chronicle = Chronicle(town)
    note = chronicle.noting
    address = f"{town.root}/asleep"
    with open(town.path("site.ini.socket"), "w", encoding="ascii") as file:
        file.write(address)

    def put(greeting: str) -> None:
        options = [row for row in town.options("site.ini", greeting) if "socket" not in row[0]]
        rows = [*options, ("protocol", "http"), ("idle", "2"), ("die-on-idle", "true")]
        town.write("site.ini", "[uwsgi]\n" + "".join(f"{k} = {v}\n" for k, v in rows))

    put("one")
    path = emperor_file(
        town,
        "emperor-on-demand-extension = .socket",
        f"hook-as-on-demand-vassal = exec:{note('waits')}",
        f"hook-as-on-config-vassal = exec:{note('edited')}",
        f"exec-as-emperor = {note('spawned')}",
        f"vassals-stop-hook = {chronicle.program('stop')}",
    )
    with reign(path) as daemon:
        daemon.expect("waits for a connection", "site.ini")
        (waits,) = chronicle.until("waits")
        assert waits.told["UWSGI_VASSAL_CONFIG"] == "site.ini"
        assert waits.told["UWSGI_VASSAL_PID"] == "-"  # there is none, and was none
        put("two")
        daemon.expect("takes its new config when somebody connects", "site.ini")
        chronicle.until("waits", "edited")
        assert get(address) == "two"
        daemon.up("site.ini")
        chronicle.until("waits", "edited", "spawned")
        daemon.expect("waits for a connection", "site.ini")  # it has been idle
        chronicle.until("waits", "edited", "spawned", "stop", "waits")


def test_a_hanging_one_is_killed_in_time_and_nobody_waits(one_town: Town) -> None:
    town = one_town
    chronicle = Chronicle(town)
    for name in ("slow.ini", "quick.ini"):
        town.put(name, name)
    slow = f"slow*) {chronicle.noting('hangs')}; sleep 999;;"
    hang = f'exec:case "$UWSGI_VASSAL_CONFIG" in {slow} esac'
    path = emperor_file(town, f"hook-as-emperor = {hang}", "emperor-hook-timeout = 2")
    with reign(path) as daemon:
        daemon.up("slow.ini")  # which does not wait for its hook either
        daemon.up("quick.ini")
        (hangs,) = chronicle.until("hangs")
        for name in ("quick.ini", "slow.ini"):
            began = time.monotonic()
            os.utime(town.path(name))
            daemon.expect("touched: reloading", name)
            assert time.monotonic() - began < 1.0
        daemon.expect("takes more than 2 seconds: killing it", "slow.ini", level="warning")
        eventually(lambda: state_of(hangs.pid) == "")
        assert not [text for text in daemon.said("slow.ini") if "died" in text]


def test_a_failing_one_is_logged_and_changes_nothing(one_town: Town) -> None:
    town = one_town
    chronicle = Chronicle(town)
    town.put("site.ini", "one")
    path = emperor_file(
        town,
        "hook-as-emperor = exec:exit 3",
        f"exec-as-emperor = {chronicle.noting('after')}",
        "hook-emperor-start = exec:exit 4",
        f"vassals-stop-hook = {town.root}/nowhere",
    )
    with reign(path) as daemon:
        daemon.expect('"hook-emperor-start = exec:exit 4" exited with 4', level="warning")
        daemon.up("site.ini")
        chronicle.until("after")
        assert '"hook-as-emperor = exec:exit 3" exited with 3' in daemon.said(
            "site.ini", "warning"
        )
        assert town.get("site.ini") == "one"
        daemon.stop()
        assert any("vassals-stop-hook" in text for text in daemon.said("site.ini", "warning"))


def test_no_shell_reads_a_vassals_name(one_town: Town) -> None:
    town = one_town
    chronicle = Chronicle(town)
    name = "$(touch pwned) `touch pwned`; touch pwned.ini"
    path = emperor_file(
        town,
        f"vassals-start-hook = {chronicle.program('start')}",
        f"vassals-stop-hook = {chronicle.program('stop')}",
        f"exec-as-emperor = {chronicle.noting('beside')}",
    )
    with open(town.path(name), "w", encoding="ascii") as file:
        file.write(f"[uwsgi]\nhttp-socket = {town.root}/odd.http\n")
    with reign(path) as daemon:
        daemon.up(name)
        eventually(lambda: sorted(chronicle.labels()) == ["beside", "start"])
        daemon.stop()
        entries = chronicle.entries()
        assert {entry.told["UWSGI_VASSAL_CONFIG"] for entry in entries} == {name, "-"}
        assert {entry.arguments for entry in chronicle.entries("start", "stop")} == {(name,)}
        assert len(entries) == 3
    assert os.listdir(town.vassals) == [name]


@as_root
def test_mount_and_umount_as_emperor(one_town: Town) -> None:
    town = one_town
    if not may_mount(town):
        pytest.skip("nothing can be mounted here")
    chronicle = Chronicle(town)
    town.put("site.ini", "one")
    for name in ("kept", "brief"):
        os.mkdir(f"{town.root}/{name}")
    path = emperor_file(
        town,
        f"exec-as-emperor = {chronicle.noting('after')}",
        f"umount-as-emperor = {town.root}/brief",
        f"mount-as-emperor = tmpfs none {town.root}/brief",
        f"mount-as-emperor = tmpfs none {town.root}/kept",
    )
    try:
        with reign(path) as daemon:
            daemon.up("site.ini")
            chronicle.until("after")
            found = [place for place in mounts() if place.startswith(f"{town.root}/")]
            assert found == [f"{town.root}/kept"]
            assert daemon.said("site.ini", "warning") == []
    finally:
        subprocess.run(["umount", f"{town.root}/kept"], check=True)
