"""How programs are told to go and to reload, and how they come back."""

import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest
from tests.e2e.daemon import OUTPUT, Daemon, eventually, reign
from tests.e2e.programs import Yard, ready, until, yard
from tests.e2e.sites import get

pytestmark = pytest.mark.process


@pytest.fixture
def place() -> Iterator[Yard]:
    with yard() as found:
        yield found


def answers(place: Yard, name: str) -> bool:
    return bool(place.ask(name)["pid"])


# -- going -------------------------------------------------------------------------------------


def test_a_stop_signal_of_its_own(place: Yard) -> None:
    script = "trap 'echo heard; exit 0' USR1; echo trapped; while :; do sleep 0.1; done"
    place.put(
        "one.ini",
        ("vassal-exec", f'/bin/sh -c "{script}"'),
        ("vassal-stop-signal", "USR1"),
    )
    with reign(*place.words) as daemon:
        daemon.expect("trapped", OUTPUT)
        os.unlink(place.path("one.ini"))
        daemon.expect("heard", OUTPUT)
        daemon.expect("is gone (exit code 0)", "one.ini")


def test_a_program_that_does_not_go_is_killed(place: Yard) -> None:
    place.put_program("deaf.ini", ("vassal-kill-after", "0.5"), words="deaf")
    with reign(*place.words) as daemon:
        ready(daemon, "deaf.ini")
        assert answers(place, "deaf.ini")  # so it is deaf by now
        os.unlink(place.path("deaf.ini"))
        daemon.expect("does not go: killing it", "deaf.ini", level="warning")
        daemon.expect("is gone (SIGKILL)", "deaf.ini")
        until(lambda: not os.path.exists(place.socket("deaf.ini")), daemon)


def test_the_emperor_leaves_a_program_that_does_not_go_no_more_time_than_it_has(
    place: Yard,
) -> None:
    place.put_program("deaf.ini", words="deaf")
    with reign(*place.words, "--reload-mercy", "1") as daemon:
        ready(daemon, "deaf.ini")
        assert answers(place, "deaf.ini")
        assert daemon.stop() < 5


def test_a_program_says_that_it_goes(place: Yard) -> None:
    place.put_program("one.ini")
    with reign(*place.words) as daemon:
        ready(daemon, "one.ini")
        place.ask("one.ini", "/tell?STOPPING=1")
        daemon.expect("leaves of its own will", "one.ini")
        with pytest.raises(ConnectionError):
            place.ask("one.ini", "/exit?0")
        daemon.expect("has left (exit code 0)", "one.ini")
        assert place.control.view("one.ini")["state"] == "parked"
        # it failed on its way out: that is no leaving
        os.utime(place.path("one.ini"))
        ready(daemon, "one.ini")
        place.ask("one.ini", "/tell?STOPPING=1")
        with pytest.raises(ConnectionError):
            place.ask("one.ini", "/exit?3")
        daemon.expect("died (exit code 3)", "one.ini")
        ready(daemon, "one.ini")


def test_a_watchdog_that_is_not_fed(place: Yard) -> None:
    place.put_program("one.ini", ("vassal-heartbeat", "1"), words="ready")
    words = (*place.words, "--emperor-heartbeat-grace", "0.2")
    with reign(*words) as daemon:
        first = ready(daemon, "one.ini")
        environment = place.ask("one.ini")["environment"]
        assert environment["WATCHDOG_USEC"] == "1000000"
        assert environment["WATCHDOG_PID"] == str(first)
        place.ask("one.ini", "/tell?WATCHDOG=1")
        daemon.expect("heartbeat", "one.ini")
        assert ready(daemon, "one.ini") != first


# -- reloading ---------------------------------------------------------------------------------


