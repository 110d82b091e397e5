"""What counts as a change of a vassal's file, and what does not."""

import os
import subprocess

import pytest
from tests.e2e.daemon import Daemon, reign
from tests.e2e.sites import Town, in_format

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]


def git(directory: str, *words: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *words],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        check=True,
        capture_output=True,
    )


def commit(town: Town, branch: str, files: dict[str, str]) -> None:
    """One more version of the directory: these vassals with these greetings, and no others."""
    git(town.vassals, "checkout", "-q", "-b", branch)
    for name in os.listdir(town.vassals):
        if not name.startswith("."):
            os.unlink(town.path(name))
    for name, greeting in files.items():
        town.put(name, greeting)
    git(town.vassals, "add", "-A")
    git(town.vassals, "commit", "-q", "-m", branch)


def nothing_came_of_it(daemon: Daemon, town: Town, name: str, fence: str) -> bool:
    """Whether a vassal has said nothing by the time that another has been reloaded."""
    os.utime(town.path(fence))
    daemon.reloaded(fence, "touched")
    return daemon.since(name) == []


def test_git_checkout_of_another_version_over_the_directory(one_town: Town) -> None:
    town = one_town
    git(town.vassals, "init", "-q")
    commit(town, "new", {"both.ini": "two", "same.ini": "same", "new.ini": "new"})
    commit(town, "old", {"both.ini": "one", "same.ini": "same", "old.ini": "old"})
    with reign(*town.words) as daemon:
        for name in ("both.ini", "old.ini", "same.ini"):
            daemon.up(name)
        pid = town.get("same.ini", "/pid")

        git(town.vassals, "checkout", "-q", "new")
        daemon.reloaded("both.ini", "changed")
        daemon.up("new.ini")
        daemon.gone("old.ini")
        assert [town.get(f"{name}.ini") for name in ("both", "new", "same")] == [
            "two",
            "new",
            "same",
        ]

        git(town.vassals, "checkout", "-q", "old")
        daemon.reloaded("both.ini", "changed")
        daemon.up("old.ini")
        daemon.gone("new.ini")
        assert town.get("both.ini") == "one"
        assert (town.get("same.ini", "/pid"), daemon.since("same.ini")) == (pid, [])
        spawns = [m for m in daemon.said("both.ini") if m.startswith("spawned")]
        assert len(spawns) == 1


def test_what_is_a_change_and_what_is_not(one_town: Town) -> None:
    town = one_town
    town.put("fence.ini", "fence")
    town.put("site.ini", "one")
    path = town.path("site.ini")
    with reign(*town.words) as daemon:
        daemon.up("fence.ini")
        daemon.up("site.ini")
        before = os.stat(path)

        os.chmod(path, 0o640)
        assert nothing_came_of_it(daemon, town, "site.ini", "fence.ini")

        older = before.st_mtime_ns - 10**12
        os.utime(path, ns=(older, older))  # as a restored backup has it
        daemon.reloaded("site.ini", "touched")

        town.put("site.ini", "two")
        os.utime(path, ns=(older, older))  # same time, other inode
        daemon.expect(": reloading", "site.ini")
        daemon.expect("accepts requests", "site.ini")
        assert town.get("site.ini") == "two"

        with open(path, "r+", encoding="utf-8") as file:  # in place, by somebody slow
            text = file.read().replace("two", "six")
            file.seek(0)
            file.write(text[:20])
            file.flush()
            assert nothing_came_of_it(daemon, town, "site.ini", "fence.ini")
            file.write(text[20:])
        daemon.reloaded("site.ini", "changed")
        assert town.get("site.ini") == "six"


def test_a_file_that_comes_back_at_once_was_never_gone(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    town.put("fence.ini", "fence")
    with reign(*town.words) as daemon:
        daemon.up("site.ini")
        daemon.up("fence.ini")
        os.rename(town.path("site.ini"), f"{town.root}/away")
        os.rename(f"{town.root}/away", town.path("site.ini"))
        assert nothing_came_of_it(daemon, town, "site.ini", "fence.ini")
        assert town.get("site.ini") == "one"


def test_a_symlink_to_a_skeleton(one_town: Town) -> None:
    town = one_town
    options = [
        *town.options("%n", "%n of %(vassal.name)"),
        ("logo", "%d"),
    ]
    skeleton = f"{town.root}/python.skel"
    with open(skeleton, "w", encoding="utf-8") as file:
        file.write(in_format("ini", options))
    for name in ("blog.ini", "shop.ini"):
        os.symlink("../python.skel", town.path(name))
    with reign(*town.words) as daemon:
        for name in ("blog", "shop"):
            daemon.up(f"{name}.ini")
            assert town.get(name) == f"{name} of {name}.ini"
            assert town.get(name, "/opt?logo") == f"{town.vassals}/"

        os.utime(skeleton)  # as uWSGI follows links
        for name in ("blog", "shop"):
            daemon.reloaded(f"{name}.ini", "touched")

        os.utime(
            town.path("blog.ini"), follow_symlinks=False
        )  # the link's own time is nobody's
        os.unlink(town.path("shop.ini"))
        daemon.gone("shop.ini")
        assert town.is_down("shop")
        assert town.get("blog") == "blog of blog.ini"
