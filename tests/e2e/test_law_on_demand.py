"""Vassals that sleep until somebody connects, with real uWSGI and with played ones."""

import os
import signal
import socket
import stat
from collections.abc import Iterator

import pytest
from tests.e2e.daemon import OUTPUT, Daemon, eventually, reign, state_of
from tests.e2e.sites import Town, broken, free_port, get
from tests.e2e.waking import (
    IDLE,
    PATIENCE_SECONDS,
    SLOW,
    Crowd,
    answer_to,
    ask,
    connect,
    is_closed,
    put_address,
    put_sleeper,
    steady_client,
)
from tests.support.bureau import Bureau
from tests.support.stage import LOYAL, UP, Puppet, Stage, stage

from emperor.runtime.protocol import Order, Word

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

ON_DEMAND = ("--emperor-on-demand-extension", ".socket")

#: The name of a vassal, and what a played one does.
NAME, PLAY = "site.ini", "[uwsgi]\nplay = it\n"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def theatre(one_town: Town) -> Iterator[Stage]:
    with stage(one_town.root) as found:
        yield found


def address_of(town: Town, kind: str) -> str:
    """An address that nobody has."""
    if kind == "IPv6":
        with socket.socket(socket.AF_INET6) as probe:
            try:
                probe.bind(("::1", 0))
            except OSError:
                pytest.skip("no IPv6 here")
            return f"[::1]:{probe.getsockname()[1]}"
    return {
        "IPv4": lambda: f"127.0.0.1:{free_port()}",
        "unix": lambda: f"{town.root}/site.sock",
        "abstract": lambda: f"@{town.root}/site",
    }[kind]()


def put_played(town: Town) -> str:
    """A vassal for the stage, and the address where it waits."""
    town.write(NAME, PLAY)
    address = f"{town.root}/site.sock"
    put_address(town, NAME, address)
    return address


def waits(daemon: Daemon, address: str, vassal: str = NAME) -> None:
    """Wait until the vassal waits for a connection."""
    daemon.expect(f"waits for a connection to {address}", vassal)


def connect_now(address: str) -> socket.socket | None:
    """A connection to a unix socket, if there is room for one more."""
    channel = socket.socket(socket.AF_UNIX)
    channel.setblocking(False)
    try:
        channel.connect(address)
    except BlockingIOError:
        channel.close()
        return None
    return channel


def serves(theatre: Stage, channel: socket.socket, text: str) -> Puppet:
    """The process that a connection has woken, after it has answered that."""
    puppet = theatre.enters(NAME)
    puppet.say(*LOYAL)
    puppet.answer(text)
    assert answer_to(channel) == text
    return puppet


# -- the first connection ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["IPv4", "IPv6", "unix", "abstract"])
def test_nothing_runs_before_the_first_connection_which_is_answered(
    one_town: Town, kind: str
) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    address = address_of(town, kind)
    put_sleeper(town, NAME, "good morning")
    put_address(town, NAME, address)
    with reign(*town.words, *bureau.words, *ON_DEMAND) as daemon:
        waits(daemon, address)
        asleep = bureau.vassal(NAME)
        assert (asleep["state"], asleep["pid"], asleep["first_run"]) == ("listening", -1, 0)
        assert (asleep["on_demand"], asleep["accepting"]) == (address, 0)
        assert ask(address) == "good morning"
        pid = daemon.spawned(NAME)
        assert ask(address, "/pid") != str(pid)  # a worker's
        awake = bureau.vassal(NAME)
        assert (awake["state"], awake["pid"], awake["on_demand"]) == ("ready", pid, address)
        daemon.stop()
        assert is_closed(address)


def test_its_process_gets_the_socket_as_standard_input(one_town: Town, theatre: Stage) -> None:
    town = one_town
    address = put_played(town)
    town.write("plain.ini", PLAY)
    with reign(*town.words, *theatre.words, *ON_DEMAND) as daemon:
        plain = theatre.enters("plain.ini")  # it has no such file beside it
        waits(daemon, address)
        with connect(address) as channel:
            puppet = serves(theatre, channel, "by hand")
        ours, theirs = (os.stat(f"/proc/{one.pid}/fd/0") for one in (puppet, plain))
        assert (stat.S_ISSOCK(ours.st_mode), stat.S_ISSOCK(theirs.st_mode)) == (True, False)


# -- where it waits ----------------------------------------------------------------------


