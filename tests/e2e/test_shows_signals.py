"""What the daemon does at each signal."""

import os
import signal
import time

import pytest
from tests.e2e.asking import stats, until_stats
from tests.e2e.daemon import eventually, reign, state_of
from tests.e2e.sites import Town, get, in_format

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

#: So long that nobody waits for its end.
LONG_THROTTLE = ("--emperor-throttle", "60000")


def test_sighup_reloads_what_runs_and_compiles_what_listens(one_town: Town) -> None:
    town = one_town
    included = f"{town.root}/included.ini"
    with open(included, "w", encoding="ascii") as file:
        file.write("[uwsgi]\n")
    for name in ("one.ini", "two.ini"):
        town.put(name, name)
    address = f"{town.root}/asleep"
    with open(town.path("asleep.ini.socket"), "w", encoding="ascii") as file:
        file.write(address)
    options = [option for option in town.options("asleep.ini", "") if "socket" not in option[0]]
    options = [(k, v) for k, v in options if k != "greeting"]
    options += [("protocol", "http"), ("include", included)]
    town.write("asleep.ini", in_format("ini", options))
    with reign(*town.words, "--emperor-on-demand-extension", ".socket") as daemon:
        pids = [daemon.up("one.ini"), daemon.up("two.ini")]
        daemon.expect("waits for a connection", "asleep.ini")
        with open(included, "w", encoding="ascii") as file:
            file.write("[uwsgi]\ngreeting = awake\n")  # only a compile can know of it
        daemon.process.send_signal(signal.SIGHUP)
        daemon.expect("SIGHUP: reloading all vassals")
        daemon.expect("takes its new config when somebody connects", "asleep.ini")
        for name in ("one.ini", "two.ini"):
            daemon.reloaded(name, "touched")
        assert daemon.family() >= set(pids)
        assert not [text for text in daemon.said("asleep.ini") if "spawn" in text]
        assert get(address) == "awake"
        daemon.up("asleep.ini")


def test_sigusr1_writes_the_status_of_every_vassal_to_the_log(one_town: Town) -> None:
    town = one_town
    town.put("well.ini", "well")
    town.put_doomed("doomed.ini")
    town.write("broken.ini", "[uwsgi]\nini = missing.ini\n")
    with reign(*town.words, *LONG_THROTTLE, "--log-level", "debug") as daemon:
        pid = daemon.up("well.ini")
        daemon.expect("died", "doomed.ini")
        daemon.expect("does not compile", "broken.ini")
        daemon.process.send_signal(signal.SIGUSR1)
        well = daemon.expect("pid", "well.ini", level="info")
        assert well.startswith(f"ready, pid {pid}, last modified ")
        assert ", loyal 0, zerg 0: serves" in well
        doomed = daemon.expect("pid -1", "doomed.ini")
        assert doomed.startswith("delayed, ")
        assert "is spawned again in" in doomed
        assert daemon.expect("pid -1", "broken.ini").startswith("waiting, ")
        assert town.get("well.ini") == "well"
        daemon.expect("is loyal", "well.ini")
        daemon.process.send_signal(signal.SIGUSR1)
        assert ", loyal 1, " in daemon.expect("pid", "well.ini")


def test_sigurg_empties_the_blacklist_and_tries_again_at_once(one_town: Town) -> None:
    town = one_town
    app = town.put_doomed("doomed.ini")
    town.put_doomed("other.ini")
    address = f"{town.root}/stats"
    with reign(*town.words, *LONG_THROTTLE, "--emperor-stats", address) as daemon:
        for name in ("doomed.ini", "other.ini"):
            daemon.expect("spawning it again in 60 s", name)
        assert {row["id"] for row in stats(address)["blacklist"]} == {"doomed.ini", "other.ini"}
        town.mend(app)
        began = time.monotonic()
        daemon.process.send_signal(signal.SIGURG)
        daemon.expect("SIGURG")
        daemon.up("doomed.ini")
        assert time.monotonic() - began < 10.0
        assert town.get("doomed.ini") == "doomed.ini"
        daemon.expect("died", "other.ini")
        (entry,) = until_stats(
            address, lambda shown: [row["id"] for row in shown["blacklist"]] == ["other.ini"]
        )["blacklist"]
        assert entry["attempt"] == 1  # counted anew


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_one_signal_brings_all_down_in_peace(one_town: Town, signum: signal.Signals) -> None:
    town = one_town
    town.put("one.ini", "one")
    town.put("two.ini", "two", ("processes", "2"))
    with reign(*town.words) as daemon:
        daemon.up("one.ini")
        daemon.up("two.ini")
        daemon.stop(signum)
        assert daemon.said("")[-2:] == [
            f"{signum.name}: bringing all vassals down",
            "all vassals are gone: the Emperor leaves",
        ]
        for name in ("one.ini", "two.ini"):
            assert daemon.said(name)[-1] == "is gone (exit code 0)"
            assert town.is_down(name)
        assert daemon.said("", "warning", "error") == []


def test_a_second_signal_kills_what_is_left(one_town: Town) -> None:
    town = one_town
    town.put("deaf.ini", "deaf")
    with reign(*town.words) as daemon:
        pid = daemon.up("deaf.ini")
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: state_of(pid) == "T")
        daemon.process.send_signal(signal.SIGINT)
        daemon.expect("SIGINT: bringing all vassals down")
        assert daemon.process.poll() is None
        began = time.monotonic()
        daemon.stop(signal.SIGQUIT)
        assert time.monotonic() - began < 3.0
        assert "SIGQUIT again: killing what is left" in daemon.said("", "warning")
        assert daemon.said("deaf.ini")[-1] == "is gone (SIGKILL)"


def test_sighup_while_everything_goes_down_brings_nothing_back(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "one")
    with reign(*town.words) as daemon:
        daemon.up("site.ini")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.expect("bringing all vassals down")
        for signum in (signal.SIGHUP, signal.SIGURG, signal.SIGUSR1):
            daemon.process.send_signal(signum)
        daemon.expect("SIGURG")
        assert daemon.process.wait(20) == 0
        assert [text for text in daemon.said("site.ini") if "spawned" in text][1:] == []
