"""Somebody is killed: a vassal, the daemon, the guardian, the compile server."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

import pytest
from tests.e2e.daemon import OUTPUT, Daemon, eventually, reign
from tests.e2e.sites import Town, free_port, get, is_down, request

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

NOBODY = (("uid", "nobody"), ("gid", "nogroup"))
KINDS = ("idle", "importing", "busy")
ACCUSED = (f"{kind}-nobody.ini" for kind in KINDS)
NAMES = tuple(f"{kind}.ini" for kind in KINDS) + (tuple(ACCUSED) if os.geteuid() == 0 else ())


def populate(town: Town) -> None:
    """One vassal of each kind, and, where we are root, one of each that becomes nobody."""
    for name in NAMES:
        more = NOBODY if "nobody" in name else ()
        if name.startswith("importing"):
            more = (*more, ("wsgi-file", f"{town.root}/endless.py"))
        town.put(name, name, ("processes", "2"), *more)


@contextlib.contextmanager
def at_work(daemon: Daemon, town: Town) -> Iterator[None]:
    """Every vassal is in the midst of what its name says."""
    with contextlib.ExitStack() as stack:
        for name in NAMES:
            daemon.spawned(name)
            if name.startswith("importing"):
                daemon.expect("importing", OUTPUT)
            else:
                daemon.expect("accepts requests", name)
            if name.startswith("busy"):
                stack.enter_context(request(town.socket(name), "/busy"))
                daemon.expect("busy", OUTPUT)
        yield


def test_a_master_is_killed_while_its_worker_is_busy(each_town: Town) -> None:
    town = each_town
    address = f"127.0.0.1:{free_port()}"
    town.put("site.ini", "one", address=address)
    with reign(*town.words) as daemon:
        first = daemon.up("site.ini")
        with request(address, "/busy"):
            daemon.expect("busy", OUTPUT)
            os.kill(first, signal.SIGKILL)
            daemon.expect("died (SIGKILL)", "site.ini", level="warning")
            second = daemon.up("site.ini")
        assert get(address) == "one"
        with pytest.raises(ProcessLookupError):
            os.killpg(first, 0)
        os.unlink(town.path("site.ini"))
        daemon.gone("site.ini")
        assert is_down(address)
        assert second != first


def test_the_daemon_is_killed_and_everything_dies(each_town: Town) -> None:
    town = each_town
    populate(town)
    with reign(*town.words) as daemon, at_work(daemon, town):
        daemon.kill()
        assert all(town.is_down(name) for name in NAMES)


def test_the_guardian_is_killed_and_another_guards_its_vassals(one_town: Town) -> None:
    town = one_town
    populate(town)
    with reign(*town.words) as daemon, at_work(daemon, town):
        first = daemon.guardian
        os.kill(first, signal.SIGKILL)
        daemon.expect("the guardian is dead", level="error")
        assert town.get("idle.ini") == "idle.ini"

        town.put("late.ini", "late")  # the new one spawns
        daemon.up("late.ini")
        second = daemon.guardian
        assert second != first

        town.put("idle.ini", "idle still")  # and the old ones are governed as before
        daemon.reloaded("idle.ini", "changed")
        assert town.get("idle.ini") == "idle still"
        os.unlink(town.path("idle.ini"))
        daemon.gone("idle.ini")
        assert town.is_down("idle.ini")

        daemon.kill()
        assert all(town.is_down(name) for name in (*NAMES, "late.ini"))


def test_an_adopted_vassal_dies_and_is_spawned_again(one_town: Town) -> None:
    town = one_town
    address = f"127.0.0.1:{free_port()}"
    town.put("site.ini", "one", address=address)
    with reign(*town.words) as daemon:
        pid = daemon.up("site.ini")
        os.kill(daemon.guardian, signal.SIGKILL)
        daemon.expect("the guardian is dead")
        with request(address, "/busy"):
            daemon.expect("busy", OUTPUT)
            os.kill(pid, signal.SIGKILL)
            daemon.expect("died (SIGKILL)", "site.ini")
            daemon.up("site.ini")
        assert get(address) == "one"
        assert daemon.stop() < 10


def test_the_guardian_is_killed_twice_and_the_end_is_peaceful(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    with reign(*town.words) as daemon:
        daemon.up("site.ini")
        for _ in range(2):
            os.kill(daemon.guardian, signal.SIGKILL)
            daemon.expect("the guardian is dead")
        assert town.get("site.ini") == "one"
        daemon.stop()


def test_the_compile_server_is_killed_and_the_next_touch_works(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    town.put("slow.ini", "@(exec://echo compiling >&2; sleep 2; echo slow)")
    with reign(*town.words) as daemon:
        daemon.expect("compiling", OUTPUT)
        os.kill(daemon.compile_server, signal.SIGKILL)
        daemon.expect("the compile server is gone", level="error")
        daemon.up("slow.ini")  # what it was busy with is asked again
        if not daemon.said("site.ini"):
            daemon.up("site.ini")
        assert (town.get("slow.ini"), town.get("site.ini")) == ("slow", "one")
        os.kill(daemon.compile_server, signal.SIGKILL)
        daemon.expect("the compile server is gone", level="error")
        town.put("site.ini", "two")
        daemon.reloaded("site.ini", "changed")
        assert town.get("site.ini") == "two"


def test_all_helpers_are_killed_at_once(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    with reign(*town.words) as daemon:
        daemon.up("site.ini")
        for pid in (daemon.compile_server, daemon.guardian):
            os.kill(pid, signal.SIGKILL)
        daemon.expect("the guardian is dead")
        eventually(lambda: bool(daemon.said("", "error")[1:]))
        town.put("site.ini", "two")
        daemon.reloaded("site.ini", "changed")
        assert town.get("site.ini") == "two"
        daemon.kill()


@pytest.mark.parametrize(
    "end", [Daemon.kill, Daemon.stop, Daemon.end], ids=lambda f: f.__name__
)
def test_an_endless_command_does_not_outlive_the_daemon(
    one_town: Town, end: Callable[[Daemon], object]
) -> None:
    town = one_town
    town.put("site.ini", "@(exec://echo compiling >&2; exec sleep 1000)")
    with reign(*town.words) as daemon:
        daemon.expect("compiling", OUTPUT)
        end(daemon)
