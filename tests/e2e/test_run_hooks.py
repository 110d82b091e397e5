"""Hooks around the life of real vassals: those that run in the vassal's own process."""

import os
import signal
import subprocess
import time

import pytest
from tests.e2e.asking import Control, refused
from tests.e2e.chronicles import Chronicle
from tests.e2e.daemon import OUTPUT, eventually, reign
from tests.e2e.sites import Town
from tests.e2e.test_run_options import as_root

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

#: So long that nobody waits for its end.
LONG_THROTTLE = ("--emperor-throttle", "60000")


def emperor_file(town: Town, *lines: str) -> str:
    """Write the Emperor's file, with these lines behind those of the town (line 4 on)."""
    path = f"{town.root}/emperor.ini"
    head = ("[uwsgi]", f"emperor = {town.vassals}", f"binary-path = {town.server.path}")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join((*head, *lines, "")))
    return path


def may_mount(town: Town) -> bool:
    """Whether this user may mount anything here."""
    place = f"{town.root}/probe"
    os.mkdir(place)
    done = subprocess.run(["mount", "-t", "tmpfs", "none", place], capture_output=True)
    if done.returncode == 0:
        subprocess.run(["umount", place], check=True)
    return done.returncode == 0


def mounts() -> list[str]:
    """Where something is mounted."""
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
        return [row.split()[1] for row in file]


def test_all_run_in_their_order_in_the_process_that_becomes_the_vassal(one_town: Town) -> None:
    town = one_town
    chronicle = Chronicle(town)
    note = chronicle.noting
    town.put("site.ini", "one")
    path = emperor_file(
        town,
        f"exec-as-vassal = {note('last')}",
        "hook-as-vassal = putenv:COLOUR=red and blue",
        f"hook-as-vassal = exec:{note('first')}",
        f"hook-as-vassal = exec:{note('second')}",
        f"vassals-start-hook = {chronicle.program('overridden')}",
        f"vassals-start-hook = {chronicle.program('start')}",
    )
    with reign(path) as daemon:
        pid = daemon.up("site.ini")
        entries = chronicle.until("start", "first", "second", "last")
        assert entries[0].arguments == ("site.ini",)
        assert {entry.arguments for entry in entries[1:]} == {()}
        for entry in entries:
            assert entry.cwd == entry.told["UWSGI_VASSALS_DIR"] == town.vassals
        assert town.get("site.ini", "/env?COLOUR") == "red and blue"
        assert town.get("site.ini", "/env?UWSGI_VASSALS_DIR") == town.vassals
        said = [text for text in daemon.said(OUTPUT) if text.startswith("[emperor] site.ini:")]
        assert [text.split('"')[1].partition(" ")[0] for text in said] == [
            *("vassals-start-hook", "hook-as-vassal", "hook-as-vassal", "hook-as-vassal"),
            "exec-as-vassal",
        ]
        # a reload keeps the process: no hook
        os.utime(town.path("site.ini"))
        daemon.reloaded("site.ini", "touched")
        assert len(chronicle.entries()) == 4
        assert town.get("site.ini", "/env?COLOUR") == "red and blue"
        # a respawn is another one: all of them
        os.kill(pid, signal.SIGKILL)
        daemon.up("site.ini")
        chronicle.until(*("start", "first", "second", "last") * 2)


def test_a_failing_one_keeps_the_program_from_starting_and_is_shown(one_town: Town) -> None:
    town = one_town
    chronicle = Chronicle(town)
    town.put("site.ini", "one")
    control = Control(path=f"{town.root}/control")
    path = emperor_file(
        town,
        f"exec-as-vassal = test -d {town.root}/releases",
        f"exec-as-vassal = {chronicle.noting('after')}",
        "emperor-capture-output = true",
        "emperor-throttle = 60000",
    )
    failure = (
        f'[emperor] site.ini: "exec-as-vassal = test -d {town.root}/releases" failed'
        " (exit code 1): the vassal is not started"
    )
    with reign(path, "--emperor-control", control.path) as daemon:
        daemon.expect("died (exit code 1)", "site.ini", level="warning")
        daemon.expect(failure, OUTPUT)
        assert town.is_down("site.ini")
        assert chronicle.entries() == []
        why = control("why", "site.ini").out
        assert failure in why
        assert "exit code 1" in why
        os.mkdir(f"{town.root}/releases")
        assert control("retry", "--wait", "site.ini").code == 0
        assert town.get("site.ini") == "one"
        chronicle.until("after")