def test_an_address_of_its_own_in_a_directory(one_town: Town) -> None:
    town, directory = one_town, f"{one_town.root}/sockets"
    os.mkdir(directory)
    put_sleeper(town, "one.ini", "one")
    put_sleeper(town, "two.ini", "two")
    with reign(*town.words, "--emperor-on-demand-directory", directory) as daemon:
        for stem in ("one", "two"):
            waits(daemon, f"{directory}/{stem}.socket", f"{stem}.ini")
        assert ask(f"{directory}/two.socket") == "two"
        assert daemon.said("one.ini") == [f"waits for a connection to {directory}/one.socket"]
        daemon.stop()
        assert os.listdir(directory) == []


def test_an_address_that_a_command_gives(one_town: Town) -> None:
    town = one_town
    program = f"{town.root}/where"
    with open(program, "w", encoding="utf-8") as file:
        file.write(f'#!/bin/sh\n[ "$1" = plain.ini ] || echo "{town.root}/$1.sock"\n')
    os.chmod(program, 0o755)
    put_sleeper(town, NAME, "one")
    town.put("plain.ini", "plain")
    with reign(*town.words, "--emperor-on-demand-exec", program) as daemon:
        waits(daemon, f"{town.root}/{NAME}.sock")
        daemon.up("plain.ini")  # it prints nothing for that one
        assert town.get("plain.ini") == "plain"
        assert ask(f"{town.root}/{NAME}.sock") == "one"


def test_a_socket_file_is_everybodys_by_default(one_town: Town, theatre: Stage) -> None:
    town = one_town
    address = put_played(town)
    with reign(*town.words, *theatre.words, *ON_DEMAND) as daemon:
        waits(daemon, address)
        status = os.stat(address)
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o666, os.geteuid())


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        (None, (os.geteuid(), os.getegid())),
        pytest.param("nobody", (65534, os.getegid()), marks=as_root),
        pytest.param("nobody:nogroup", (65534, 65534), marks=as_root),
        pytest.param(":nogroup", (os.geteuid(), 65534), marks=as_root),
    ],
)
def test_a_socket_file_has_the_mode_and_the_owner_that_are_wanted(
    one_town: Town, theatre: Stage, owner: str | None, expected: tuple[int, int]
) -> None:
    town = one_town
    address = put_played(town)
    words = (*town.words, *theatre.words, *ON_DEMAND, "--emperor-on-demand-mode", "640")
    if owner is not None:
        words = (*words, "--emperor-on-demand-owner", owner)
    with reign(*words) as daemon:
        waits(daemon, address)
        status = os.stat(address)
        assert (stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)) == (
            0o640,
            expected,
        )


def test_so_many_connections_wait_as_the_backlog_says(one_town: Town, theatre: Stage) -> None:
    town = one_town
    address = put_played(town)
    words = (*town.words, *theatre.words, *ON_DEMAND, "--emperor-on-demand-backlog", "3")
    with reign(*words) as daemon:
        waits(daemon, address)
        waiting = []
        while (channel := connect_now(address)) is not None:
            waiting.append(channel)
        assert len(waiting) == 3 + 1  # Linux has always let one more in
        puppet = theatre.enters(NAME)
        puppet.say(*UP)
        for number, channel in enumerate(waiting):
            puppet.answer(f"number {number}")
            channel.settimeout(PATIENCE_SECONDS)
            assert answer_to(channel) == f"number {number}"


def test_an_address_that_somebody_has_is_taken_when_it_is_free(
    one_town: Town, theatre: Stage
) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    address = put_played(town)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(address)
        other.listen()
        with reign(*town.words, *theatre.words, *bureau.words, *ON_DEMAND) as daemon:
            daemon.expect("cannot listen", NAME, level="error")
            assert bureau.states() == {NAME: "delayed"}
            other.close()
            eventually(lambda: bureau.states() == {NAME: "listening"})
            with connect(address) as channel:
                serves(theatre, channel, "at last")
            assert len(daemon.said(NAME, "error")) == 1


@pytest.mark.xfail(reason="it says that it waits before it knows whether it can", strict=True)
def test_an_address_that_somebody_has_is_tried_again_without_a_word(
    one_town: Town, theatre: Stage
) -> None:
    town = one_town
    address = put_played(town)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(address)
        other.listen()
        with reign(*town.words, *theatre.words, *ON_DEMAND) as daemon:
            daemon.expect("cannot listen", NAME, level="error")
            other.settimeout(PATIENCE_SECONDS)
            for _ in range(3):  # each try knocks
                other.accept()[0].close()
            assert [text for text in daemon.said(NAME) if "waits for" in text] == []


# -- idle again and again ------------------------------------------------------------------


