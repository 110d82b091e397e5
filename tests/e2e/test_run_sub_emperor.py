"""A vassal that is an Emperor itself: uWSGI's own, below the daemon."""

import os
import signal
import time
from collections.abc import Iterable

import pytest
from tests.e2e.daemon import Daemon, eventually, reign, state_of
from tests.e2e.sites import Town, in_format

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

SITES = ("one.ini", "two.ini")


def put_site(town: Town, name: str, greeting: str) -> None:
    """Write the file of one of the sub-emperor's vassals."""
    with open(f"{town.root}/sub/{name}", "w", encoding="utf-8") as file:
        file.write(in_format("ini", [*town.options(name, greeting), ("master", "true")]))


def put_sub_emperor(town: Town) -> None:
    """Write the sub-emperor's file, and those of its vassals."""
    os.mkdir(f"{town.root}/sub")
    for name in SITES:
        put_site(town, name, name)
    options = [("master", "true"), ("emperor", f"{town.root}/sub"), ("emperor-freq", "1")]
    if town.server.is_wheel:
        # what the wheel would start otherwise is a bare interpreter
        options.append(("emperor-wrapper", town.server.path))
    town.write("sub.ini", in_format("ini", options))


def answer(town: Town, name: str, path: str = "/") -> str:
    """What one of the sub-emperor's vassals answers; nothing if it does not."""
    try:
        return town.get(name, path)
    except OSError:
        return ""


def workers(town: Town, daemon: Daemon) -> dict[str, int]:
    """The pid of each site's worker, once all of them answer."""
    pids: dict[str, int] = {}

    def is_up() -> bool:
        found = {name: answer(town, name, "/pid") for name in SITES}
        pids.update({name: int(pid) for name, pid in found.items() if pid})
        return all(found.values())

    eventually(is_up, complaint=lambda: f"not all of {SITES} answer\n{daemon}")
    return pids


def alive(pids: Iterable[int]) -> list[int]:
    """Those that run."""
    return [pid for pid in pids if state_of(pid) not in ("", "Z")]


def test_its_vassals_serve_and_come_and_go(each_town: Town) -> None:
    put_sub_emperor(each_town)
    with reign(*each_town.words) as daemon:
        daemon.spawned("sub.ini")
        workers(each_town, daemon)
        assert [answer(each_town, name) for name in SITES] == list(SITES)
        put_site(each_town, "three.ini", "another")
        eventually(lambda: answer(each_town, "three.ini") == "another")
        os.unlink(f"{each_town.root}/sub/one.ini")
        eventually(lambda: answer(each_town, "one.ini") == "")
        assert answer(each_town, "two.ini") == "two.ini"
        daemon.stop()
        assert daemon.said("sub.ini", "warning", "error") == []


def test_touching_its_file_reloads_it_and_its_vassals(each_town: Town) -> None:
    put_sub_emperor(each_town)
    with reign(*each_town.words) as daemon:
        pid = daemon.spawned("sub.ini")
        before = workers(each_town, daemon)
        os.utime(each_town.path("sub.ini"))
        daemon.expect("touched: reloading", "sub.ini")
        eventually(
            lambda: not alive(before.values()),
            complaint=lambda: f"alive: {before}\n{daemon}",
        )
        after = workers(each_town, daemon)
        assert not set(before.values()) & set(after.values())
        # the same process, and nobody had to kill it
        assert pid in daemon.family()
        assert daemon.said("sub.ini", "warning", "error") == []
        # and it is not deaf afterwards
        put_site(each_town, "three.ini", "another")
        eventually(lambda: answer(each_town, "three.ini") == "another")
        os.utime(each_town.path("sub.ini"))
        daemon.expect("touched: reloading", "sub.ini")
        eventually(lambda: not alive(after.values()))
        workers(each_town, daemon)
        assert daemon.said("sub.ini", "warning", "error") == []


def test_nothing_is_left_when_its_file_is_gone(each_town: Town) -> None:
    put_sub_emperor(each_town)
    each_town.put("plain.ini", "plain")
    with reign(*each_town.words) as daemon:
        pid = daemon.spawned("sub.ini")
        daemon.up("plain.ini")
        workers(each_town, daemon)
        group = {found for found in daemon.family() if os.getpgid(found) == pid}
        assert len(group) >= 2 + 2 * len(SITES)
        os.unlink(each_town.path("sub.ini"))
        daemon.gone("sub.ini")
        eventually(lambda: not alive(group), 1.0, lambda: f"alive: {alive(group)}\n{daemon}")
        for name in SITES:
            assert each_town.is_down(name)
        assert each_town.get("plain.ini") == "plain"


def test_its_vassals_die_with_it_and_come_back_with_it(each_town: Town) -> None:
    put_sub_emperor(each_town)
    with reign(*each_town.words) as daemon:
        pid = daemon.spawned("sub.ini")
        before = workers(each_town, daemon)
        os.kill(pid, signal.SIGKILL)
        assert daemon.spawned("sub.ini") != pid
        # the group was killed before anything was spawned in its place
        assert alive(before.values()) == []
        after = workers(each_town, daemon)
        assert not set(before.values()) & set(after.values())


def test_its_vassals_die_with_the_daemon(each_town: Town) -> None:
    put_sub_emperor(each_town)
    with reign(*each_town.words) as daemon:
        daemon.spawned("sub.ini")
        workers(each_town, daemon)
        began = time.monotonic()
        daemon.kill()
        for name in SITES:
            assert each_town.is_down(name)
        assert time.monotonic() - began < 10.0
