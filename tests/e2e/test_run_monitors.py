"""Where vassals come from: patterns, several monitors, one name in two of them."""

import os

import pytest
from tests.e2e.daemon import reign
from tests.e2e.sites import Town, in_format

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]


def put_site(town: Town, place: str, greeting: str) -> str:
    """An app with a vassal file of its own beside it; the file's path."""
    directory = f"{town.root}/apps/{place}"
    os.makedirs(directory, exist_ok=True)
    path = f"{directory}/site.ini"
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(in_format("ini", town.options(place, greeting)))
    os.rename(f"{path}.new", path)
    return path


def test_a_pattern_finds_vassals_and_leaves_the_directory_alone(one_town: Town) -> None:
    town = one_town
    blog = put_site(town, "blog", "one")
    words = ("--emperor", f"glob://{town.root}/apps/*/site.ini", *town.words[2:])
    with reign(*words, cwd=town.root) as daemon:
        daemon.up(blog)
        assert (town.get("blog"), town.get("blog", "/cwd")) == ("one", town.root)
        shop = put_site(town, "shop", "two")
        daemon.up(shop)
        put_site(town, "blog", "three")
        daemon.reloaded(blog, "changed")
        assert (town.get("blog"), town.get("shop")) == ("three", "two")
        os.unlink(blog)
        daemon.gone(blog)
        assert town.is_down("blog")


def test_one_name_in_two_monitors_is_two_vassals(one_town: Town) -> None:
    town = one_town
    for place in ("blog", "shop"):
        put_site(town, place, place)
    monitors = [f"{town.root}/apps/{place}" for place in ("blog", "shop")]
    words = ("--emperor", monitors[0], "--emperor", f"dir://{monitors[1]}", *town.words[2:])
    with reign(*words) as daemon:
        names = [f"{monitors[0]}//site.ini", f"dir://{monitors[1]}//site.ini"]
        for name in names:
            daemon.up(name)
        assert [town.get(place) for place in ("blog", "shop")] == ["blog", "shop"]
        assert town.get("shop", "/cwd") == monitors[1]
        put_site(town, "shop", "two")
        daemon.reloaded(names[1], "changed")
        assert daemon.since(names[0]) == []
        os.unlink(f"{monitors[1]}/site.ini")
        daemon.gone(names[1])
        assert (town.get("blog"), town.is_down("shop")) == ("blog", True)


def test_the_whole_directory_goes_and_comes_back(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    with reign(*town.words) as daemon:
        daemon.up("site.ini")
        os.rename(town.vassals, f"{town.root}/away")
        daemon.gone("site.ini")
        os.rename(f"{town.root}/away", town.vassals)
        daemon.up("site.ini")
        assert town.get("site.ini") == "one"
