"""Vassals that sleep until somebody connects: how they fall asleep, die and are woken."""

import os
import signal

import pytest
from tests.e2e.daemon import OUTPUT, eventually, reign, state_of
from tests.e2e.sites import Town, free_port, get
from tests.e2e.waking import (
    HELD,
    IDLE,
    NAME,
    ON_DEMAND,
    PLAY,
    Crowd,
    answer_to,
    connect,
    is_closed,
    put_address,
    put_played,
    put_sleeper,
    serves,
    waits,
)
from tests.support.bureau import Bureau
from tests.support.stage import UP, Stage

from emperor.runtime.protocol import Order, Word

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]


# -- idle again and again ------------------------------------------------------------------


def test_no_request_is_lost_while_it_falls_asleep_and_wakes_again(each_town: Town) -> None:
    town, bureau = each_town, Bureau(root=each_town.root)
    address, app = f"{town.root}/site.sock", f"{town.root}/held.py"
    with open(app, "w", encoding="utf-8") as file:
        file.write(HELD.format(root=town.root))
    put_sleeper(town, NAME, "awake", *IDLE, ("processes", "2"), ("wsgi-file", app))
    put_address(town, NAME, address)
    crowd = Crowd(address)
    with reign(*town.words, *bureau.words, *ON_DEMAND) as daemon:
        waits(daemon, address)
        crowd.begin("/")
        pids = {daemon.up(NAME)}
        for number in range(3):
            crowd.finish()
            gate = f"{town.root}/gate-{number}"
            # it wants to leave, and before the Emperor answers both workers have a request
            os.kill(daemon.pid, signal.SIGSTOP)
            daemon.expect("workers have been inactive", OUTPUT)
            crowd.begin(f"/held?{gate}", f"/held?{gate}")
            for _ in range(2):
                daemon.expect("held", OUTPUT)
            crowd.begin("/", "/", "/")  # these have to wait for its successor
            os.kill(daemon.pid, signal.SIGCONT)
            for _ in range(2):
                daemon.expect("Gracefully killing worker", OUTPUT)
            with open(gate, "wb"):
                pass
            daemon.expect("has left (exit code 0)", NAME)
            daemon.expect("somebody connects: spawning", NAME)
            pids.add(daemon.up(NAME))
        crowd.finish()
        assert crowd.lost == []
        assert crowd.answers == ["awake"] * (1 + 3 * 5)
        assert len(pids) == 4
        assert daemon.said(NAME, "warning", "error") == []


def test_it_returns_to_listening_when_it_is_idle(each_town: Town) -> None:
    town, bureau = each_town, Bureau(root=each_town.root)
    address = f"127.0.0.1:{free_port()}"
    put_sleeper(town, NAME, "awake", *IDLE)
    put_address(town, NAME, address)
    with reign(*town.words, *bureau.words, *ON_DEMAND) as daemon:
        for _ in range(2):
            waits(daemon, address)
            assert bureau.states() == {NAME: "listening"}
            assert get(address) == "awake"
            pid = daemon.up(NAME)
            daemon.expect("leaves of its own will", NAME, level="info")
            daemon.expect("has left (exit code 0)", NAME)
            assert state_of(pid) == ""
        waits(daemon, address)
        assert bureau.blacklist() == {}


def test_a_reload_keeps_the_socket_and_who_waits_there(one_town: Town, theatre: Stage) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    address = put_played(town)
    with reign(*town.words, *theatre.words, *bureau.words, *ON_DEMAND) as daemon:
        waits(daemon, address)
        with connect(address) as channel:
            puppet = serves(theatre, channel, "one")
        assert "play = it" in puppet.reads()
        town.write(NAME, PLAY.replace("it", "it again"))
        assert puppet.hears() is Order.RELOAD
        with connect(address) as channel:
            puppet.say(Word.WANTS_CONFIG)
            assert "play = it again" in puppet.reads()
            puppet.say(Word.ACCEPTING)
            puppet.answer("two")
            assert answer_to(channel) == "two"
        daemon.expect("accepts requests", NAME)
        assert bureau.vassal(NAME)["pid"] == puppet.pid
        assert len([text for text in daemon.said(NAME) if "waits for" in text]) == 1


