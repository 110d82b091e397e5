"""How the whole thing is brought down."""

import os
import signal

import pytest
from tests.e2e.daemon import OUTPUT, eventually, reign, state_of
from tests.e2e.sites import Town, request

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_brings_everything_down(one_town: Town, signum: signal.Signals) -> None:
    town = one_town
    town.put("site.ini", "one")
    town.put("bare.ini", "one", ("master", "false"))
    with reign(*town.words) as daemon:
        daemon.up("site.ini")
        daemon.up("bare.ini")
        assert daemon.stop(signum) < 5
        daemon.expect(f"{signum.name}: bringing all vassals down", level="info")
        assert any("exit code 0" in text for text in daemon.said("site.ini"))
        assert daemon.said("site.ini", "warning", "error") == []


def test_a_second_signal_kills_at_once(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one", ("worker-reload-mercy", "20"))
    with reign(*town.words) as daemon:
        daemon.up("site.ini")
        with request(town.socket("site.ini"), "/busy"):
            daemon.expect("busy", OUTPUT)
            os.kill(daemon.pid, signal.SIGTERM)
            daemon.expect("bringing all vassals down")
            assert daemon.stop(signal.SIGTERM) < 1
            daemon.expect("SIGTERM again: killing what is left", level="warning")


def test_what_ignores_everything_is_killed_after_reload_mercy(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    town.put("polite.ini", "one")
    with reign(*town.words, "--reload-mercy", "2") as daemon:
        pid = daemon.up("site.ini")
        daemon.up("polite.ini")
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: state_of(pid) == "T")
        assert 1.9 < daemon.stop() < 4
        daemon.expect("does not go: killing it", "site.ini", level="warning")
        assert daemon.said("polite.ini", "warning") == []


def test_a_signal_while_vassals_start_compile_reload_and_wait(one_town: Town) -> None:
    town = one_town
    town.put("import.ini", "one", ("wsgi-file", f"{town.root}/endless.py"))
    town.put("compile.ini", "@(exec://echo compiling >&2; sleep 3)")
    town.put("reload.ini", "one")
    town.put("failing.ini", "one", ("wsgi-file", "/nonexistent.py"))
    with reign(*town.words, "--reload-mercy", "2") as daemon:
        daemon.expect("importing", OUTPUT)
        daemon.expect("compiling", OUTPUT)
        daemon.up("reload.ini")
        daemon.expect("spawning it again in", "failing.ini")
        os.utime(town.path("reload.ini"))
        daemon.expect("touched: reloading", "reload.ini")
        assert daemon.stop() < 5


def test_a_signal_with_no_vassals_and_one_before_the_monitors_are_up(one_town: Town) -> None:
    town = one_town
    with reign(*town.words) as daemon:
        daemon.expect("governs")
        assert daemon.stop() < 1
