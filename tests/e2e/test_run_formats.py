"""The life of a vassal in each format: added, touched, edited, broken, repaired, removed."""

import os

import pytest
from tests.e2e.daemon import reign
from tests.e2e.sites import FORMATS, Town, broken

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

NAMES = tuple(f"site.{ending}" for ending in FORMATS)


def test_the_life_of_a_vassal_in_each_format(each_town: Town) -> None:
    town = each_town
    with reign(*town.words) as daemon:
        daemon.expect("governs")
        for name in NAMES:
            town.put(name, "one")
        pids = {name: daemon.up(name) for name in NAMES}
        assert {name: town.get(name) for name in NAMES} == dict.fromkeys(NAMES, "one")

        for name in NAMES:
            os.utime(town.path(name))
        for name in NAMES:
            daemon.reloaded(name, "touched")
            assert (town.get(name), town.get(name, "/cwd")) == ("one", town.vassals)

        for name in NAMES:
            town.put(name, "two")
        for name in NAMES:
            daemon.reloaded(name, "changed")
            assert town.get(name) == "two"

        for name in NAMES:
            town.write(name, broken(name.rpartition(".")[2]))
        for name in NAMES:
            message = daemon.expect("does not compile", name, level="error")
            assert "the running instance is left alone" in message
            assert name in message.splitlines()[1]
            assert town.get(name) == "two"

        for name in NAMES:  # still broken, and said already
            os.utime(town.path(name))
        for name in NAMES:
            town.put(name, "three")
        for name in NAMES:
            daemon.reloaded(name, "changed")
            assert town.get(name) == "three"
            assert len(daemon.said(name, "error")) == 1
            assert daemon.said(name, "warning") == []

        for name in NAMES:
            os.unlink(town.path(name))
        for name in NAMES:
            daemon.gone(name)
            assert town.is_down(name)
            spawned = [m for m in daemon.said(name) if m.startswith("spawned")]
            assert spawned == [f"spawned (pid {pids[name]})"]


def test_a_vassal_that_never_compiled_starts_when_it_is_repaired(one_town: Town) -> None:
    town = one_town
    town.write("site.json", broken("json"))
    with reign(*town.words) as daemon:
        message = daemon.expect("does not compile", "site.json", level="error")
        assert "it cannot be started" in message
        town.put("site.json", "one")
        daemon.up("site.json")
        assert town.get("site.json") == "one"
