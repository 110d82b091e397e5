"""``emperor run`` as the vassal of another Emperor: of our own, and of uWSGI's."""

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator

import pytest
from tests.e2e.daemon import emperor_program, eventually, reign, state_of
from tests.e2e.sites import Town, in_format
from tests.support.bureau import Bureau
from tests.support.uwsgi import ENVIRONMENT

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

SITES = ("one.ini", "two.ini")
EMPEROR = "sub.ini"


def put_program(town: Town) -> str:
    """What an Emperor runs instead of uWSGI: an Emperor."""
    path = f"{town.root}/sub-emperor"
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'#!/bin/sh\nexec {shlex.quote(emperor_program())} run "$@"\n')
    os.chmod(path, 0o755)
    return path


def put_either(town: Town) -> str:
    """A program that is an Emperor for the lower Emperor's file, and uWSGI for others."""
    path = f"{town.root}/either"
    with open(path, "w", encoding="utf-8") as file:
        file.write(
            "#!/bin/sh\n"
            f'case "$*" in *{EMPEROR}) exec {shlex.quote(emperor_program())} run "$@" ;; esac\n'
            f'exec {shlex.quote(town.server.path)} "$@"\n'
        )
    os.chmod(path, 0o755)
    return path


def put_site(town: Town, name: str, greeting: str) -> None:
    """Write the file of one of the lower Emperor's vassals."""
    with open(f"{town.root}/sub/{name}", "w", encoding="utf-8") as file:
        file.write(in_format("ini", town.options(name, greeting, ("colour", "%(colour)"))))


def put_emperor(town: Town, *more: tuple[str, str]) -> Bureau:
    """Write the lower Emperor's file; where it shows what it does."""
    bureau = Bureau(root=f"{town.root}/sub-bureau")
    stats, control = bureau.words[1::2]
    own = [("emperor-stats", stats), ("emperor-control", control)]
    options = [("emperor", f"{town.root}/sub"), ("binary-path", town.server.path), *own, *more]
    town.write(EMPEROR, in_format("ini", options))
    return bureau


def answer(town: Town, name: str, path: str = "/") -> str:
    """What one of the lower Emperor's vassals answers; nothing if it does not."""
    try:
        return town.get(name, path)
    except OSError:
        return ""


def serve(town: Town, *names: str) -> list[int]:
    """Wait until these answer; the pids of their workers."""
    eventually(
        lambda: all(answer(town, name) for name in names),
        complaint=lambda: f"not all of {names} answer",
    )
    return [int(town.get(name, "/pid")) for name in names]


def alive(pids: list[int]) -> list[int]:
    """Those that run."""
    return [pid for pid in pids if state_of(pid) not in ("", "Z")]


def settle(town: Town) -> Town:
    """The town, with two sites that a lower Emperor may govern."""
    os.mkdir(f"{town.root}/sub")
    os.mkdir(f"{town.root}/sub-bureau")
    for name in SITES:
        put_site(town, name, name)
    return town


@pytest.fixture
def court(each_town: Town) -> Town:
    return settle(each_town)


@pytest.fixture
def one_court(one_town: Town) -> Town:
    return settle(one_town)


def words_of(town: Town) -> tuple[str, ...]:
    """The upper Emperor's words."""
    return (*town.words, "--emperor-wrapper", put_program(town))


def test_a_lower_emperor_announces_itself_and_governs(court: Town) -> None:
    bureau, upper = put_emperor(court), Bureau(root=court.root)
    with reign(*words_of(court), *upper.words) as daemon:
        pid = daemon.up(EMPEROR)
        eventually(lambda: upper.vassal(EMPEROR)["loyal"] == 1)
        shown = upper.vassal(EMPEROR)
        assert (shown["ready"], shown["accepting"], shown["pid"]) == (1, 1, pid)
        serve(court, *SITES)
        assert bureau.stats()["pid"] == pid
        put_site(court, "three.ini", "three")
        serve(court, "three.ini")
        os.unlink(f"{court.root}/sub/one.ini")
        eventually(lambda: answer(court, "one.ini") == "")
        taken = daemon.stop()
        assert taken < 10.0
        assert [answer(court, name) for name in (*SITES, "three.ini")] == [""] * 3
        assert daemon.said(EMPEROR, "warning", "error") == []


