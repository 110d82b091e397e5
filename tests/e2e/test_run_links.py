"""Vassals behind symbolic links, as deployments and hosting panels lay them out."""

import os

import pytest
from tests.e2e.daemon import Daemon, reign
from tests.e2e.sites import Town, in_format

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]


def write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(f"{path}.new", path)


def link(target: str, path: str) -> None:
    """Make a link, or switch one as ``ln -sfn`` does."""
    os.symlink(target, f"{path}.new")
    os.rename(f"{path}.new", path)


def site(town: Town, name: str, greeting: str) -> str:
    return in_format("ini", town.options(name, greeting))


def nothing_came_of_it(daemon: Daemon, town: Town, name: str, *, reason: str) -> bool:
    """Whether a vassal is left alone; a later event of another one, whose own entry is
    touched, has been told by then."""
    os.utime(town.path("fence.ini"), follow_symlinks=False)
    daemon.reloaded("fence.ini", reason)
    return daemon.since(name) == []


def test_every_link_on_the_way_counts(one_town: Town) -> None:
    town = one_town
    releases = f"{town.root}/releases"
    for number in ("1", "2"):
        write(f"{releases}/{number}/conf/site.ini", site(town, "site", f"release {number}"))
    link("releases/1", f"{town.root}/current")
    link("current/conf", f"{town.root}/conf")
    link("../conf/site.ini", town.path("site.ini"))
    town.put("fence.ini", "fence")
    with reign(*town.words) as daemon:
        daemon.up("site.ini")
        daemon.up("fence.ini")
        assert town.get("site", "/cwd") == town.vassals
        link("releases/2", f"{town.root}/current")  # the deployment's one switch
        daemon.reloaded("site.ini", "changed")
        assert town.get("site") == "release 2"

        write(f"{releases}/1/conf/site.ini", site(town, "site", "nobody reads this"))
        assert nothing_came_of_it(daemon, town, "site.ini", reason="touched")

        write(f"{releases}/2/conf/site.ini", site(town, "site", "release 2b"))
        daemon.reloaded("site.ini", "changed")
        assert town.get("site") == "release 2b"

        link("releases/1/conf", f"{town.root}/conf")  # a link in the middle
        daemon.reloaded("site.ini", "changed")
        assert town.get("site") == "nobody reads this"

        os.unlink(f"{releases}/1/conf/site.ini")
        daemon.gone("site.ini")
        link("current/conf", f"{town.root}/conf")
        daemon.up("site.ini")
        assert town.get("site") == "release 2b"


def test_the_whole_vassal_directory_is_switched(one_town: Town) -> None:
    town = one_town
    for number in ("1", "2"):
        write(f"{town.root}/v{number}/site.ini", site(town, "site", f"set {number}"))
    write(f"{town.root}/v1/old.ini", site(town, "old", "old"))
    write(f"{town.root}/v2/new.ini", site(town, "new", "new"))
    link("v1", f"{town.root}/live")
    words = ("--emperor", f"{town.root}/live", *town.words[2:])
    with reign(*words) as daemon:
        daemon.up("site.ini")
        daemon.up("old.ini")
        link("v2", f"{town.root}/live")
        daemon.up("site.ini")  # restarted: it starts in another directory now
        daemon.up("new.ini")
        daemon.gone("old.ini")
        assert (town.get("site"), town.get("site", "/cwd")) == ("set 2", f"{town.root}/v2")
        assert (town.get("new"), town.is_down("old")) == ("new", True)


def test_nofollow_reloads_the_touched_link_alone(one_town: Town) -> None:
    town = one_town
    skeleton = f"{town.root}/python.skel"
    write(skeleton, in_format("ini", town.options("%n", "one")))
    for name in ("blog.ini", "shop.ini", "fence.ini"):
        link("../python.skel", town.path(name))
    with reign(*town.words, "--emperor-nofollow") as daemon:
        for name in ("blog", "shop", "fence"):
            daemon.up(f"{name}.ini")
            assert town.get(name) == "one"
        write(skeleton, in_format("ini", town.options("%n", "two")))
        # The target is of no interest to those whose link is not touched.
        assert nothing_came_of_it(daemon, town, "shop.ini", reason="changed")
        assert (town.get("fence"), town.get("shop")) == ("two", "one")

        os.utime(town.path("blog.ini"), follow_symlinks=False)
        daemon.reloaded("blog.ini", "changed")
        assert town.get("blog") == "two"
        assert daemon.since("shop.ini") == []

        os.unlink(town.path("blog.ini"))
        daemon.gone("blog.ini")
        assert town.get("shop") == "one"


def test_many_monitors_with_links_between_them(one_town: Town) -> None:
    """available/ and enabled/, as Debian lays them out, and a pattern over all of it."""
    town = one_town
    for name in ("blog", "shop"):
        write(f"{town.root}/available/{name}.ini", site(town, name, "one"))
        os.makedirs(f"{town.root}/enabled", exist_ok=True)
    link("../available/blog.ini", f"{town.root}/enabled/blog.ini")
    monitors = (f"{town.root}/enabled", f"glob://{town.root}/users/*/uwsgi.d/*.ini")
    words = [word for monitor in monitors for word in ("--emperor", monitor)]
    with reign(*words, *town.words[2:]) as daemon:
        daemon.up("blog.ini")
        link("../available/shop.ini", f"{town.root}/enabled/shop.ini")
        daemon.up("shop.ini")
        user = f"{town.root}/users/erika/uwsgi.d/own.ini"
        write(user, site(town, "own", "erika's"))
        daemon.up(user)
        assert [town.get(name) for name in ("blog", "shop", "own")] == ["one", "one", "erika's"]
        write(f"{town.root}/available/shop.ini", site(town, "shop", "two"))
        daemon.reloaded("shop.ini", "changed")
        os.unlink(f"{town.root}/enabled/blog.ini")
        daemon.gone("blog.ini")
        os.rename(f"{town.root}/users/erika", f"{town.root}/users/.erika")
        daemon.gone(user)
        assert (town.is_down("blog"), town.get("shop"), town.is_down("own")) == (
            True,
            "two",
            True,
        )