def test_a_reload_by_signal(place: Yard) -> None:
    ways = (("vassal-reload", "signal"), ("vassal-reload-signal", "USR1"))
    place.put_program("one.ini", *ways)
    with reign(*place.words) as daemon:
        first = ready(daemon, "one.ini")
        answers(place, "one.ini")
        os.utime(place.path("one.ini"))
        daemon.expect("touched: telling it to reload", "one.ini")
        until(lambda: place.ask("one.ini")["heard"] == ["SIGUSR1"], daemon)
        done = place.control("reload", "--wait", "one.ini")
        assert (done.code, done.out) == (0, f"one.ini: ready (pid {first})\n")
        # another environment is nothing that a signal could bring
        place.put_program("one.ini", *ways, ("env", "COLOUR=red"))
        daemon.expect("changed: restarting", "one.ini")
        assert ready(daemon, "one.ini") != first
        assert place.ask("one.ini")["environment"]["COLOUR"] == "red"


def test_a_restart_keeps_the_socket(place: Yard) -> None:
    place.put_program("one.ini", words="first")
    with reign(*place.words) as daemon:
        first = ready(daemon, "one.ini")
        inode = os.stat(place.socket("one.ini")).st_ino
        place.put_program("one.ini", words="second")
        assert place.ask("one.ini")["version"] in ("first", "second")  # whoever it is
        daemon.expect("changed: restarting", "one.ini")
        assert ready(daemon, "one.ini") != first
        assert place.ask("one.ini")["version"] == "second"
        assert os.stat(place.socket("one.ini")).st_ino == inode


def test_stop_start_retry(place: Yard) -> None:
    control = place.control
    place.put_program("one.ini")
    place.put("doomed.ini", ("vassal-exec", "/bin/false"))
    with reign(*place.words, "--emperor-throttle", "60000") as daemon:
        first = ready(daemon, "one.ini")
        done = control("stop", "--wait", "one.ini")
        assert (done.code, done.out) == (0, "one.ini: stopped\n")
        assert state(daemon, first) is None
        done = control("start", "--wait", "one.ini")
        second = ready(daemon, "one.ini")
        assert (done.code, done.out) == (0, f"one.ini: ready (pid {second})\n")
        assert answers(place, "one.ini")
        daemon.expect("died (exit code 1)", "doomed.ini")
        assert control("retry", "doomed.ini").code == 0
        daemon.expect("died (exit code 1)", "doomed.ini")  # and not after a minute


def state(daemon: Daemon, pid: int) -> int | None:
    """The pid, if it still is one of the daemon's."""
    return pid if pid in daemon.family() else None


# -- coming back -------------------------------------------------------------------------------


def test_a_killed_program_comes_back_and_no_connection_is_refused(place: Yard) -> None:
    place.put_program("one.ini")
    refused: list[OSError] = []
    is_over = threading.Event()

    def connect_all_the_time() -> None:
        while not is_over.is_set():
            try:
                with socket.socket(socket.AF_UNIX) as channel:
                    channel.settimeout(10)
                    channel.connect(place.socket("one.ini"))
                    channel.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    channel.recv(1)
            except ConnectionResetError:
                pass  # the one that was being answered
            except OSError as error:
                refused.append(error)

    with reign(*place.words, "--emperor-heal-after", "0") as daemon:
        pids = [ready(daemon, "one.ini")]
        daemon.expect("loyal", "one.ini")
        thread = threading.Thread(target=connect_all_the_time)
        thread.start()
        try:
            for _ in range(3):
                os.kill(pids[-1], signal.SIGKILL)
                daemon.expect("died (SIGKILL): spawning it again", "one.ini")
                pids.append(ready(daemon, "one.ini"))
                assert place.ask("one.ini")["pid"] == pids[-1]
                daemon.expect("loyal", "one.ini")
        finally:
            is_over.set()
            thread.join()
        assert refused == []
        assert len(set(pids)) == 4


def test_a_request_waits_while_nobody_is_there(place: Yard) -> None:
    """Not loyal yet: it waits for a second before it comes back, and so does the request."""
    place.put_program("one.ini")
    with reign(*place.words) as daemon:
        first = ready(daemon, "one.ini")
        os.kill(first, signal.SIGKILL)
        daemon.expect("spawning it again in", "one.ini")
        assert str(first) not in get(place.socket("one.ini"))
        second = ready(daemon, "one.ini")
        eventually(lambda: place.ask("one.ini")["pid"] == second)
