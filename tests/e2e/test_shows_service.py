"""What the daemon says to a service manager, and how it shows itself to the system."""

import os
import signal
import time
from collections.abc import Iterator

import pytest
from tests.e2e.asking import Manager, abstract_name, refused
from tests.e2e.daemon import Daemon, eventually, reign
from tests.e2e.sites import Town
from tests.e2e.test_run_options import as_root

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, one_town: Town) -> Iterator[Manager]:
    """A service manager that listens at either kind of address."""
    is_path = request.param == "path"
    manager = Manager(f"{one_town.root}/notify" if is_path else abstract_name())
    yield manager
    manager.close()


def environ(pid: int) -> dict[str, str]:
    """The environment that a process was started with."""
    with open(f"/proc/{pid}/environ", encoding="utf-8") as file:
        rows = [row.partition("=") for row in file.read().split("\0") if row]
    return {name: value for name, _, value in rows}


def test_the_life_of_a_service(one_town: Town, manager: Manager) -> None:
    town = one_town
    for name in ("one.ini", "two.ini"):
        town.put(name, name)
    environment = {"NOTIFY_SOCKET": manager.address}
    with reign(*town.words, environment=environment) as daemon:
        manager.expect("READY=1")
        manager.expect("STATUS=The Emperor is governing 2 vassals")
        for name in ("one.ini", "two.ini"):
            daemon.up(name)
        town.put("three.ini", "three")
        manager.expect("STATUS=The Emperor is governing 3 vassals")
        daemon.up("three.ini")

        before = time.monotonic_ns() // 1000
        daemon.process.send_signal(signal.SIGHUP)
        first, _, second = manager.expect("RELOADING=1").partition("\n")
        name, _, microseconds = second.partition("=")
        assert (first, name) == ("RELOADING=1", "MONOTONIC_USEC")
        assert before <= int(microseconds) <= time.monotonic_ns() // 1000
        manager.expect("READY=1")
        for vassal in ("one.ini", "two.ini", "three.ini"):
            # it is ready when all vassals are, and no sooner
            _expect_after(daemon, vassal, "touched: reloading")

        os.unlink(town.path("three.ini"))
        manager.expect("STATUS=The Emperor is governing 2 vassals")
        daemon.stop()
        manager.expect("STOPPING=1")
        assert "READY=1" not in manager.rest()
    assert manager.heard.count("READY=1") == 2
    assert manager.heard.count("STOPPING=1") == 1


def _expect_after(daemon: Daemon, vassal: str, text: str) -> None:
    """It accepts requests after it has said that. The log is read by a thread of its own."""

    def is_said() -> bool:
        said = daemon.said(vassal)
        return text in said and "accepts requests" in said[said.index(text) + 1 :]

    eventually(is_said)


def test_ready_is_said_after_the_first_look(one_town: Town) -> None:
    town = one_town
    manager = Manager(f"{town.root}/notify")
    with reign(*town.words, environment={"NOTIFY_SOCKET": manager.address}) as daemon:
        manager.expect("READY=1")
        daemon.stop()
        manager.expect("STOPPING=1")
    manager.close()
    assert [text for text in manager.heard if "STATUS" not in text] == ["READY=1", "STOPPING=1"]


def test_a_reload_of_nobody_is_over_at_once(one_town: Town) -> None:
    manager = Manager(f"{one_town.root}/notify")
    environment = {"NOTIFY_SOCKET": manager.address}
    with reign(*one_town.words, environment=environment) as daemon:
        manager.expect("READY=1")
        daemon.process.send_signal(signal.SIGHUP)
        manager.expect("RELOADING=1")
        manager.expect("READY=1")
    manager.close()


def test_a_reload_is_over_when_one_of_them_fails(one_town: Town) -> None:
    town = one_town
    town.put("well.ini", "well")
    town.put("doomed.ini", "one")
    manager = Manager(f"{town.root}/notify")
    environment = {"NOTIFY_SOCKET": manager.address}
    words = (*town.words, "--emperor-throttle", "60000", "--emperor-freq", "60")
    with reign(*words, environment=environment) as daemon:
        manager.expect("READY=1")
        daemon.up("well.ini")
        daemon.up("doomed.ini")
        town.put_doomed("other.ini")
        daemon.expect("spawning it again in 60 s", "other.ini")
        daemon.process.send_signal(signal.SIGHUP)
        manager.expect("RELOADING=1")
        manager.expect("READY=1")
        _expect_after(daemon, "well.ini", "touched: reloading")
    manager.close()