def test_no_request_is_lost_while_it_falls_asleep_and_wakes_again(each_town: Town) -> None:
    town, bureau = each_town, Bureau(root=each_town.root)
    address = f"{town.root}/site.sock"
    app = f"{town.root}/slow.py"
    with open(app, "w", encoding="utf-8") as file:
        file.write(SLOW.replace("app.py", f"{town.root}/app.py"))
    put_sleeper(town, NAME, "awake", *IDLE, ("processes", "2"), ("wsgi-file", app))
    put_address(town, NAME, address)
    crowd = Crowd(address)
    with reign(*town.words, *bureau.words, *ON_DEMAND) as daemon:
        waits(daemon, address)
        pids = set()
        crowd.ask("/")
        for _ in range(3):
            pids.add(daemon.up(NAME))
            # in this very moment it decides to leave, and here they come
            daemon.expect("workers have been inactive", OUTPUT)
            crowd.ask("/", "/slow", "/slow", "/slow")
            while not any("somebody connects" in line.message for line in daemon.since(NAME)):
                crowd.ask("/", "/")
            waits(daemon, address)
        assert crowd.lost == []
        assert set(crowd.answers) == {"awake"}
        assert len(pids) == 3
        assert daemon.said(NAME, "warning", "error") == []
        found = bureau.vassal(NAME)
        assert found["respawns"] >= 3


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


def test_a_steady_client_loses_no_request_to_reloads(one_town: Town) -> None:
    town = one_town
    address = f"{town.root}/site.sock"
    put_sleeper(town, NAME, "one")
    put_address(town, NAME, address)
    with reign(*town.words, *ON_DEMAND) as daemon:
        waits(daemon, address)
        with steady_client(address) as client:
            daemon.up(NAME)
            for greeting in ("two", "three"):
                put_sleeper(town, NAME, greeting)
                daemon.reloaded(NAME, "changed")
            os.utime(town.path(NAME))
            daemon.reloaded(NAME, "touched")
            eventually(lambda: client.answers[-1] == "three")
        assert client.lost == []
        seen = list(dict.fromkeys(client.answers))
        assert seen == ["one", "two", "three"]


# -- while it waits ------------------------------------------------------------------------


def test_an_edit_while_it_waits_is_taken_without_a_process(each_town: Town) -> None:
    town, bureau = each_town, Bureau(root=each_town.root)
    address = f"{town.root}/site.sock"
    put_sleeper(town, NAME, "one")
    put_address(town, NAME, address)
    with reign(*town.words, *bureau.words, *ON_DEMAND) as daemon:
        waits(daemon, address)
        for greeting in ("two", "three"):
            put_sleeper(town, NAME, greeting)
            daemon.expect("takes its new config when somebody connects", NAME, level="info")
        found = bureau.vassal(NAME)
        assert (found["state"], found["pid"], found["first_run"]) == ("listening", -1, 0)
        assert ask(address) == "three"
        daemon.up(NAME)
        put_sleeper(town, NAME, "four")  # now it is awake: a reload like any other
        daemon.reloaded(NAME, "changed")
        assert ask(address) == "four"
        assert not [line for line in daemon.said(NAME) if "died" in line]


def test_a_broken_edit_while_it_waits_leaves_the_last_good_config(each_town: Town) -> None:
    town, bureau = each_town, Bureau(root=each_town.root)
    address = f"{town.root}/site.sock"
    put_sleeper(town, NAME, "good")
    put_address(town, NAME, address)
    with reign(*town.words, *bureau.words, *ON_DEMAND) as daemon:
        waits(daemon, address)
        town.write(NAME, broken("ini"))
        daemon.expect("does not compile", NAME, level="error")
        found = bureau.vassal(NAME)
        assert (found["state"], found["broken"]) == ("listening", 1)
        assert ask(address) == "good"
        daemon.up(NAME)
        put_sleeper(town, NAME, "repaired")
        daemon.reloaded(NAME, "changed")
        assert (ask(address), bureau.vassal(NAME)["broken"]) == ("repaired", 0)


def test_one_that_is_broken_from_the_start_waits_when_it_is_repaired(one_town: Town) -> None:
    town = one_town
    address = f"{town.root}/site.sock"
    town.write(NAME, broken("ini"))
    put_address(town, NAME, address)
    with reign(*town.words, *ON_DEMAND) as daemon:
        daemon.expect("does not compile; it cannot be started", NAME, level="error")
        assert is_closed(address)
        put_sleeper(town, NAME, "repaired")
        waits(daemon, address)
        assert ask(address) == "repaired"


