"""What the stats of the running daemon say, beside those of uWSGI's own Emperor."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from tests.e2e.asking import Data, checked, read_all, stats, until_stats, until_vassal
from tests.e2e.daemon import DEADLINE_SECONDS, eventually, reign
from tests.e2e.sites import Town, get
from tests.support.uwsgi import ENVIRONMENT, the_uwsgi

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

#: So long that nobody waits for its end.
LONG_THROTTLE = ("--emperor-throttle", "60000")

NOBODY = 65534


@contextmanager
def the_original(town: Town, directory: str, address: str) -> Iterator[int]:
    """uWSGI's own Emperor on a directory; gives its pid. Nothing is left of it."""
    process = subprocess.Popen(
        [the_uwsgi().path, "--emperor", directory, "--emperor-stats", address],
        cwd="/",
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _shape(part: Data) -> list[tuple[str, type]]:
    return [(key, type(value)) for key, value in part.items()]


def _row(document: Data, part: str, name: str) -> Data:
    (found,) = (row for row in document[part] if row["id"] == name)
    assert isinstance(found, dict)
    return found


def _is_known(document: Data) -> bool:
    """Both vassals are in it, one of them loyal, the other on the blacklist."""
    loyal = {row["id"]: row["loyal"] for row in document["vassals"]}
    is_blamed = "doomed.ini" in {row["id"] for row in document["blacklist"]}
    return is_blamed and loyal == {"site.ini": 1, "doomed.ini": 0}


def test_keys_their_order_types_and_meaning_are_those_of_uwsgis_emperor(
    one_town: Town,
) -> None:
    town = one_town
    theirs_at, ours_at = f"{town.root}/theirs", f"{town.root}/ours"
    others = f"{town.root}/others"
    os.mkdir(others)
    town.put_doomed("doomed.ini")
    town.put("site.ini", "one")
    if os.geteuid() == 0:
        os.chown(town.path("site.ini"), NOBODY, NOBODY)
    for name in ("doomed.ini", "site.ini"):
        with open(town.path(name), encoding="ascii") as file:
            text = file.read().replace(town.socket(name), f"{others}/{name}.http")
        with open(f"{others}/{name}", "w", encoding="ascii") as file:
            file.write(text)
        status = os.stat(town.path(name))
        os.chown(f"{others}/{name}", status.st_uid, status.st_gid)
        os.utime(f"{others}/{name}", ns=(status.st_atime_ns, status.st_mtime_ns))
    with ExitStack() as stack:
        pid = stack.enter_context(the_original(town, others, theirs_at))
        words = (*town.words, *LONG_THROTTLE, "--emperor-stats", ours_at)
        daemon = stack.enter_context(reign(*words))
        daemon.up("site.ini")
        town.get("site.ini")
        eventually(lambda: _answers(f"{others}/site.ini.http"))
        ours = checked(until_stats(ours_at, _is_known))
        theirs = until_stats(theirs_at, _is_known)
        _compare(ours, theirs, own=("version", "pid", "cwd", "emperor"))
        assert (ours["pid"], theirs["pid"]) == (daemon.pid, pid)
        assert (ours["emperor"], theirs["emperor"]) == ([town.vassals], [others])
        # the same at the same time, but for pids, directories and seconds
        moments = {"last_loyal", "last_ready", "last_accepting", "first_run", "last_run"}
        _compare(
            _row(ours, "vassals", "site.ini"),
            _row(theirs, "vassals", "site.ini"),
            own=("pid", "monitor", *moments),
        )
        for document in (ours, theirs):
            row = _row(document, "vassals", "site.ini")
            assert all(abs(row[key] - time.time()) < 60 for key in moments)
        assert _shape(_row(ours, "vassals", "doomed.ini"))[:20] == _shape(
            _row(theirs, "vassals", "doomed.ini")
        )
        _compare(
            _row(ours, "blacklist", "doomed.ini"),
            _row(theirs, "blacklist", "doomed.ini"),
            own=("throttle_level", "attempt", "first_attempt", "last_attempt"),
        )


def _compare(ours: Data, theirs: Data, *, own: tuple[str, ...]) -> None:
    """Theirs first, in their order and types, and the same values but for some."""
    assert _shape(ours)[: len(theirs)] == _shape(theirs)
    for key, value in theirs.items():
        if key not in (*own, "vassals", "blacklist"):
            assert ours[key] == value, key


def _answers(address: str) -> bool:
    try:
        return bool(get(address))
    except OSError:
        return False


def test_the_life_of_a_vassal_is_seen(one_town: Town) -> None:
    town = one_town
    address = f"{town.root}/stats"
    town.put("site.ini", "one")
    born = 1_700_000_000
    os.utime(town.path("site.ini"), (born, born))
    with reign(*town.words, "--emperor-stats", address) as daemon:
        pid = daemon.up("site.ini")
        first = checked(stats(address))["vassals"][0]
        assert (first["pid"], first["ready"], first["accepting"], first["loyal"]) == (
            *(pid, 1, 1),
            0,
        )
        assert (first["born"], first["last_mod"], first["respawns"]) == (born, born, 0)
        assert first["first_run"] == first["last_run"] <= first["last_accepting"]
        assert (first["state"], first["generation"], first["cursed"]) == ("ready", 1, 0)
        town.get("site.ini")
        loyal = until_vassal(address, "site.ini", loyal=1)
        assert loyal["last_loyal"] >= first["last_accepting"]

        town.put("site.ini", "two")
        os.utime(town.path("site.ini"), (born + 5, born + 5))
        daemon.expect(": reloading", "site.ini")
        reloading = until_vassal(address, "site.ini", state="reloading")
        assert (reloading["ready"], reloading["accepting"]) == (0, 0)
        assert (reloading["pid"], reloading["last_mod"]) == (pid, born + 5)
        second = until_vassal(address, "site.ini", ready=1, accepting=1)
        assert (second["pid"], second["respawns"], second["generation"]) == (pid, 1, 2)
        assert second["digest"] != first["digest"]
        assert (second["born"], second["first_run"]) == (born, first["first_run"])

        os.kill(pid, signal.SIGKILL)
        third = until_vassal(address, "site.ini", accepting=1, respawns=2)
        assert third["pid"] != pid
        assert third["last_exit"] == "SIGKILL"
        assert (third["generation"], third["first_run"]) == (3, first["first_run"])
        daemon.expect("spawned", "site.ini")

        daemon.process.send_signal(signal.SIGHUP)
        after = until_vassal(address, "site.ini", accepting=1, respawns=3)
        assert abs(after["last_mod"] - time.time()) < 60  # when the reload was asked for
        os.unlink(town.path("site.ini"))
        until_stats(address, lambda shown: shown["vassals"] == [])


def test_one_that_waits_has_no_pid_and_says_what_for(one_town: Town) -> None:
    town = one_town
    address = f"{town.root}/stats"
    town.put_doomed("doomed.ini")
    town.write("broken.ini", "[uwsgi]\nini = missing.ini\n")
    with open(town.path("asleep.ini.socket"), "w", encoding="ascii") as file:
        file.write(f"{town.root}/asleep")
    town.put("asleep.ini", "asleep")
    words = (*town.words, *LONG_THROTTLE, "--emperor-stats", address)
    with reign(*words, "--emperor-on-demand-extension", ".socket") as daemon:
        daemon.expect("died (exit code 22)", "doomed.ini")
        daemon.expect("waits for a connection", "asleep.ini")
        daemon.expect("does not compile", "broken.ini")
        shown = checked(until_stats(address, lambda document: document["blacklist"]))
        asleep, broken, doomed = sorted(shown["vassals"], key=lambda row: str(row["id"]))
        assert {row["pid"] for row in shown["vassals"]} == {-1}
        assert {row["accepting"] for row in shown["vassals"]} == {0}
        assert asleep["on_demand"] == f"{town.root}/asleep"
        assert (asleep["state"], broken["state"], doomed["state"]) == (
            *("listening", "waiting"),
            "delayed",
        )
        assert (broken["broken"], "missing.ini" in broken["diagnostics"][0]) == (1, True)
        assert broken["diagnostics"][0].startswith("broken.ini:2:")
        assert doomed["last_exit"] == "exit code 22"
        assert 50 < doomed["next_try"] - time.time() < 70
        (entry,) = shown["blacklist"]
        assert (entry["id"], entry["attempt"], entry["throttle_level"]) == (
            *("doomed.ini", 1),
            60_000,
        )
        assert entry["first_attempt"] == entry["last_attempt"] == doomed["last_exit_at"]


#: Names that have broken the JSON of others, and what they look like in it.
ODD_NAMES = {
    b'quo"te.ini': 'quo"te.ini',
    b"back\\slash.ini": "back\\slash.ini",
    b"line\nend.ini": "line\nend.ini",
    b"tab\there.ini": "tab\there.ini",
    b"caf\xe9.ini": "caf\\xe9.ini",
    "naïve.ini".encode(): "naïve.ini",
}


def test_whatever_a_vassal_is_called_the_document_is_valid(one_town: Town) -> None:
    town = one_town
    address = f"{town.root}/stats"
    for number, name in enumerate(ODD_NAMES):
        with open(os.path.join(town.vassals.encode(), name), "w", encoding="ascii") as file:
            file.write(f"[uwsgi]\nhttp-socket = {town.root}/{number}.http\n")

    def is_up(document: Data) -> bool:
        shown = {row["id"] for row in document["vassals"] if row["accepting"]}
        return shown == set(ODD_NAMES.values())

    with reign(*town.words, "--emperor-stats", address) as daemon:
        checked(until_stats(address, is_up))
        raw = read_all(address)
        assert raw.isascii()
        assert json.loads(raw)["pid"] == daemon.pid
