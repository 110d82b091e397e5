"""Loyal or blacklisted: when a vassal that died is tried again, with real processes."""

import json
import os
import re
import signal

import pytest
from tests.e2e.daemon import Daemon, eventually, reign
from tests.e2e.sites import Town
from tests.support.bureau import Bureau
from tests.support.stage import LOYAL, UP, Stage

from emperor.runtime.protocol import Word

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

#: A throttle that no test waits for, in milliseconds.
AN_HOUR = str(3600 * 1000)


def moments(daemon: Daemon, vassal: str, text: str) -> list[float]:
    """When the log said so, in seconds since the epoch."""
    lines = (line for line in daemon.lines if line.vassal == vassal)
    return [line.time for line in lines if text in line.message]


def delays(daemon: Daemon, vassal: str) -> list[float]:
    """How long the vassal really waited after each death."""
    deaths = moments(daemon, vassal, "died (")
    starts = moments(daemon, vassal, "spawned (")
    return [start - death for death, start in zip(deaths, starts[1:], strict=False)]


def dies(theatre: Stage, name: str, status: int = 1) -> None:
    """Its next process is gone as soon as it has begun."""
    theatre.enters(name).leave(status)


def put(town: Town, name: str) -> None:
    """A vassal for the stage."""
    town.write(name, "[uwsgi]\nplay = it\n")


def test_an_app_that_dies_unloyal_is_blacklisted_and_not_tried_sooner_than_a_second(
    each_town: Town,
) -> None:
    town, bureau = each_town, Bureau(root=each_town.root)
    with open(f"{town.root}/dying.py", "w", encoding="utf-8") as file:
        file.write("import os\nos.abort()\n")
    town.put("site.ini", "one", ("wsgi-file", f"{town.root}/dying.py"))
    with reign(*town.words, *bureau.words) as daemon:
        for attempt in (1, 2, 3):
            daemon.expect("died (", "site.ini", level="warning")
            eventually(lambda: "site.ini" in bureau.blacklist())
            assert bureau.blacklist()["site.ini"] == (attempt, 3 * attempt)
        assert bureau.vassal("site.ini")["loyal"] == 0
        town.put("site.ini", "two")
        daemon.up("site.ini")
        assert "site.ini" in bureau.blacklist()
        assert town.get("site.ini") == "two"  # loyal after its first request
        eventually(lambda: not bureau.blacklist(), complaint=lambda: str(daemon))
        assert bureau.vassal("site.ini")["loyal"] == 1
        assert min(delays(daemon, "site.ini")) > 0.99


def test_stats_and_status_show_the_blacklist(one_town: Town, theatre: Stage) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    put(town, "site.ini")
    words = (*town.words, *theatre.words, *bureau.words, "--emperor-throttle", AN_HOUR)
    with reign(*words, "--emperor-max-throttle", AN_HOUR) as daemon:
        dies(theatre, "site.ini", 7)
        daemon.expect("died (exit code 7): spawning it again in", "site.ini")
        (entry,) = bureau.stats()["blacklist"]
        assert entry["first_attempt"] == entry["last_attempt"] > 0
        code, text = bureau.emperor("status", "--json", "site.ini")
        (told,) = json.loads(text)
        shown = told["vassal"]
        assert (code, told["ok"], shown["state"], shown["pid"]) == (1, False, "delayed", -1)
        assert (shown["attempts"], shown["throttle_milliseconds"]) == (1, 3600_000)
        assert (shown["last_exit"], shown["loyal"]) == ("exit code 7", 0)
        assert shown["next_try"] > shown["last_attempt"] + 3500
        code, text = bureau.emperor("why", "site.ini")
        assert (code, "1 death before it was loyal" in text) == (1, True), text


