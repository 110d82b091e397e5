"""The commands that ask a running daemon, with real vassals."""

import pytest
from tests.e2e.asking import Control
from tests.e2e.daemon import OUTPUT, reign, state_of
from tests.e2e.sites import Town, broken

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

#: So long that nobody waits for its end.
LONG_THROTTLE = ("--emperor-throttle", "60000")


@pytest.fixture
def control(one_town: Town) -> Control:
    return Control(path=f"{one_town.root}/control")


def test_status_shows_every_vassal(one_town: Town, control: Control) -> None:
    town = one_town
    town.put("site.ini", "one")
    town.put_doomed("doomed.ini")
    with reign(*town.words, *LONG_THROTTLE, "--emperor-control", control.path) as daemon:
        pid = daemon.up("site.ini")
        daemon.expect("died", "doomed.ini")
        done = control("status")
        head, *rows = done.out.splitlines()
        assert head.split() == ["VASSAL", "STATE", "PID", "UP", "RESPAWNS", "NOTE"]
        fields = {row.split()[0]: row.split()[1:] for row in rows}
        assert fields["site.ini"][:2] == ["ready", str(pid)]
        assert fields["doomed.ini"][:2] == ["delayed", "-"]
        assert "exit code 22; is spawned again in" in done.out
        assert (done.code, done.err) == (1, "")
        assert control("status", "site.ini").code == 0
        answers = control("status", "--json").data
        assert {(answer["name"], answer["ok"]) for answer in answers} == {
            ("site.ini", True),
            ("doomed.ini", False),
        }
        done = control("status", "nobody.ini")
        assert (done.code, "no such vassal" in done.out) == (1, True)


def test_reload_waits_until_the_vassal_serves_its_new_config(
    one_town: Town, control: Control
) -> None:
    town = one_town
    included = f"{town.root}/included.ini"
    with open(included, "w", encoding="ascii") as file:
        file.write("[uwsgi]\ngreeting = one\n")
    options = [(key, value) for key, value in town.options("site.ini", "") if key != "greeting"]
    lines = "".join(f"{key} = {value}\n" for key, value in [*options, ("include", included)])
    town.write("site.ini", f"[uwsgi]\n{lines}")
    with reign(*town.words, "--emperor-control", control.path) as daemon:
        pid = daemon.up("site.ini")
        for greeting in ("two", "three"):
            with open(included, "w", encoding="ascii") as file:
                file.write(f"[uwsgi]\ngreeting = {greeting}\n")
            done = control("reload", "--wait", "site.ini")
            assert (done.code, done.out) == (0, f"site.ini: ready (pid {pid})\n")
            assert town.get("site.ini") == greeting
        view = control.view("site.ini")
        assert (view["respawns"], view["generation"], view["pid"]) == (2, 3, pid)
        done = control("reload", "site.ini")
        assert (done.code, done.out) == (0, "site.ini: asked to reload\n")
        assert control("status", "--wait", "site.ini").code == 0
        assert control.view("site.ini")["generation"] == 4


def test_a_broken_edit_fails_the_reload_and_is_named_with_its_line(
    one_town: Town, control: Control
) -> None:
    town = one_town
    town.put("site.ini", "one")
    with reign(*town.words, "--emperor-control", control.path) as daemon:
        daemon.up("site.ini")
        town.write("site.ini", broken("ini"))
        done = control("reload", "--wait", "site.ini")
        assert done.code == 1
        assert done.out.startswith("site.ini: failed: site.ini:2:1: error[missing-file]: ")
        assert 'cannot read "missing.ini"' in done.out
        assert "goes on with its last good config" in done.out
        assert town.get("site.ini") == "one"
        (answer,) = control("reload", "--wait", "--json", "site.ini").data
        assert (answer["outcome"], answer["ok"]) == ("failed", False)
        assert answer["vassal"]["is_broken"]
        shown = control("why", "site.ini").out
        assert "site.ini:2:1: error[missing-file]" in shown
        assert "ini = missing.ini" in shown  # the line itself
        town.put("site.ini", "two")
        assert control("reload", "--wait", "site.ini").code == 0
        assert town.get("site.ini") == "two"


def test_a_reload_that_dies_is_a_failure(one_town: Town, control: Control) -> None:
    town = one_town
    town.put("site.ini", "one")
    with reign(*town.words, *LONG_THROTTLE, "--emperor-control", control.path) as daemon:
        daemon.up("site.ini")
        town.put_doomed("site.ini")
        done = control("reload", "--wait", "site.ini")
        assert done.code == 1
        assert "site.ini: failed: exit code 22; is spawned again in" in done.out


def test_stop_and_start_are_obeyed_whatever_the_file_does(
    one_town: Town, control: Control
) -> None:
    town = one_town
    town.put("site.ini", "one")
    with reign(*town.words, "--emperor-control", control.path) as daemon:
        pid = daemon.up("site.ini")
        for _ in range(2):  # the second time it has stopped already
            done = control("stop", "--wait", "site.ini")
            assert (done.code, done.out) == (0, "site.ini: stopped\n")
            assert (state_of(pid), town.is_down("site.ini")) == ("", True)
        assert control.view("site.ini")["state"] == "parked"
        assert control("status").code == 0  # it does what it was told to
        town.put("site.ini", "two")
        town.put("fence.ini", "fence")
        daemon.up("fence.ini")
        assert control("reload", "--wait", "site.ini").code == 0
        assert town.is_down("site.ini")
        for _ in range(2):
            done = control("start", "--wait", "site.ini")
            pid = control.view("site.ini")["pid"]
            assert (done.code, done.out) == (0, f"site.ini: ready (pid {pid})\n")
        assert town.get("site.ini") == "two"
        spawned = [text for text in daemon.said("site.ini") if text.startswith("spawned")]
        assert len(spawned) == 2