# -- deaths and commands -------------------------------------------------------------------


def test_a_loyal_one_that_dies_listens_again_at_once(one_town: Town, theatre: Stage) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    address = put_played(town)
    with reign(*town.words, *theatre.words, *bureau.words, *ON_DEMAND) as daemon:
        waits(daemon, address)
        with connect(address) as channel:
            puppet = serves(theatre, channel, "one")
        eventually(lambda: bureau.vassal(NAME)["loyal"] == 1)
        os.kill(puppet.pid, signal.SIGKILL)
        daemon.expect("died (SIGKILL): spawning it again", NAME, level="warning")
        waits(daemon, address)  # nobody wants it now
        assert bureau.vassal(NAME)["pid"] == -1
        with connect(address) as channel:
            serves(theatre, channel, "two")


def test_a_connection_survives_the_crashes_of_the_one_that_is_to_answer(
    one_town: Town, theatre: Stage
) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    address = put_played(town)
    with reign(*town.words, *theatre.words, *bureau.words, *ON_DEMAND) as daemon:
        waits(daemon, address)
        with connect(address) as channel:
            for attempt in (1, 2):
                theatre.enters(NAME).leave(1)
                daemon.expect("died (exit code 1): spawning it again in 1 s", NAME)
                assert bureau.blacklist() == {NAME: (attempt, 3 * attempt)}
            serves(theatre, channel, "at last")
        eventually(lambda: bureau.blacklist() == {})
        lines = [line for line in daemon.lines if line.vassal == NAME]
        deaths = [line.time for line in lines if "died (" in line.message]
        starts = [line.time for line in lines if "spawned (" in line.message]
        gaps = [start - death for death, start in zip(deaths, starts[1:], strict=True)]
        assert min(gaps) > 0.99


def test_an_operator_wakes_it_and_puts_it_to_rest(one_town: Town, theatre: Stage) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    address = put_played(town)
    with reign(*town.words, *theatre.words, *bureau.words, *ON_DEMAND) as daemon:
        waits(daemon, address)
        assert bureau.emperor("start", NAME)[0] == 0  # without a connection
        puppet = theatre.enters(NAME)
        puppet.say(*UP)
        daemon.expect("accepts requests", NAME)
        with connect(address) as channel:
            puppet.answer("one")
            assert answer_to(channel) == "one"
        assert bureau.emperor("stop", NAME)[0] == 0
        assert puppet.hears() is Order.STOP
        puppet.leave(0)
        daemon.expect("stopped by an operator (exit code 0)", NAME)
        assert (is_closed(address), os.path.exists(address)) == (True, False)
        assert bureau.emperor("start", NAME)[0] == 0
        waits(daemon, address)


def test_sighup_has_a_waiting_one_compiled_and_spawns_nothing(
    one_town: Town, theatre: Stage
) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    address = put_played(town)
    with reign(*town.words, *theatre.words, *bureau.words, *ON_DEMAND) as daemon:
        waits(daemon, address)
        os.kill(daemon.pid, signal.SIGHUP)
        daemon.expect("takes its new config when somebody connects", NAME)
        os.kill(daemon.pid, signal.SIGURG)
        daemon.expect("SIGURG")
        assert bureau.states() == {NAME: "listening"}
        assert daemon.process.poll() is None
        with connect(address) as channel:
            serves(theatre, channel, "one")


def test_one_that_leaves_while_a_connection_waits_is_spawned_again(
    one_town: Town, theatre: Stage
) -> None:
    """It is told to go gracefully: it answers what it has taken, its successor the rest."""
    town = one_town
    address = put_played(town)
    with reign(*town.words, *theatre.words, *ON_DEMAND) as daemon:
        waits(daemon, address)
        with connect(address) as channel:
            puppet = serves(theatre, channel, "one")
        puppet.say(Word.LEAVING)
        assert puppet.hears() is Order.GRACEFUL_STOP
        with connect(address) as taken, connect(address) as waiting:
            puppet.answer("taken a moment before")
            assert answer_to(taken) == "taken a moment before"
            puppet.leave(0)
            serves(theatre, waiting, "successor")
