"""Vassals that have sent a heartbeat and send none any more."""

import os
import signal

import pytest
from tests.e2e.daemon import eventually, reign, state_of
from tests.e2e.sites import Town
from tests.support.bureau import Bureau
from tests.support.stage import LOYAL, UP, Stage

from emperor.runtime.protocol import Order, Word

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

RULES = ("--emperor-required-heartbeat", "2", "--emperor-heartbeat-grace", "1")


def test_a_uwsgi_that_hangs_is_asked_to_reload_then_killed_and_spawned_again(
    each_town: Town,
) -> None:
    town, bureau = each_town, Bureau(root=each_town.root)
    town.put("site.ini", "one", ("heartbeat", "1"))
    town.put("other.ini", "other", ("heartbeat", "1"))
    # uWSGI counts whole seconds, so two of its heartbeats may be two seconds apart
    words = (*town.words, *bureau.words, *RULES, "--emperor-required-heartbeat", "3")
    with reign(*words) as daemon:
        pid = daemon.up("site.ini")
        worker = int(town.get("site.ini", "/pid"))
        other = daemon.up("other.ini")
        eventually(lambda: all(found["last_heartbeat"] for found in bureau.stats()["vassals"]))
        os.killpg(pid, signal.SIGSTOP)  # it is the worker that sends them
        daemon.expect("no heartbeat for 3 s: asking it to reload", "site.ini", level="error")
        daemon.expect("shows no life: killing it", "site.ini", level="error")
        assert daemon.up("site.ini") != pid
        assert (state_of(pid), state_of(worker)) == ("", "")
        assert town.get("site.ini") == "one"
        eventually(lambda: bureau.vassal("site.ini")["last_heartbeat"] > 0)
        # who sends them is left alone
        assert bureau.vassal("other.ini")["pid"] == other
        assert daemon.said("other.ini", "warning", "error") == []
        said = {line.message: line.time for line in daemon.lines if line.vassal == "site.ini"}
        asked = said["no heartbeat for 3 s: asking it to reload"]
        assert said["shows no life: killing it"] - asked > 0.99


def test_one_that_answers_the_reload_in_time_is_not_killed(
    one_town: Town, theatre: Stage
) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    town.write("site.ini", "[uwsgi]\nplay = one\n")
    with reign(*town.words, *theatre.words, *bureau.words, *RULES) as daemon:
        puppet = theatre.enters("site.ini")
        assert "play = one" in puppet.reads()
        puppet.say(*LOYAL, Word.HEARTBEAT)
        assert puppet.hears() is Order.RELOAD
        daemon.expect("asking it to reload", "site.ini")
        puppet.say(Word.WANTS_CONFIG)
        assert "play = one" in puppet.reads()
        # it may take longer than the grace to come up: it has shown life
        town.write("fence.ini", "[uwsgi]\nplay = fence\n")
        fence = theatre.enters("fence.ini")
        fence.say(*UP, Word.HEARTBEAT)
        assert fence.hears() is Order.RELOAD
        puppet.say(Word.ACCEPTING)
        daemon.expect("accepts requests", "site.ini")
        found = bureau.vassal("site.ini")
        assert (found["state"], found["pid"]) == ("ready", puppet.pid)
        assert len(daemon.said("site.ini", "warning", "error")) == 1


def test_one_that_never_sent_a_heartbeat_owes_none(one_town: Town, theatre: Stage) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    town.write("mute.ini", "[uwsgi]\nplay = one\n")
    town.write("beats.ini", "[uwsgi]\nplay = one\n")
    words = (*town.words, *theatre.words, *bureau.words)
    with reign(*words, "--emperor-required-heartbeat", "1") as daemon:
        theatre.enters("mute.ini").say(*UP)
        daemon.expect("accepts requests", "mute.ini")
        puppet = theatre.enters("beats.ini")
        puppet.say(*UP, Word.HEARTBEAT)
        assert puppet.hears() is Order.RELOAD
        found = bureau.vassal("mute.ini")
        assert (found["state"], found["last_heartbeat"]) == ("ready", 0)
        assert daemon.said("mute.ini", "warning", "error") == []


def test_one_that_beats_again_before_it_is_killed_lives(one_town: Town, theatre: Stage) -> None:
    """It only was slow: its word shows life, and it has long to do the reload."""
    town, bureau = one_town, Bureau(root=one_town.root)
    for name in ("slow.ini", "fence.ini"):
        town.write(name, "[uwsgi]\nplay = one\n")
    with reign(*town.words, *theatre.words, *bureau.words, *RULES) as daemon:
        puppet, fence = theatre.enters("slow.ini"), theatre.enters("fence.ini")
        for one in (puppet, fence):
            one.say(*UP, Word.HEARTBEAT)
        assert puppet.hears() is Order.RELOAD
        puppet.say(Word.HEARTBEAT)
        # the fence hangs as long as that, and is killed
        daemon.expect("shows no life: killing it", "fence.ini")
        assert bureau.vassal("slow.ini")["state"] == "reloading"
        assert state_of(puppet.pid) not in ("", "Z")


def test_one_without_a_master_that_hangs_is_killed(one_town: Town, theatre: Stage) -> None:
    town = one_town
    town.write("site.ini", "[uwsgi]\nmaster = false\n")
    with reign(*town.words, *theatre.words, "--emperor-required-heartbeat", "1") as daemon:
        puppet = theatre.enters("site.ini")
        puppet.say(*UP, Word.HEARTBEAT)
        daemon.expect("no heartbeat for 1 s: killing it", "site.ini", level="error")
        assert theatre.enters("site.ini").pid != puppet.pid
        assert state_of(puppet.pid) == ""
