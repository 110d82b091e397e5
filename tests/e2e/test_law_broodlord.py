"""Vassals that ask for help, and the instances that they get."""

import os
import signal

import pytest
from tests.e2e.daemon import OUTPUT, Daemon, eventually, reign, state_of
from tests.e2e.sites import Town, free_port, get, request
from tests.support.bureau import Bureau
from tests.support.stage import LOYAL, Puppet, Stage

from emperor.runtime.protocol import Order, Word

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

NAME, ZERG = "lord.ini", "lord.ini:zerg"

PLAY = "[uwsgi]\nplay = lord\n[zerg]\nplay = zerg\n"

#: Answers with its number, or "lord"; /hold answers when somebody writes to the FIFO.
APP = """\
import os, sys

def application(environ, start_response):
    if environ["PATH_INFO"] == "/hold":
        sys.stderr.write("held\\n")
        sys.stderr.flush()
        open("{fifo}").read()
    start_response("200 OK", [])
    return [os.environ.get("UWSGI_BROODLORD_NUM", "lord").encode()]
"""


def put_lord(town: Town, address: str, sos: tuple[str, str]) -> None:
    """A vassal whose zergs attach to its socket; ``sos`` says when it asks for one."""
    with open(f"{town.root}/brood.py", "w", encoding="utf-8") as file:
        file.write(APP.format(fifo=f"{town.root}/fifo"))
    os.mkfifo(f"{town.root}/fifo")
    both = [*town.server.python, ("wsgi-file", f"{town.root}/brood.py"), ("need-app", "true")]
    meeting = f"{town.root}/zergs"
    lord = [("http-socket", address), ("zerg-server", meeting), sos]
    zerg = [("zerg", meeting), ("protocol", "http")]
    idle = [("idle", "1"), ("die-on-idle", "true")]
    sections = (("uwsgi", [*both, *lord]), ("zerg", [*both, *zerg, *idle]))
    text = "".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in options)
        for name, options in sections
    )
    town.write(NAME, text)


def let_go(town: Town) -> None:
    """End what is held."""
    with open(f"{town.root}/fifo", "w", encoding="utf-8"):
        pass


def up(theatre: Stage, daemon: Daemon, name: str, shown: str = "") -> Puppet:
    """The vassal's next process, which serves and is loyal."""
    puppet = theatre.enters(name)
    puppet.say(*LOYAL)
    daemon.expect("accepts requests", shown or name)
    return puppet


def zergs(bureau: Bureau) -> dict[str, str]:
    """The zergs that there are, and their phases."""
    assert all(found["zerg"] == 1 for found in bureau.vassals(ZERG))
    return {found["name"]: found["state"] for found in bureau.vassals(ZERG)}


def test_a_uwsgi_that_is_overloaded_gets_a_zerg_which_leaves_when_it_is_idle(
    each_town: Town,
) -> None:
    town, bureau = each_town, Bureau(root=each_town.root)
    address = f"{town.root}/lord.http"
    put_lord(town, address, ("vassal-sos", "1"))
    with reign(*town.words, *bureau.words, "--emperor-broodlord", "1") as daemon:
        lord = daemon.up(NAME)
        assert get(address) == "lord"
        with request(address, "/hold"):
            daemon.expect("held", OUTPUT)
            daemon.expect("asks for help: spawning lord.ini:zerg:1", NAME)
            pid = daemon.up(f"{ZERG}:1")
            assert get(address) == "1"  # at the lord's own address, whose worker is held
            (found,) = bureau.vassals(ZERG)
            assert (found["zerg"], found["pid"], found["state"]) == (1, pid, "ready")
            assert bureau.vassal(NAME)["zerg"] == 0
            let_go(town)
            daemon.expect("leaves of its own will", f"{ZERG}:1")
            daemon.expect("has left (exit code 0)", f"{ZERG}:1")
        assert (zergs(bureau), state_of(pid)) == ({}, "")
        assert get(address) == "lord"
        found = bureau.vassal(NAME)
        assert (found["pid"], found["state"], found["respawns"]) == (lord, "ready", 0)
        os.kill(daemon.pid, signal.SIGURG)  # gone for good
        daemon.expect("SIGURG")
        assert zergs(bureau) == {}


def test_a_uwsgi_with_a_long_queue_gets_a_zerg_that_works_it_off(one_town: Town) -> None:
    town = one_town
    address = f"127.0.0.1:{free_port()}"
    put_lord(town, address, ("vassal-sos-backlog", "1"))
    with reign(*town.words, "--emperor-broodlord", "1") as daemon:
        daemon.up(NAME)
        with request(address, "/hold"):
            daemon.expect("held", OUTPUT)
            assert get(address) == "1"  # it waits until there is one to answer it
            daemon.expect("asks for help: spawning lord.ini:zerg:1", NAME)
            let_go(town)


