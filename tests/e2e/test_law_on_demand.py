"""Vassals that sleep until somebody connects: the first connection, and where they wait."""

import os
import socket
import stat

import pytest
from tests.e2e.daemon import eventually, reign
from tests.e2e.sites import Town, free_port
from tests.e2e.waking import (
    NAME,
    ON_DEMAND,
    PATIENCE_SECONDS,
    PLAY,
    answer_to,
    ask,
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

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


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
