"""How vassals leave, and whether and when they come back."""

import itertools
import os
import signal

import pytest
from tests.e2e.daemon import OUTPUT, eventually, reign, state_of
from tests.e2e.sites import Town, broken, in_format, request

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

#: What uWSGI says to die with when it wants no successor.
EXILE = "import os\nos._exit(26)\n"


def put_app(town: Town, text: str) -> tuple[str, str]:
    """Write an app; the option that serves it."""
    path = f"{town.root}/other.py"
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return ("wsgi-file", path)


def test_exit_code_26_parks_until_the_file_changes(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one", put_app(town, EXILE))
    with reign(*town.words) as daemon:
        daemon.expect("has left (exit code 26): waiting until its file changes", "site.ini")
        os.chmod(town.path("site.ini"), 0o600)  # this is none
        town.put("fence.ini", "fence")
        daemon.up("fence.ini")
        assert daemon.since("site.ini") == []
        town.put("site.ini", "one")
        daemon.up("site.ini")
        assert town.get("site.ini") == "one"


def test_an_app_that_cannot_be_loaded_is_tried_again_not_too_soon(each_town: Town) -> None:
    town = each_town
    town.put("site.ini", "one", put_app(town, "import nothing_of_that_name\n"))
    with reign(*town.words) as daemon:
        for _ in range(3):
            daemon.expect("died (exit code 22)", "site.ini", level="warning")
        times = [line.time for line in daemon.lines if line.message.startswith("spawned (")]
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert len(gaps) >= 2
        assert min(gaps) > 0.99
        with open(f"{town.root}/app.py", encoding="utf-8") as app:
            put_app(town, app.read())
        daemon.up("site.ini")
        assert town.get("site.ini") == "one"


def test_one_without_a_master_is_restarted_and_stopped_by_signal(each_town: Town) -> None:
    town = each_town
    town.put("site.ini", "one", ("master", "false"))
    with reign(*town.words) as daemon:
        pid = daemon.up("site.ini")
        os.utime(town.path("site.ini"))
        daemon.expect("touched: restarting", "site.ini")
        assert daemon.up("site.ini") != pid
        town.put("site.ini", "two")  # with a master now
        daemon.expect("changed: restarting", "site.ini")
        daemon.up("site.ini")
        os.utime(town.path("site.ini"))
        daemon.reloaded("site.ini", "touched")
        assert town.get("site.ini") == "two"
        town.put("site.ini", "three", ("master", "false"))
        daemon.expect("changed: restarting", "site.ini")
        pid = daemon.up("site.ini")
        assert town.get("site.ini") == "three"
        os.unlink(town.path("site.ini"))
        daemon.gone("site.ini")
        assert (town.is_down("site.ini"), state_of(pid)) == (True, "")


def test_one_that_leaves_when_idle_comes_back_when_touched(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one", ("idle", "1"), ("die-on-idle", "true"))
    with reign(*town.words) as daemon:
        pid = daemon.up("site.ini")
        daemon.expect("leaves of its own will", "site.ini", level="info")
        daemon.expect("waiting until its file changes", "site.ini", level="info")
        assert state_of(pid) == ""
        os.utime(town.path("site.ini"))
        daemon.up("site.ini")
        assert town.get("site.ini") == "one"


def test_a_config_of_several_parts(each_town: Town) -> None:
    town = each_town
    long = [(f"padding-{number}", "x" * 1000) for number in range(150)]
    town.put("site.ini", "one", *long, ("last", "one"))
    with reign(*town.words) as daemon:
        pid = daemon.up("site.ini")
        assert town.get("site.ini", "/opt?last") == "one"
        town.put("site.ini", "two", *long, ("last", "two"))
        daemon.reloaded("site.ini", "changed")
        assert town.get("site.ini", "/opt?last") == "two"
        daemon.hang_up(pid)  # it asks once for all parts
        daemon.expect("accepts requests", "site.ini")
        assert town.get("site.ini", "/opt?last") == "two"
        town.put("site.ini", "three")
        daemon.reloaded("site.ini", "changed")
        assert town.get("site.ini", "/opt?last") == "-"
        assert (town.get("site.ini"), town.get("site.ini", "/opt?padding-7")) == ("three", "-")


def test_many_touches_end_in_what_the_file_says_last(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "0", ("processes", "4"))
    with reign(*town.words) as daemon:
        daemon.up("site.ini")
        for number in range(1, 4):
            town.put("site.ini", str(number), ("processes", "4"))
            daemon.expect("reloading" if number == 1 else "accepts requests", "site.ini")
        town.put("site.ini", "last", ("processes", "4"))
        eventually(lambda: town.get("site.ini") == "last", complaint=lambda: str(daemon))
        assert daemon.said("site.ini", "warning", "error") == []


def test_sighup_reloads_all_vassals_and_wakes_the_parked(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    town.put("parked.ini", "one", put_app(town, EXILE))
    with reign(*town.words) as daemon:
        daemon.up("site.ini")
        daemon.expect("waiting until its file changes", "parked.ini")
        os.kill(daemon.pid, signal.SIGHUP)
        daemon.expect("reloading all vassals")
        daemon.expect(": reloading", "site.ini")
        daemon.expect("accepts requests", "site.ini")
        daemon.spawned("parked.ini")


def test_a_removed_vassal_that_ignores_everything_is_killed(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    with reign(*town.words, "--emperor-curse-tolerance", "1") as daemon:
        pid = daemon.up("site.ini")
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: state_of(pid) == "T")
        os.unlink(town.path("site.ini"))
        daemon.expect("does not go: killing it", "site.ini", level="warning")
        daemon.gone("site.ini")
        assert state_of(pid) == ""


def test_removed_while_importing_its_app_and_while_busy(one_town: Town) -> None:
    town = one_town
    town.put("import.ini", "one", ("wsgi-file", f"{town.root}/endless.py"))
    town.put("busy.ini", "one", ("reload-mercy", "1"), ("worker-reload-mercy", "1"))
    with reign(*town.words, "--emperor-curse-tolerance", "2") as daemon:
        daemon.expect("importing", OUTPUT)
        daemon.up("busy.ini")
        with request(town.socket("busy.ini"), "/busy"):
            daemon.expect("busy", OUTPUT)
            os.unlink(town.path("import.ini"))
            os.unlink(town.path("busy.ini"))
            daemon.gone("import.ini")
            daemon.gone("busy.ini")


def test_a_file_that_comes_back_while_its_vassal_stops(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    with reign(*town.words) as daemon:
        daemon.up("site.ini")
        os.unlink(town.path("site.ini"))
        daemon.expect("its file is gone: stopping", "site.ini")
        town.put("site.ini", "two")
        daemon.up("site.ini")
        assert town.get("site.ini") == "two"


def test_a_program_that_vanishes_is_waited_for(one_town: Town) -> None:
    town = one_town
    program = f"{town.root}/my-uwsgi"
    os.symlink(town.server.path, program)
    town.write("site.ini", in_format("ini", town.options("site.ini", "one")))
    with reign("--emperor", town.vassals, "--binary-path", program) as daemon:
        pid = daemon.up("site.ini")
        os.rename(program, f"{program}.away")
        os.kill(pid, signal.SIGKILL)
        daemon.expect("cannot be spawned", "site.ini", level="error")
        os.rename(f"{program}.away", program)
        daemon.up("site.ini")
        assert town.get("site.ini") == "one"


def test_the_last_good_config_survives_the_daemon(one_town: Town) -> None:
    town = one_town
    words = (*town.words, "--emperor-state-directory", f"{town.root}/state")
    town.put("site.ini", "one")
    with reign(*words) as daemon:
        daemon.up("site.ini")
        town.write("site.ini", broken("ini"))
        daemon.expect("does not compile", "site.ini", level="error")
        daemon.kill()
    with reign(*words) as daemon:
        daemon.expect("does not compile", "site.ini", level="error")
        daemon.expect("last good config", "site.ini", level="warning")
        daemon.up("site.ini")
        assert town.get("site.ini") == "one"
        town.put("site.ini", "two")
        daemon.reloaded("site.ini", "changed")
        assert town.get("site.ini") == "two"