def test_retry_forgets_throttle_and_blacklist(one_town: Town, control: Control) -> None:
    town = one_town
    app = town.put_doomed("doomed.ini")
    with reign(*town.words, *LONG_THROTTLE, "--emperor-control", control.path) as daemon:
        daemon.expect("spawning it again in 60 s", "doomed.ini")
        view = control.view("doomed.ini")
        assert (view["attempts"], view["throttle_milliseconds"]) == (1, 60_000)
        assert control("retry", "--wait", "doomed.ini").code == 1
        view = control.view("doomed.ini")
        assert (view["attempts"], view["respawns"]) == (1, 1)  # the old attempt is forgotten
        town.mend(app)
        assert control("retry", "--wait", "doomed.ini").code == 0
        assert town.get("doomed.ini") == "doomed.ini"
        assert control.view("doomed.ini")["attempts"] == 0


def test_start_and_reload_win_over_a_throttle(one_town: Town, control: Control) -> None:
    town = one_town
    app = town.put_doomed("doomed.ini")
    with reign(*town.words, *LONG_THROTTLE, "--emperor-control", control.path) as daemon:
        daemon.expect("spawning it again in 60 s", "doomed.ini")
        assert control("start", "--wait", "doomed.ini").code == 1
        town.mend(app)
        assert control("reload", "--wait", "doomed.ini").code == 0
        assert town.get("doomed.ini") == "doomed.ini"
        daemon.expect("accepts requests", "doomed.ini")


def test_rolling_reloads_one_after_the_other_and_stops_at_a_failure(
    one_town: Town, control: Control
) -> None:
    town = one_town
    names = ("a.ini", "b.ini", "c.ini")
    for name in names:
        town.put(name, name)
    with reign(*town.words, "--emperor-control", control.path) as daemon:
        for name in names:
            daemon.up(name)
        done = control("reload", "--rolling", *names)
        assert done.code == 0
        assert [line.split(":")[0] for line in done.out.splitlines()] == [*names]
        told = [
            (line.vassal, line.message)
            for line in daemon.lines
            if line.vassal in names and line.message.endswith((": reloading", "requests"))
        ][3:]
        assert told == [
            (name, message)
            for name in names
            for message in ("touched: reloading", "accepts requests")
        ]
        town.write("b.ini", broken("ini"))
        daemon.expect("does not compile", "b.ini")
        done = control("reload", "--rolling", *names)
        assert done.code == 1
        first, second, third = done.out.splitlines()
        assert first.startswith("a.ini: ready (pid ")
        assert second.startswith("b.ini: failed: b.ini:2:1: error[missing-file]")
        assert third == "c.ini: left alone, as another one failed"
        assert control.view("c.ini")["generation"] == 2
        assert [town.get(name) for name in names] == [*names]


def test_why_shows_the_traceback_of_an_app_that_cannot_be_imported(
    one_town: Town, control: Control
) -> None:
    town = one_town
    town.put_doomed("doomed.ini")
    words = (*town.words, *LONG_THROTTLE, "--emperor-control", control.path)
    with reign(*words, "--emperor-capture-output") as daemon:
        daemon.expect("spawning it again in 60 s", "doomed.ini")
        done = control("why", "doomed.ini")
        first, *rows = done.out.splitlines()
        assert first == "doomed.ini: delayed"
        shown = {row.split()[0]: row for row in rows if row[2:3].strip()}
        assert "exit code 22" in shown["last"]
        assert "1 death before it was loyal, throttled by 60000 ms" in shown["blacklist"]
        assert "is spawned again in" in shown["next"]
        assert "Traceback (most recent call last):" in done.out
        assert f'File "{town.root}/doomed.ini.py", line 1' in done.out
        assert "ModuleNotFoundError: No module named 'nothing_of_that_name'" in done.out
        assert "ModuleNotFoundError" in control.view("doomed.ini")["output"]
        # others see it as before, in the daemon's own output
        daemon.expect("ModuleNotFoundError", OUTPUT)


def test_without_capture_why_says_so(one_town: Town, control: Control) -> None:
    town = one_town
    town.put_doomed("doomed.ini")
    with reign(*town.words, *LONG_THROTTLE, "--emperor-control", control.path) as daemon:
        daemon.expect("died", "doomed.ini")
        shown = control("why", "doomed.ini").out
        assert "not captured (emperor-capture-output)" in shown


def test_commands_that_make_no_sense_or_nobody_hears(one_town: Town, control: Control) -> None:
    assert control("reload").code == 2
    assert control("reload", "--all", "site.ini").code == 2
    done = control("status")
    assert (done.code, control.path in done.err) == (111, True)