def test_the_throttle_grows_up_to_its_maximum(one_town: Town, theatre: Stage) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    put(town, "site.ini")
    words = (*town.words, *theatre.words, *bureau.words, "--emperor-throttle", "1500")
    with reign(*words, "--emperor-max-throttle", "2000") as daemon:
        for attempt, throttle in enumerate((1500, 2000, 2000), 1):
            dies(theatre, "site.ini")
            daemon.expect(f"again in {throttle / 1000:.3g} s", "site.ini", level="warning")
            assert bureau.blacklist() == {"site.ini": (attempt, throttle)}
        theatre.enters("site.ini")
        found = delays(daemon, "site.ini")
        assert (found[0] > 1.49, min(found[1:]) > 1.99) == (True, True), found


def test_byte_17_clears_the_blacklist_and_the_next_throttle_is_the_first(
    one_town: Town, theatre: Stage
) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    put(town, "site.ini")
    with reign(*town.words, *theatre.words, *bureau.words) as daemon:
        dies(theatre, "site.ini")
        dies(theatre, "site.ini")
        puppet = theatre.enters("site.ini")
        puppet.say(*UP)
        daemon.expect("accepts requests", "site.ini")
        assert bureau.blacklist() == {"site.ini": (2, 6)}  # to accept is not to be loyal
        puppet.say(Word.LOYAL)
        eventually(lambda: not bureau.blacklist(), complaint=lambda: str(daemon))
        puppet.leave(1)
        assert daemon.expect("died (", "site.ini").endswith(": spawning it again")
        dies(theatre, "site.ini")  # a new process has its loyalty still to prove
        daemon.expect("again in 1 s", "site.ini")
        assert bureau.blacklist() == {"site.ini": (1, 3)}


def test_without_a_blacklist_each_death_is_the_first(one_town: Town, theatre: Stage) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    put(town, "site.ini")
    words = (*town.words, *theatre.words, *bureau.words, "--emperor-throttle", AN_HOUR)
    with reign(*words, "--emperor-no-blacklist") as daemon:
        for _ in range(2):
            dies(theatre, "site.ini")
            assert daemon.expect("died (", "site.ini").endswith("spawning it again in 1 s")
            assert bureau.blacklist() == {}
        theatre.enters("site.ini")
        assert min(delays(daemon, "site.ini")) > 0.99


def test_exponential_backoff_has_a_factor_and_a_cap(one_town: Town, theatre: Stage) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    put(town, "site.ini")
    words = (*town.words, *theatre.words, *bureau.words, "--emperor-backoff", "exponential")
    more = {"factor": "1.5", "cap": "2", "jitter": "0"}
    words = (*words, *(w for k, v in more.items() for w in (f"--emperor-backoff-{k}", v)))
    with reign(*words) as daemon:
        for attempt, delay in enumerate((1.0, 1.5, 2.0), 1):
            dies(theatre, "site.ini")
            daemon.expect(f"spawning it again in {delay:.3g} s", "site.ini")
            assert bureau.blacklist() == {"site.ini": (attempt, round(1000 * delay))}
        theatre.enters("site.ini")
        found = delays(daemon, "site.ini")
        assert all(real > said - 0.01 for real, said in zip(found, (1, 1.5, 2), strict=True))


def test_jitter_spreads_vassals_that_die_together(one_town: Town, theatre: Stage) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    names = [f"site-{number}.ini" for number in range(8)]
    for name in names:
        put(town, name)
    words = (*town.words, *theatre.words, *bureau.words, "--emperor-backoff", "exponential")
    with reign(*words, "--emperor-backoff-jitter", "0.5") as daemon:
        for name in names:
            dies(theatre, name)
        for name in names:
            daemon.expect("died (", name)
        found = {name: throttle for name, (_, throttle) in bureau.blacklist().items()}
        assert len(set(found.values())) > len(names) // 2
        assert 500 <= min(found.values()) < max(found.values()) <= 1500
        for name in names:  # a second it is, whatever the jitter says
            (text,) = daemon.said(name, "warning")
            said = re.search(r"in ([0-9.]+) s$", text)
            assert said is not None
            assert abs(float(said[1]) - max(found[name] / 1000, 1.0)) < 0.01