def test_the_watchdog_hears_of_the_daemon(one_town: Town, manager: Manager) -> None:
    town = one_town
    town.put("site.ini", "one")
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "400000"}
    with reign(*town.words, environment=environment) as daemon:
        for _ in range(3):
            manager.expect("WATCHDOG=1")
        daemon.up("site.ini")
        for _ in range(3):
            manager.expect("WATCHDOG=1")
        os.kill(daemon.pid, signal.SIGSTOP)  # as one that is stuck
        eventually(lambda: not manager.rest())
        os.kill(daemon.pid, signal.SIGCONT)
        manager.expect("WATCHDOG=1")


def test_a_watchdog_for_another_process_hears_nothing(one_town: Town) -> None:
    manager = Manager(f"{one_town.root}/notify")
    environment = {
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": "10000",
        "WATCHDOG_PID": "1",
    }
    with reign(*one_town.words, environment=environment) as daemon:
        manager.expect("READY=1")
        daemon.stop()
    manager.expect("STOPPING=1")
    assert "WATCHDOG=1" not in [*manager.heard, *manager.rest()]
    manager.close()


def test_no_vassal_and_no_hook_gets_what_is_meant_for_the_daemon_alone(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    manager = Manager(f"{town.root}/notify")
    environment = {
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": "10000000",
        "LISTEN_FDS": "1",
        "LISTEN_PID": "1",
        "LISTEN_FDNAMES": "stats",
        "LISTEN_PIDFDID": "1",
        "KEPT": "kept",
    }
    hook = f"env > {town.root}/hook.new && mv {town.root}/hook.new {town.root}/hook"
    words = (*town.words, "--exec-as-emperor", hook)
    with reign(*words, environment=environment) as daemon:
        manager.expect("READY=1")
        pid = daemon.up("site.ini")
        eventually(lambda: os.path.exists(f"{town.root}/hook"))
        with open(f"{town.root}/hook", encoding="utf-8") as file:
            hooks = {row.partition("=")[0] for row in file.read().splitlines()}
        unwanted = set(environment) - {"KEPT"}
        assert (hooks & unwanted, "KEPT" in hooks) == (set(), True)
        for name in unwanted:
            assert town.get("site.ini", f"/env?{name}") == "-", name
        assert town.get("site.ini", "/env?KEPT") == "kept"
        for other in (pid, daemon.compile_server):
            assert not set(environ(other)) & unwanted, other
        # a program of a vassal's that says that it is ready must not speak for the daemon
        town.put("late.ini", "@(exec://printenv NOTIFY_SOCKET || echo none)")
        daemon.up("late.ini")
        assert town.get("late.ini") == "none"
    manager.close()


def test_a_manager_that_does_not_read_holds_nothing_up(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    manager = Manager(f"{town.root}/notify")  # which reads nothing, until its queue is full
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1000"}
    with reign(*town.words, environment=environment) as daemon:
        daemon.up("site.ini")
        town.put("site.ini", "two")
        daemon.reloaded("site.ini", "changed")
        assert town.get("site.ini") == "two"
        daemon.stop()
    manager.close()


def test_ps_shows_the_name_that_it_was_given(one_town: Town) -> None:
    town = one_town
    with reign(*town.words, "--emperor-procname", "emperor of tests") as daemon:
        daemon.expect("governs")
        with open(f"/proc/{daemon.pid}/cmdline", encoding="utf-8") as file:
            assert file.read().rstrip("\0") == "emperor of tests"
        with open(f"/proc/{daemon.pid}/comm", encoding="utf-8") as file:
            assert "emperor of tests".startswith(file.read().strip())


def test_the_pid_is_in_the_emperors_pidfile(one_town: Town) -> None:
    path = f"{one_town.root}/emperor.pid"
    with reign(*one_town.words, "--emperor-pidfile", path) as daemon:
        daemon.expect("governs")
        with open(path, encoding="ascii") as file:
            assert file.read() == f"{daemon.pid}\n"


@as_root
def test_the_pidfile_is_written_as_the_user_that_the_daemon_becomes(one_town: Town) -> None:
    path = f"{one_town.root}/private/emperor.pid"
    os.mkdir(os.path.dirname(path))
    os.chmod(os.path.dirname(path), 0o700)  # root's: the other user may not write there
    words = ("--uid", "65534", "--gid", "65534", "--emperor-pidfile", path)
    code, said = refused(*one_town.words, *words)
    assert (code, "Permission denied" in said, path in said) == (111, True, True)