def test_there_are_no_more_zergs_than_the_emperor_allows(
    one_town: Town, theatre: Stage
) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    for name in (NAME, "other.ini"):
        town.write(name, PLAY)
    words = (*town.words, *theatre.words, *bureau.words, "--emperor-broodlord", "2")
    with reign(*words) as daemon:
        lord, other = up(theatre, daemon, NAME), up(theatre, daemon, "other.ini")
        assert "UWSGI_BROODLORD_NUM" not in lord.environment
        lord.say(*[Word.WANTS_ZERG] * 5)
        found = [theatre.enters(ZERG), theatre.enters(ZERG)]
        for puppet in found:
            puppet.say(*LOYAL)
        for number in (1, 2):
            daemon.expect("accepts requests", f"{ZERG}:{number}")
        numbers = {puppet.environment["UWSGI_BROODLORD_NUM"] for puppet in found}
        assert numbers == {"1", "2"}
        assert all("play = zerg" in puppet.reads() for puppet in found)
        other.say(Word.WANTS_ZERG)  # one word later: the others are for all lords together
        found[0].say(Word.WANTS_ZERG)  # and a zerg gets none
        lord.say(Word.HEARTBEAT)
        eventually(lambda: bureau.vassal(NAME)["last_heartbeat"] > 0)
        assert zergs(bureau) == {f"{ZERG}:1": "ready", f"{ZERG}:2": "ready"}
        assert len(bureau.stats()["vassals"]) == 4
        # one leaves, and makes place
        found[1].say(Word.LEAVING)
        assert found[1].hears() is Order.GRACEFUL_STOP
        (name,) = (zerg["name"] for zerg in bureau.vassals(ZERG) if zerg["pid"] == found[1].pid)
        found[1].leave(0)
        daemon.expect("has left", name)
        lord.say(Word.WANTS_ZERG)
        third = theatre.enters(ZERG)
        assert third.environment["UWSGI_BROODLORD_NUM"] == "3"


def test_without_broodlord_nobody_gets_a_zerg(one_town: Town, theatre: Stage) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    town.write(NAME, PLAY)
    with reign(*town.words, *theatre.words, *bureau.words) as daemon:
        up(theatre, daemon, NAME).say(Word.WANTS_ZERG, Word.HEARTBEAT)
        eventually(lambda: bureau.vassal(NAME)["last_heartbeat"] > 0)
        assert [found["id"] for found in bureau.stats()["vassals"]] == [NAME]


def test_zergs_go_with_their_file(one_town: Town, theatre: Stage) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    town.write(NAME, PLAY)
    words = (*town.words, *theatre.words, *bureau.words, "--emperor-broodlord", "2")
    with reign(*words) as daemon:
        lord = up(theatre, daemon, NAME)
        lord.say(Word.WANTS_ZERG)
        zerg = up(theatre, daemon, ZERG, f"{ZERG}:1")
        os.unlink(town.path(NAME))
        for puppet in (lord, zerg):
            assert puppet.hears() is Order.STOP
            puppet.leave(0)
        eventually(lambda: bureau.stats()["vassals"] == [], complaint=lambda: str(daemon))


def test_an_edit_reloads_the_lord_and_its_zergs(one_town: Town, theatre: Stage) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    town.write(NAME, PLAY)
    words = (*town.words, *theatre.words, *bureau.words, "--emperor-broodlord", "1")
    with reign(*words) as daemon:
        lord = up(theatre, daemon, NAME)
        lord.say(Word.WANTS_ZERG)
        zerg = up(theatre, daemon, ZERG, f"{ZERG}:1")
        for puppet in (lord, zerg):
            puppet.reads()
        town.write(NAME, "[uwsgi]\nplay = lord 2\n[zerg]\nplay = zerg 2\n")
        for puppet, text in ((lord, "play = lord 2"), (zerg, "play = zerg 2")):
            assert puppet.hears() is Order.RELOAD
            puppet.say(Word.WANTS_CONFIG)
            assert text in puppet.reads()
            puppet.say(Word.ACCEPTING)
        eventually(lambda: set(bureau.states().values()) == {"ready"})


def test_a_zerg_that_dies_comes_back_as_any_vassal(one_town: Town, theatre: Stage) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    town.write(NAME, PLAY)
    words = (*town.words, *theatre.words, *bureau.words, "--emperor-broodlord", "1")
    with reign(*words) as daemon:
        lord = up(theatre, daemon, NAME)
        lord.say(Word.WANTS_ZERG)
        theatre.enters(ZERG).leave(1)
        daemon.expect("died (exit code 1): spawning it again in 1 s", f"{ZERG}:1")
        assert bureau.blacklist() == {ZERG: (1, 3)}
        zerg = up(theatre, daemon, ZERG, f"{ZERG}:1")
        os.kill(zerg.pid, signal.SIGKILL)
        daemon.expect("died (SIGKILL): spawning it again", f"{ZERG}:1")
        up(theatre, daemon, ZERG, f"{ZERG}:1")
        # a lord that dies leaves its zergs alone
        os.kill(lord.pid, signal.SIGKILL)
        up(theatre, daemon, NAME)
        assert zergs(bureau) == {f"{ZERG}:1": "ready"}


def test_a_lord_without_a_zerg_section_gets_none(one_town: Town, theatre: Stage) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    town.write(NAME, "[uwsgi]\nplay = lord\n")
    words = (*town.words, *theatre.words, *bureau.words, "--emperor-broodlord", "1")
    with reign(*words) as daemon:
        lord = up(theatre, daemon, NAME)
        for _ in range(2):  # the place is free again
            lord.say(Word.WANTS_ZERG)
            daemon.expect("asks for help", NAME)
            eventually(lambda: bureau.states() == {NAME: "ready"}, 5.0, lambda: str(daemon))
        town.write(NAME, PLAY)
        assert lord.hears() is Order.RELOAD
        lord.say(Word.WANTS_CONFIG, Word.ACCEPTING)
        eventually(lambda: bureau.states() == {NAME: "ready"})
        lord.say(Word.WANTS_ZERG)
        theatre.enters(ZERG)
