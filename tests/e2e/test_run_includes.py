"""Vassals that include other files: which change makes which vassal compile again."""

import itertools
import os
import signal

import pytest
from tests.e2e.daemon import OUTPUT, Daemon, eventually, reign
from tests.e2e.sites import Town, in_format

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]


def put_shared(town: Town, greeting: str) -> str:
    """Write the file that ``site.ini`` includes; its path."""
    path = f"{town.root}/shared.ini"
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(f"[uwsgi]\nshared = {greeting}\n")
    os.rename(f"{path}.new", path)
    return path


def put_site(town: Town, *more: tuple[str, str]) -> None:
    town.put("site.ini", "%(shared)", *more)
    # what is included must be known before it is used
    with open(town.path("site.ini"), encoding="utf-8") as file:
        text = file.read().replace("[uwsgi]\n", f"[uwsgi]\ninclude = {town.root}/shared.ini\n")
    town.write("site.ini", text)


def test_a_broken_vassal_is_tried_again_when_its_include_is_repaired(one_town: Town) -> None:
    town = one_town
    put_site(town)
    with reign(*town.words) as daemon:
        daemon.expect("does not compile", "site.ini", level="error")
        shared = put_shared(town, "one")  # it was missing
        daemon.up("site.ini")
        assert town.get("site.ini") == "one"

        with open(shared, "w", encoding="utf-8") as file:
            file.write(f"[uwsgi]\ninclude = {town.root}/missing.ini\n")
        os.utime(town.path("site.ini"))
        message = daemon.expect("does not compile", "site.ini", level="error")
        assert "missing.ini" in message
        assert town.get("site.ini") == "one"

        put_shared(town, "two")
        daemon.reloaded("site.ini", "changed")
        assert town.get("site.ini") == "two"
        assert len(daemon.said("site.ini", "error")) == 2


def test_a_changed_include_alone_reloads_nothing(one_town: Town) -> None:
    town = one_town
    put_shared(town, "one")
    put_site(town)
    town.put("fence.ini", "fence")
    with reign(*town.words) as daemon:
        pid = daemon.up("site.ini")
        daemon.up("fence.ini")
        put_shared(town, "two")
        os.utime(town.path("fence.ini"))
        daemon.reloaded("fence.ini", "touched")
        assert (town.get("site.ini"), daemon.since("site.ini")) == ("one", [])

        os.kill(pid, signal.SIGKILL)  # but who starts anew starts with what is there
        pid = daemon.up("site.ini")
        assert town.get("site.ini") == "two"

        put_shared(town, "three")
        daemon.hang_up(pid)
        daemon.expect("accepts requests", "site.ini")
        assert town.get("site.ini") == "three"

        with open(town.path("site.ini"), "a", encoding="utf-8") as file:
            file.write("ini = missing.ini\n")
        daemon.expect("does not compile", "site.ini", level="error")
        os.kill(pid, signal.SIGKILL)
        daemon.expect("last good config", "site.ini", level="warning")
        daemon.up("site.ini")
        assert town.get("site.ini") == "three"


def ring(daemon: Daemon, bell: str) -> None:
    """Touch what ``touch-reload`` names until uWSGI has noticed: it does not say from when on
    it looks."""
    dates = itertools.count(int(os.stat(bell).st_mtime) + 1)
    before = len(heard(daemon))

    def is_heard() -> bool:
        os.utime(bell, (date := next(dates), date))
        return len(heard(daemon)) > before

    eventually(is_heard, complaint=lambda: str(daemon))


def heard(daemon: Daemon) -> list[str]:
    """What uWSGI said each time it noticed."""
    return [text for text in daemon.said(OUTPUT) if "has been touched" in text]


def test_touch_reload_and_sighup_of_the_vassals_own(each_town: Town) -> None:
    town = each_town
    bell = put_shared(town, "one")
    put_site(town, ("touch-reload", bell))
    with reign(*town.words) as daemon:
        pid = daemon.up("site.ini")
        daemon.hang_up(pid)
        daemon.expect("accepts requests", "site.ini")
        assert town.get("site.ini") == "one"
        put_shared(town, "two")
        ring(daemon, bell)
        daemon.expect("accepts requests", "site.ini")
        assert town.get("site.ini") == "two"
        ring(daemon, bell)
        daemon.expect("accepts requests", "site.ini")
        assert town.get("site.ini") == "two"
        town.put("site.ini", "three")
        daemon.reloaded("site.ini", "changed")
        assert town.get("site.ini") == "three"
        assert daemon.said("site.ini", "warning", "error") == []


def test_includes_are_followed_where_the_emperor_is_told_to(one_town: Town) -> None:
    town = one_town
    put_shared(town, "one")
    put_site(town)
    with reign(*town.words, "--emperor-watch-includes") as daemon:
        daemon.up("site.ini")
        put_shared(town, "two")
        daemon.reloaded("site.ini", "changed")
        assert town.get("site.ini") == "two"


def test_a_command_whose_answer_changes_is_asked_again(one_town: Town) -> None:
    town = one_town
    put_shared(town, "one")
    town.write(
        "site.ini",
        in_format(
            "ini", town.options("site.ini", f"@(exec://tail -c 4 {town.root}/shared.ini)")
        ),
    )
    with reign(*town.words) as daemon:
        daemon.up("site.ini")
        assert town.get("site.ini") == "one"
        put_shared(town, "two")
        os.utime(town.path("site.ini"))
        daemon.reloaded("site.ini", "changed")
        assert town.get("site.ini") == "two"
