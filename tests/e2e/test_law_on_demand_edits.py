"""Vassals that sleep until somebody connects: what becomes of edits, and their hooks."""

import os

import pytest
from tests.e2e.daemon import OUTPUT, eventually, reign
from tests.e2e.sites import Town, broken
from tests.e2e.waking import (
    NAME,
    ON_DEMAND,
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

from emperor.runtime.protocol import Order, Word

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]


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