def test_a_failing_start_hook_is_said_and_the_vassal_runs(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    hook = Chronicle(town).program("start", "exit 7")
    with reign(*town.words, "--vassals-start-hook", hook) as daemon:
        daemon.up("site.ini")
        daemon.expect(f'site.ini: "vassals-start-hook = {hook}" exited with 7', OUTPUT)
        assert town.get("site.ini") == "one"


def test_a_hanging_one_is_ended_in_time_and_nobody_else_waits(one_town: Town) -> None:
    town = one_town
    chronicle = Chronicle(town)
    town.put("quick.ini", "quick")
    hang = 'case "$1" in slow.ini) exec sleep 1000;; esac'
    words = ("--vassals-start-hook", chronicle.program("start", hang))
    with reign(*town.words, *words, "--emperor-hook-timeout", "3") as daemon:
        daemon.up("quick.ini")
        town.put("slow.ini", "slow")
        pid = daemon.spawned("slow.ini")
        eventually(lambda: len(chronicle.entries()) == 2)
        began = time.monotonic()
        os.utime(town.path("quick.ini"))
        daemon.expect("touched: reloading", "quick.ini")
        assert time.monotonic() - began < 1.0
        daemon.expect("accepts requests", "quick.ini")
        assert daemon.since("slow.ini") == []  # the hook still hangs
        daemon.expect("exited with 124", OUTPUT)
        daemon.expect("accepts requests", "slow.ini")
        assert (town.get("slow.ini"), pid in daemon.family()) == ("slow", True)


def test_a_hanging_hook_that_must_not_fail_is_the_end_of_its_vassal(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    words = ("--hook-as-vassal", "exec:sleep 1000", "--emperor-hook-timeout", "0.5")
    with reign(*town.words, *words, *LONG_THROTTLE) as daemon:
        daemon.expect("died (exit code 1)", "site.ini")
        daemon.expect("(exit code 124): the vassal is not started", OUTPUT)
        assert not [pid for pid in daemon.family() if _is_sleep(pid)]


def _is_sleep(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            return file.read() == "sleep\n"
    except OSError:
        return False


def test_a_vassal_can_be_taken_away_while_its_hook_hangs(one_town: Town) -> None:
    town = one_town
    chronicle = Chronicle(town)
    town.put("site.ini", "one")
    hook = f"exec:{chronicle.noting('hanging')}; sleep 1000"
    words = ("--hook-as-vassal", hook, "--emperor-curse-tolerance", "1")
    with reign(*town.words, *words) as daemon:
        daemon.spawned("site.ini")
        eventually(lambda: chronicle.labels() == ["hanging"])
        os.unlink(town.path("site.ini"))
        daemon.gone("site.ini")
        eventually(lambda: not [pid for pid in daemon.family() if _is_sleep(pid)])


def test_exit_in_a_hook_is_the_exit_code_of_the_vassal(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    with reign(*town.words, "--hook-as-vassal", "exit:26") as daemon:
        daemon.expect("has left (exit code 26): waiting until its file changes", "site.ini")


def test_actions_of_files_and_directories(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    place = f"{town.root}/made"
    path = emperor_file(
        town,
        f"hook-as-vassal = mkdir:{place}",
        f"hook-as-vassal = chmod:{place} 750",
        f"hook-as-vassal = cd:{place}",
        "hook-as-vassal = writen:greeting hello, world",
        "hook-as-vassal = appendn:greeting again",
        "hook-as-vassal = !putenv:SECRET=swordfish",
        "hook-as-vassal = print:all is made",
    )
    with reign(path) as daemon:
        daemon.up("site.ini")
        with open(f"{place}/greeting", encoding="utf-8") as file:
            assert file.read() == "hello, world\nagain\n"
        assert os.stat(place).st_mode & 0o7777 == 0o750
        assert town.get("site.ini", "/cwd") == place
        assert town.get("site.ini", "/env?SECRET") == "swordfish"
        daemon.expect("all is made", OUTPUT)
        assert not [line for line in daemon.lines if "swordfish" in line.message]


@as_root
def test_mount_and_umount_as_vassal(one_town: Town) -> None:
    town = one_town
    if not may_mount(town):
        pytest.skip("nothing can be mounted here")
    chronicle = Chronicle(town)
    town.put("site.ini", "one")
    for name in ("kept", "brief"):
        os.mkdir(f"{town.root}/{name}")
    path = emperor_file(
        town,
        # whatever the order here: mounts, then umounts, then commands
        f"exec-as-vassal = {chronicle.noting('after')}",
        f"umount-as-vassal = {town.root}/brief",
        f"mount-as-vassal = tmpfs none {town.root}/brief nosuid,nodev size=64k",
        f"mount-as-vassal = tmpfs none {town.root}/kept",
    )
    try:
        with reign(path) as daemon:
            daemon.up("site.ini")
            chronicle.until("after")
            found = [place for place in mounts() if place.startswith(f"{town.root}/")]
            assert found == [f"{town.root}/kept"]
            assert town.get("site.ini") == "one"
    finally:
        subprocess.run(["umount", f"{town.root}/kept"], check=True)


BAD = {
    "hook-as-vassal = explode:now": 'no hook action "explode"',
    "hook-as-emperor = rpc:hello": 'the hook action "rpc" calls into a running uWSGI',
    "hook-as-on-demand-vassal = nothing": "has no colon",
    "hook-as-on-config-vassal = chmod:/tmp": '"chmod" lacks an argument',
    "hook-emperor-start = exit:1": "would end the Emperor",
    "mount-as-vassal = tmpfs": '"mount" lacks an argument',
    "umount-as-emperor = /mnt sideways": '"sideways" is no flag of umount',
    "exec-as-emperor =": "exec",
    "vassals-stop-hook =": "names no program",
}


@pytest.mark.parametrize("line", BAD, ids=[line.partition(" ")[0] for line in BAD])
def test_a_bad_hook_is_refused_with_its_place_before_anything_starts(
    one_town: Town, line: str
) -> None:
    town = one_town
    town.put("site.ini", "one")
    path = emperor_file(town, "master = true", line)
    code, said = refused(path)
    assert code == 1
    assert f"{path}:5:" in said
    assert "error[bad-hook]" in said
    assert BAD[line] in said
    assert town.is_down("site.ini")
