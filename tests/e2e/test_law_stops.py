"""How vassals are told to go, what happens to those that do not, and who leaves by himself."""

import os
import signal

import pytest
from tests.e2e.daemon import Daemon, eventually, reign, state_of
from tests.e2e.sites import Town, request
from tests.support.bureau import Bureau
from tests.support.stage import LOYAL, Puppet, Stage

from emperor.runtime.protocol import Order, Word

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

PLAY = "[uwsgi]\nplay = it\n"


def up(theatre: Stage, daemon: Daemon, name: str) -> Puppet:
    """The vassal's next process, which serves and is loyal."""
    puppet = theatre.enters(name)
    puppet.say(*LOYAL)
    daemon.expect("accepts requests", name)
    return puppet


@pytest.mark.parametrize(
    ("words", "order"),
    [((), Order.STOP), (("--emperor-graceful-shutdown",), Order.GRACEFUL_STOP)],
    ids=["byte 0", "byte 2 with emperor-graceful-shutdown"],
)
def test_a_removed_vassal_is_told_to_go(
    one_town: Town, theatre: Stage, words: tuple[str, ...], order: Order
) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    town.write("site.ini", PLAY)
    town.write("other.ini", PLAY)
    with reign(*town.words, *theatre.words, *bureau.words, *words) as daemon:
        puppet, other = up(theatre, daemon, "site.ini"), up(theatre, daemon, "other.ini")
        os.unlink(town.path("site.ini"))
        assert puppet.hears() is order
        assert bureau.vassal("site.ini")["cursed"] > 0
        puppet.leave(0)
        daemon.expect("is gone (exit code 0)", "site.ini")
        assert bureau.states() == {"other.ini": "ready"}
        os.kill(daemon.pid, signal.SIGTERM)  # the others are told alike at the end
        daemon.expect("SIGTERM: bringing all vassals down")
        assert other.hears() is order
        other.leave(0)
        assert daemon.process.wait(10.0) == 0


def test_a_graceful_shutdown_lets_a_request_end(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    with reign(*town.words, "--emperor-graceful-shutdown") as daemon:
        pid = daemon.up("site.ini")
        with request(town.socket("site.ini"), "/busy"):
            daemon.expect("busy", "<output>")
            os.unlink(town.path("site.ini"))
            daemon.expect("its file is gone: stopping", "site.ini")
            daemon.expect("graceful shutdown triggered", "<output>")
            assert state_of(pid) not in ("", "Z")


def test_one_that_does_not_go_is_killed_with_its_group(one_town: Town, theatre: Stage) -> None:
    town = one_town
    town.write("site.ini", PLAY)
    words = (*town.words, *theatre.words, "--emperor-curse-tolerance", "1")
    with reign(*words) as daemon:
        puppet = up(theatre, daemon, "site.ini")
        os.unlink(town.path("site.ini"))
        assert puppet.hears() is Order.STOP  # and it does nothing
        daemon.expect("does not go: killing it", "site.ini", level="warning")
        daemon.expect("is gone (SIGKILL)", "site.ini")
        lines = {line.message: line.time for line in daemon.lines if line.vassal == "site.ini"}
        told = lines["its file is gone: stopping"]
        assert 0.99 < lines["does not go: killing it"] - told < 3.0
        assert state_of(puppet.pid) == ""


def test_one_without_a_master_gets_sigterm_too(one_town: Town, theatre: Stage) -> None:
    town = one_town
    town.write("site.ini", "[uwsgi]\nmaster = false\n")
    with reign(*town.words, *theatre.words) as daemon:
        puppet = up(theatre, daemon, "site.ini")
        os.unlink(town.path("site.ini"))
        assert puppet.signalled() == signal.SIGTERM
        daemon.expect("is gone (exit code 0)", "site.ini")


def test_a_uwsgi_without_a_master_stops_at_once(each_town: Town) -> None:
    town = each_town
    town.put("site.ini", "one", ("master", "false"))
    with reign(*town.words) as daemon:
        pid = daemon.up("site.ini")
        os.unlink(town.path("site.ini"))
        daemon.expect("its file is gone: stopping", "site.ini")
        daemon.expect("is gone (", "site.ini", seconds=5.0)
        assert state_of(pid) == ""
        assert daemon.said("site.ini", "warning", "error") == []


def test_byte_22_leaves_for_good_until_its_file_is_touched(
    one_town: Town, theatre: Stage
) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    town.write("site.ini", PLAY)
    with reign(*town.words, *theatre.words, *bureau.words) as daemon:
        puppet = up(theatre, daemon, "site.ini")
        puppet.say(Word.LEAVING)
        assert puppet.hears() is Order.STOP
        puppet.leave(0)
        daemon.expect("waiting until its file changes", "site.ini", level="info")
        os.kill(daemon.pid, signal.SIGURG)  # it has not failed: there is nothing to retry
        daemon.expect("SIGURG")
        assert bureau.emperor("retry", "--wait", "site.ini")[0] == 0
        found = bureau.vassal("site.ini")
        assert (found["state"], found["pid"]) == ("parked", -1)
        assert found["last_exit"] == "exit code 0"
        assert bureau.blacklist() == {}
        os.utime(town.path("site.ini"))
        up(theatre, daemon, "site.ini")


def test_byte_22_and_then_silence_is_the_end_of_the_curse_tolerance(
    one_town: Town, theatre: Stage
) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    town.write("site.ini", PLAY)
    words = (*town.words, *theatre.words, *bureau.words, "--emperor-curse-tolerance", "1")
    with reign(*words) as daemon:
        up(theatre, daemon, "site.ini").say(Word.LEAVING)
        daemon.expect("leaves of its own will", "site.ini")
        daemon.expect("does not go: killing it", "site.ini")
        daemon.expect("waiting until its file changes", "site.ini")
        assert bureau.vassal("site.ini")["state"] == "parked"


@pytest.mark.parametrize("is_graceful", [False, True])
def test_one_that_exits_with_26_or_says_22_comes_back_when_it_is_started(
    one_town: Town, theatre: Stage, is_graceful: bool
) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    town.write("site.ini", PLAY)
    with reign(*town.words, *theatre.words, *bureau.words) as daemon:
        puppet = up(theatre, daemon, "site.ini")
        if is_graceful:
            puppet.say(Word.LEAVING)
        puppet.leave(0 if is_graceful else 26)
        daemon.expect("waiting until its file changes", "site.ini")
        assert bureau.emperor("start", "site.ini")[0] == 0
        up(theatre, daemon, "site.ini")


def test_an_operator_stops_it_until_one_starts_it(one_town: Town, theatre: Stage) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    town.write("site.ini", PLAY)
    with reign(*town.words, *theatre.words, *bureau.words) as daemon:
        puppet = up(theatre, daemon, "site.ini")
        assert bureau.emperor("stop", "site.ini")[0] == 0
        assert puppet.hears() is Order.STOP
        puppet.leave(0)
        daemon.expect("stopped by an operator (exit code 0)", "site.ini")
        os.utime(town.path("site.ini"))  # nobody has started it yet
        os.kill(daemon.pid, signal.SIGHUP)
        daemon.expect("SIGHUP")
        town.write("fence.ini", PLAY)
        up(theatre, daemon, "fence.ini")
        assert bureau.states()["site.ini"] == "parked"
        assert bureau.emperor("start", "site.ini")[0] == 0
        up(theatre, daemon, "site.ini")
        eventually(lambda: bureau.states()["site.ini"] == "ready")