def test_one_that_is_up_long_enough_is_as_good_as_loyal(one_town: Town, theatre: Stage) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    put(town, "site.ini")
    words = (*town.words, *theatre.words, *bureau.words, "--emperor-heal-after", "0.4")
    with reign(*words) as daemon:
        dies(theatre, "site.ini")
        puppet = theatre.enters("site.ini")
        puppet.say(*UP)
        daemon.expect("accepts requests", "site.ini")
        daemon.expect("has been up long enough", "site.ini")
        found = bureau.vassal("site.ini")
        assert (found["loyal"], found["last_loyal"], bureau.blacklist()) == (1, 0, {})
        puppet.leave(1)
        assert daemon.expect("died (", "site.ini").endswith(": spawning it again")
        theatre.enters("site.ini")


def test_sigurg_empties_the_blacklist_and_tries_at_once(one_town: Town, theatre: Stage) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    names = ("one.ini", "two.ini")
    for name in names:
        put(town, name)
    words = (*town.words, *theatre.words, *bureau.words, "--emperor-throttle", AN_HOUR)
    with reign(*words, "--emperor-max-throttle", AN_HOUR) as daemon:
        for name in names:
            dies(theatre, name)
            daemon.expect("spawning it again in 3.6e+03 s", name)
        assert set(bureau.blacklist()) == set(names)
        os.kill(daemon.pid, signal.SIGURG)
        for name in names:
            theatre.enters(name)
        assert bureau.blacklist() == {}
        assert max(delays(daemon, "one.ini")) < 5.0


@pytest.mark.parametrize("verb", ["retry", "start", "reload"])
def test_an_operators_word_wins_over_every_throttle(
    one_town: Town, theatre: Stage, verb: str
) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    for name in ("one.ini", "two.ini"):
        put(town, name)
    words = (*town.words, *theatre.words, *bureau.words, "--emperor-throttle", AN_HOUR)
    with reign(*words, "--emperor-max-throttle", AN_HOUR) as daemon:
        for name in ("one.ini", "two.ini"):
            dies(theatre, name)
            daemon.expect("spawning it again in 3.6e+03 s", name)
        assert bureau.emperor(verb, "one.ini")[0] == 0
        theatre.enters("one.ini").say(*LOYAL)
        eventually(
            lambda: set(bureau.blacklist()) == {"two.ini"}, complaint=lambda: str(daemon)
        )
        assert bureau.states() == {"one.ini": "ready", "two.ini": "delayed"}


def test_a_loyal_one_that_is_killed_is_back_at_once(each_town: Town) -> None:
    town, bureau = each_town, Bureau(root=each_town.root)
    town.put("site.ini", "one")
    with reign(*town.words, *bureau.words) as daemon:
        pids = [daemon.up("site.ini")]
        for _ in range(2):
            assert town.get("site.ini") == "one"
            eventually(lambda: bureau.vassal("site.ini")["loyal"] == 1)
            os.kill(pids[-1], signal.SIGKILL)
            daemon.expect("died (SIGKILL): spawning it again", "site.ini", level="warning")
            pids.append(daemon.up("site.ini"))
        assert town.get("site.ini") == "one"
        assert len(set(pids)) == 3
        assert max(delays(daemon, "site.ini")) < 0.5
        assert bureau.blacklist() == {}


def test_one_that_accepts_but_never_was_loyal_is_not_back_at_once(one_town: Town) -> None:
    town, bureau = one_town, Bureau(root=one_town.root)
    town.put("site.ini", "one")
    with reign(*town.words, *bureau.words) as daemon:
        os.kill(daemon.up("site.ini"), signal.SIGKILL)
        daemon.expect("died (SIGKILL): spawning it again in 1 s", "site.ini")
        daemon.up("site.ini")
        assert bureau.blacklist() == {"site.ini": (1, 3)}
        assert min(delays(daemon, "site.ini")) > 0.99