@pytest.mark.parametrize("is_awake", [False, True], ids=["asleep", "awake"])
def test_another_address(one_town: Town, theatre: Stage, is_awake: bool) -> None:
    town = one_town
    old, new = put_played(town), f"{town.root}/other.sock"
    with reign(*town.words, *theatre.words, *ON_DEMAND, "--emperor-nofollow") as daemon:
        waits(daemon, old)
        if is_awake:
            with connect(old) as channel:
                puppet = serves(theatre, channel, "old")
        put_address(town, NAME, new)
        os.utime(town.path(NAME))
        if is_awake:
            daemon.expect("restarting", NAME)
            assert puppet.hears() is Order.STOP
            puppet.leave(0)
        waits(daemon, new)
        assert (is_closed(old), os.path.exists(old)) == (True, False)
        with connect(new) as channel:
            serves(theatre, channel, "new")


@pytest.mark.parametrize("is_awake", [False, True], ids=["asleep", "awake"])
def test_an_address_that_is_taken_away_and_given_back(
    one_town: Town, theatre: Stage, is_awake: bool
) -> None:
    town = one_town
    address = put_played(town)
    with reign(*town.words, *theatre.words, *ON_DEMAND) as daemon:
        waits(daemon, address)
        if is_awake:
            with connect(address) as channel:
                puppet = serves(theatre, channel, "on demand")
        os.unlink(town.path(f"{NAME}.socket"))
        os.utime(town.path(NAME))
        if is_awake:
            assert puppet.hears() is Order.STOP
            puppet.leave(0)
        puppet = theatre.enters(NAME)  # it runs like any other
        puppet.say(*UP)
        daemon.expect("accepts requests", NAME)
        assert not os.path.exists(address)
        put_address(town, NAME, address)
        os.utime(town.path(NAME))
        assert puppet.hears() is Order.STOP
        puppet.leave(0)
        waits(daemon, address)
        with connect(address) as channel:
            serves(theatre, channel, "on demand again")


@pytest.mark.parametrize("is_awake", [False, True], ids=["asleep", "awake"])
def test_the_socket_file_goes_with_the_vassal(
    one_town: Town, theatre: Stage, is_awake: bool
) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    address = put_played(town)
    with reign(*town.words, *theatre.words, *bureau.words, *ON_DEMAND) as daemon:
        waits(daemon, address)
        if is_awake:
            with connect(address) as channel:
                puppet = serves(theatre, channel, "awake")
        os.unlink(town.path(NAME))
        if is_awake:
            assert puppet.hears() is Order.STOP
            puppet.leave(0)
            daemon.gone(NAME)
        eventually(lambda: bureau.stats()["vassals"] == [])
        assert not os.path.exists(address)


def test_an_address_that_makes_no_sense_is_a_diagnostic(one_town: Town) -> None:
    town = one_town
    put_sleeper(town, NAME, "one")
    put_address(town, NAME, "nowhere.example:http")
    with reign(*town.words, *ON_DEMAND) as daemon:
        daemon.expect("does not compile", NAME, level="error")
        put_address(town, NAME, f"{town.root}/site.sock")  # it is looked at, so it is noticed
        waits(daemon, f"{town.root}/site.sock")


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


# -- hooks ---------------------------------------------------------------------------------


def test_hooks_when_it_begins_to_wait_and_when_its_config_changes(
    one_town: Town, theatre: Stage
) -> None:
    town = one_town
    address = put_played(town)
    told = '"$UWSGI_VASSAL_CONFIG in ${UWSGI_VASSALS_DIR##*/}"'
    emperor = f"{town.root}/emperor.ini"
    with open(emperor, "w", encoding="utf-8") as file:
        file.write(
            "[emperor]\n"
            f"hook-as-on-demand-vassal = exec:echo on-demand: {told}\n"
            f"hook-as-on-config-vassal = exec:echo on-config: {told}\n"
        )
    with reign(emperor, *town.words, *theatre.words, *ON_DEMAND) as daemon:
        waits(daemon, address)
        daemon.expect("on-demand: site.ini in vassals", OUTPUT)
        os.utime(town.path(NAME))
        daemon.expect("on-config: site.ini in vassals", OUTPUT)
        with connect(address) as channel:
            puppet = serves(theatre, channel, "one")
        puppet.say(Word.LEAVING)
        puppet.leave(0)
        waits(daemon, address)
        daemon.expect("on-demand: site.ini in vassals", OUTPUT)
        said = [text for text in daemon.said(OUTPUT) if text.startswith("on-")]
        assert said == [
            "on-demand: site.ini in vassals",
            "on-config: site.ini in vassals",
            "on-demand: site.ini in vassals",
        ]