def test_touching_its_file_has_it_start_over_with_the_new_config(court: Town) -> None:
    put_emperor(court, ("vassal-set", "colour=red"))
    with reign(*words_of(court)) as daemon:
        pid = daemon.up(EMPEROR)
        before = serve(court, *SITES)
        assert court.get("one.ini", "/opt?colour") == "red"
        put_emperor(court, ("vassal-set", "colour=blue"))
        daemon.reloaded(EMPEROR, "changed")
        after = serve(court, *SITES)
        assert (alive(before), pid in daemon.family()) == ([], True)
        assert court.get("one.ini", "/opt?colour") == "blue"
        os.utime(court.path(EMPEROR))  # and once more: it still listens
        daemon.reloaded(EMPEROR, "touched")
        serve(court, *SITES)
        assert alive(after) == []
        assert daemon.said(EMPEROR, "warning", "error") == []


def test_all_go_when_its_file_goes(court: Town) -> None:
    put_emperor(court)
    court.put("plain.ini", "plain")
    with reign(*court.words, "--emperor-wrapper", put_either(court)) as daemon:
        daemon.up(EMPEROR)
        daemon.up("plain.ini")
        pids = serve(court, *SITES)
        os.unlink(court.path(EMPEROR))
        daemon.gone(EMPEROR)
        assert alive(pids) == []
        assert court.get("plain.ini") == "plain"


def test_all_die_when_the_upper_emperor_is_killed(court: Town) -> None:
    put_emperor(court)
    with reign(*words_of(court)) as daemon:
        daemon.up(EMPEROR)
        pids = serve(court, *SITES)
        daemon.kill()  # fails if anybody outlives it
        assert alive(pids) == []


def test_all_come_back_when_the_lower_emperor_is_killed(court: Town) -> None:
    put_emperor(court)
    with reign(*words_of(court)) as daemon:
        pid = daemon.up(EMPEROR)
        before = serve(court, *SITES)
        os.kill(pid, signal.SIGKILL)
        daemon.expect("died (SIGKILL): spawning it again", EMPEROR)
        assert daemon.up(EMPEROR) != pid
        eventually(lambda: not alive(before))
        after = serve(court, *SITES)
        assert not set(before) & set(after)


def test_a_lower_emperor_whose_config_is_wrong_is_tried_again(court: Town) -> None:
    put_emperor(court, ("emperor-backoff", "sideways"))
    with reign(*words_of(court)) as daemon:
        daemon.expect("died (exit code 1): spawning it again in 1 s", EMPEROR)
        put_emperor(court)
        daemon.up(EMPEROR)
        serve(court, *SITES)


# -- below uWSGI's own Emperor -------------------------------------------------------------


@contextlib.contextmanager
def uwsgi_emperor(town: Town) -> Iterator[subprocess.Popen[bytes]]:
    """uWSGI's own Emperor, which starts ours for each of its vassals."""
    words = ["--master", "--emperor", town.vassals, "--emperor-freq", "1"]
    with open(f"{town.root}/log", "wb") as log:
        process = subprocess.Popen(
            [town.server.path, *words, "--emperor-wrapper", put_program(town)],
            env=ENVIRONMENT,
            cwd=town.root,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def log_of(town: Town) -> str:
    """What that Emperor and all below it have said."""
    with open(f"{town.root}/log", encoding="utf-8", errors="replace") as file:
        return file.read()


def test_under_uwsgis_emperor_it_is_loyal_reloads_and_goes(one_court: Town) -> None:
    town = one_court
    bureau = put_emperor(town, ("vassal-set", "colour=red"))
    with uwsgi_emperor(town) as process:
        before = serve(town, *SITES)
        pid = bureau.stats()["pid"]
        loyal = "vassal sub.ini is now loyal"
        eventually(lambda: loyal in log_of(town), complaint=lambda: log_of(town))
        put_emperor(town, ("vassal-set", "colour=blue"))
        os.utime(town.path(EMPEROR), (2_000_000_000, 2_000_000_000))  # it counts newer ones
        eventually(
            lambda: answer(town, "one.ini", "/opt?colour") == "blue",
            complaint=lambda: log_of(town),
        )
        assert alive(before) == []
        assert bureau.stats()["pid"] == pid
        last = serve(town, *SITES)
        process.send_signal(signal.SIGINT)
        process.wait(20.0)
        eventually(lambda: not alive([pid, *last]), complaint=lambda: log_of(town))


def test_all_die_when_uwsgis_emperor_is_killed(one_court: Town) -> None:
    town = one_court
    bureau = put_emperor(town)
    with uwsgi_emperor(town) as process:
        pids = serve(town, *SITES)
        pid = bureau.stats()["pid"]
        process.kill()
        process.wait(20.0)
        eventually(lambda: not alive([pid, *pids]), complaint=lambda: log_of(town))
