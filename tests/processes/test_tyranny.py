"""Tyrant mode's judgement of real files, links and directories, and of those who race it."""

import errno
import json
import os
import re
import resource
import shlex
import socket
import stat
import struct
import subprocess
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from tests.support.marks import needs_root

from emperor.runtime.tenants.tyranny import Admitted, Denied, judge, judge_numbers
from emperor.runtime.tenants.walk import STEP_LIMIT, quoted

pytestmark = pytest.mark.process
ALICE, BOB, EMPEROR = 20001, 20002, 20009
MINE = ALICE if os.geteuid() == 0 else os.geteuid()
MY_GROUP = ALICE if os.geteuid() == 0 else os.getegid()
_RACE_CALLS = 2000


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    """Hold every test to closing what it was given, and the judge to all the rest."""
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.fixture(autouse=True)
def _usual_mask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A tenant's directory, as other people may see it."""
    return directory(tmp_path / "home")


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory of root's that everybody may walk through, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def give(path: Path, uid: int = MINE, gid: int | None = None) -> Path:
    if os.geteuid() == 0:
        os.chown(path, uid, uid if gid is None else gid, follow_symlinks=False)
    return path


def directory(path: Path, uid: int = MINE, mode: int = 0o755) -> Path:
    path.mkdir()
    path.chmod(mode)
    return give(path, uid)


def file(path: Path, uid: int = MINE, gid: int | None = None, mode: int = 0o644) -> Path:
    path.write_text("[uwsgi]\n")
    path.chmod(mode)
    return give(path, uid, gid)


def link(path: Path, goal: str | Path, uid: int = MINE, gid: int | None = None) -> Path:
    path.symlink_to(goal)
    return give(path, uid, gid)


def admitted(path: str | Path, *, nofollow: bool = False) -> tuple[int, int, str]:
    """Uid, gid, and the file that the descriptor holds."""
    verdict = judge(str(path), nofollow=nofollow)
    assert isinstance(verdict, Admitted), verdict
    try:
        held = os.readlink(f"/proc/self/fd/{verdict.descriptor}")
        flags = Path(f"/proc/self/fdinfo/{verdict.descriptor}").read_text()
        opened_with = int(re.findall(r"flags:\s*(\d+)", flags)[0], 8)
        assert opened_with & os.O_PATH
        assert opened_with & os.O_CLOEXEC
    finally:
        os.close(verdict.descriptor)
    return verdict.uid, verdict.gid, held


def denied(path: str | Path, *, nofollow: bool = False) -> Denied:
    verdict = judge(str(path), nofollow=nofollow)
    assert isinstance(verdict, Denied), verdict
    assert not verdict.reason.endswith(".")
    return verdict


def owned(path: str | Path) -> tuple[int, int, str]:
    return MINE, MY_GROUP, str(path)


# Owners


def test_a_tenants_file_runs_as_the_tenant(home: Path) -> None:
    path = file(home / "app.ini")
    assert admitted(path) == owned(path)


@needs_root
def test_uid_and_gid_are_those_of_the_file(home: Path) -> None:
    path = file(home / "app.ini", ALICE, BOB, mode=0o600)
    assert admitted(path) == (ALICE, BOB, str(path))


@needs_root
def test_roots_file_is_refused(home: Path) -> None:
    path = file(home / "app.ini", 0, ALICE)
    verdict = denied(path)
    assert verdict.reason == f"its file {path} belongs to root, uid 0 (mode 0644)"
    assert verdict.remedy == f"chown USER:GROUP {path}"


@needs_root
def test_the_group_of_root_is_refused(home: Path) -> None:
    path = file(home / "app.ini", ALICE, 0)
    verdict = denied(path)
    assert "belongs to the group root, gid 0, and to uid 20001 (mode 0644)" in verdict.reason
    assert verdict.remedy == f"chown :GROUP {path}"


@needs_root
def test_a_user_of_the_host_is_called_by_name(home: Path) -> None:
    nobody = 65534
    verdict = denied(file(home / "app.ini", nobody, 0))
    assert "nobody, uid 65534" in verdict.reason
    assert verdict.remedy.startswith("chown :65534 ")


@pytest.mark.parametrize(("uid", "gid"), [(ALICE, ALICE), (1, 1), (2**32 - 2, 2**32 - 2)])
def test_numbers_of_a_tenant(uid: int, gid: int) -> None:
    assert judge_numbers(uid, gid) is None


@pytest.mark.parametrize(
    ("uid", "gid", "named"),
    [
        (0, ALICE, "uid 0"),
        (ALICE, 0, "gid 0"),
        (-1, ALICE, "uid -1"),
        (ALICE, -1, "gid -1"),
        (2**32 - 1, ALICE, "uid 4294967295"),
        (ALICE, 2**32, "gid 4294967296"),
    ],
)
def test_numbers_that_are_root_or_lead_there(uid: int, gid: int, named: str) -> None:
    verdict = judge_numbers(uid, gid)
    assert verdict is not None
    assert named in verdict.reason


# Modes


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o620, 0o602])
def test_a_file_that_others_may_write_is_refused(home: Path, mode: int) -> None:
    path = file(home / "app.ini", mode=mode)
    verdict = denied(path)
    assert f"mode {mode:04o}" in verdict.reason
    assert verdict.remedy == f"chmod go-w {path}"
    subprocess.run(shlex.split(verdict.remedy), check=True)
    assert admitted(path) == owned(path)


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777, 0o1775])
def test_the_directory_of_the_file_is_no_others_to_write(home: Path, mode: int) -> None:
    path = file(home / "app.ini")
    home.chmod(mode)
    verdict = denied(path)
    assert f"{home} " in verdict.reason
    assert f"mode {mode:04o}" in verdict.reason
    subprocess.run(shlex.split(verdict.remedy), check=True)
    assert admitted(path) == owned(path)


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_directory_on_the_way_is_no_others_to_write(home: Path, mode: int) -> None:
    path = file(directory(home / "vassals") / "app.ini")
    home.chmod(mode)
    assert f"{home} " in denied(path).reason
    home.chmod(0o755)
    assert admitted(path) == owned(path)


def test_a_sticky_directory_on_the_way_is_harmless(home: Path) -> None:
    path = file(directory(home / "vassals") / "app.ini")
    home.chmod(0o1777)
    assert admitted(path) == owned(path)


def test_the_directory_of_a_link_to_the_file_counts_too(home: Path, tmp_path: Path) -> None:
    shown = link(directory(tmp_path / "shown") / "app.ini", file(home / "app.ini"))
    assert admitted(shown) == owned(home / "app.ini")
    (tmp_path / "shown").chmod(0o1777)
    assert "/shown " in denied(shown).reason
    assert "/shown " in denied(shown, nofollow=True).reason


def test_the_directory_of_a_further_link_counts_too(home: Path, tmp_path: Path) -> None:
    between = link(directory(tmp_path / "between") / "app.ini", file(home / "app.ini"))
    shown = link(directory(tmp_path / "shown") / "app.ini", between)
    (tmp_path / "between").chmod(0o1777)
    assert "/between " in denied(shown).reason


def test_a_directory_that_only_a_link_walks_through_counts_too(home: Path) -> None:
    file(directory(directory(home / "open") / "real") / "app.ini")
    (home / "open").chmod(0o777)
    assert "/open " in denied(link(home / "app.ini", "open/real/app.ini")).reason
    assert "/open " in denied(link(home / "back.ini", "open/real/../../app.ini")).reason


def test_a_list_of_further_writers_shows_in_the_mode(home: Path) -> None:
    path = file(home / "app.ini", mode=0o600)
    no_id = 2**32 - 1
    entries = [(1, 6, no_id), (2, 6, BOB), (4, 0, no_id), (16, 6, no_id), (32, 0, no_id)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", acl)
    except OSError as error:
        if error.errno != errno.ENOTSUP:  # this file system has no such lists
            raise
        return
    assert "(mode 0660) may be written by the group" in denied(path).reason


# Links


def test_relative_absolute_and_nested_links(home: Path) -> None:
    real = file(directory(home / "real") / "app.ini")
    links = directory(home / "links")
    link(links / "absolute.ini", real)
    link(links / "relative.ini", "../real/./app.ini")
    link(links / "nested.ini", "relative.ini")
    link(links / "deep.ini", links / "nested.ini")
    link(links / "through.ini", "../current//app.ini")
    link(home / "current", "real/")
    link(links / "rise.ini", "../current/../real/app.ini")
    for shown in sorted(links.iterdir()):
        assert admitted(shown) == owned(real)
        assert admitted(shown, nofollow=True) == owned(real)


def test_a_path_may_go_through_links_and_parents(home: Path) -> None:
    real = file(directory(home / "real") / "app.ini")
    link(home / "current", "real")
    give(link(home / "top", "/"), 0)
    assert admitted(f"{home}/current/../current/./app.ini") == owned(real)
    assert admitted(f"{home}/top/{real}") == owned(real)
    assert admitted(f"/../..{real}") == owned(real)


def test_a_parent_is_that_of_the_links_goal(home: Path) -> None:
    directory(directory(home / "deep") / "er")
    right = file(home / "deep" / "app.ini")
    file(home / "app.ini")
    link(home / "jump", "deep/er")
    assert admitted(f"{home}/jump/../app.ini") == owned(right)


@needs_root
def test_a_link_to_the_file_is_its_owners(home: Path) -> None:
    path = link(home / "app.ini", file(home / "real.ini"), BOB)
    verdict = denied(path)
    assert f"the link {path} belongs to uid {BOB} and leads to" in verdict.reason
    assert f"{home}/real.ini of uid {ALICE} (mode 0644)" in verdict.reason
    assert verdict.remedy == f"chown -h {ALICE} {path}"
    subprocess.run(shlex.split(verdict.remedy), check=True)
    assert admitted(path) == owned(home / "real.ini")


@needs_root
@pytest.mark.parametrize("owner", [0, BOB])
def test_every_further_link_to_the_file_is_its_owners(home: Path, owner: int) -> None:
    link(home / "between.ini", file(home / "real.ini"), owner)
    path = link(home / "app.ini", "between.ini")
    assert f"the link {home}/between.ini belongs to" in denied(path).reason
    give(home / "between.ini", ALICE)
    assert admitted(path) == owned(home / "real.ini")


@needs_root
def test_a_link_to_a_directory_is_roots_or_the_directorys_owners(home: Path) -> None:
    path = file(directory(home / "releases") / "app.ini")
    current = link(home / "current", "releases", BOB)
    verdict = denied(current / "app.ini")
    assert f"the link {current} belongs to uid {BOB}" in verdict.reason
    assert f"{home}/releases of uid {ALICE} (mode 0755)" in verdict.reason
    for owner in (0, ALICE):
        give(current, owner)
        assert admitted(current / "app.ini") == owned(path)
    give(current, BOB)
    give(home / "releases", BOB)
    assert admitted(current / "app.ini") == owned(path)


@needs_root
def test_what_counts_is_the_directory_at_the_end_of_all_links(home: Path) -> None:
    file(directory(home / "real", ALICE) / "app.ini")
    link(directory(home / "bobs", BOB) / "on", home / "real", ALICE)
    link(home / "current", "bobs/on/", BOB)
    assert f"the link {home}/current belongs" in denied(home / "current" / "app.ini").reason


@needs_root
def test_without_following_the_link_says_who(home: Path) -> None:
    real = file(home / "skeleton.ini", 0, 0)
    path = link(home / "app.ini", "skeleton.ini", ALICE, BOB)
    assert admitted(path, nofollow=True) == (ALICE, BOB, str(real))
    assert "skeleton.ini belongs to root" in denied(path).reason
    real.chmod(0o666)
    assert "skeleton.ini of root, uid 0 (mode 0666)" in denied(path, nofollow=True).reason


@needs_root
@pytest.mark.parametrize(("uid", "gid"), [(0, ALICE), (ALICE, 0)])
def test_without_following_roots_link_is_refused(home: Path, uid: int, gid: int) -> None:
    file(home / "real.ini")
    verdict = denied(link(home / "app.ini", "real.ini", uid, gid), nofollow=True)
    assert f"its link {home}/app.ini belongs to" in verdict.reason
    assert verdict.remedy.startswith("chown -h ")


@needs_root
def test_without_following_only_the_first_link_counts(home: Path) -> None:
    file(home / "real.ini", 0, 0)
    link(home / "between.ini", "real.ini", BOB)
    path = link(home / "app.ini", "between.ini", ALICE)
    assert admitted(path, nofollow=True) == (ALICE, ALICE, f"{home}/real.ini")


@needs_root
def test_without_following_a_file_and_a_detour_are_judged_as_ever(home: Path) -> None:
    path = file(home / "app.ini")
    assert admitted(path, nofollow=True) == owned(path)
    assert "belongs to root" in denied(file(home / "r.ini", 0), nofollow=True).reason
    link(home / "aside", ".", BOB)
    assert "/aside belongs" in denied(home / "aside" / "app.ini", nofollow=True).reason


# What is no vassal's file at all


@pytest.mark.parametrize("nofollow", [False, True])
def test_links_in_a_circle_end(home: Path, nofollow: bool) -> None:
    link(home / "a.ini", "b.ini")
    link(home / "b.ini", "a.ini")
    link(home / "round", "round/on")
    assert "too many links" in denied(home / "a.ini", nofollow=nofollow).reason
    assert "too many links" in denied(home / "round" / "app.ini", nofollow=nofollow).reason


def test_forty_links_are_followed_and_no_more(home: Path) -> None:
    file(home / "0.ini")
    for number in range(1, 42):
        link(home / f"{number}.ini", f"{number - 1}.ini")
    assert admitted(home / "40.ini") == owned(home / "0.ini")
    assert "too many links" in denied(home / "41.ini").reason


def test_a_link_that_is_very_long_ends(home: Path) -> None:
    path = link(home / "app.ini", "./" * STEP_LIMIT + "real.ini")
    file(home / "real.ini")
    assert "too many names" in denied(path).reason


@pytest.mark.parametrize("where", ["app.ini", "sub/app.ini"])
def test_what_is_missing_is_named(home: Path, where: str) -> None:
    verdict = denied(home / where)
    assert f"{home}/{where.split('/', maxsplit=1)[0]}" in verdict.reason
    assert "does not exist" in verdict.reason
    assert not verdict.is_passing
    assert verdict.remedy == f"namei -l {home}/{where}"


def test_a_link_to_nothing_is_named(home: Path) -> None:
    verdict = denied(link(home / "app.ini", "gone.ini"))
    assert f"{home}/gone.ini, on the way to its file {home}/app.ini, does not" in verdict.reason


def test_neither_a_fifo_nor_a_device_nor_a_socket_is_touched(home: Path) -> None:
    os.mkfifo(home / "fifo.ini")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(home / "socket.ini"))
    directory(home / "directory.ini")
    for name, what in (("fifo", "FIFO"), ("socket", "socket"), ("directory", "directory")):
        assert f"is a {what}" in denied(home / f"{name}.ini").reason
        shown = link(home / f"to-{name}.ini", f"{name}.ini")
        assert f"is a {what}" in denied(shown, nofollow=True).reason
    assert "is a character device" in denied("/dev/null").reason
    assert "is a directory" in denied("/").reason
    assert "is a directory" in denied(home / "directory.ini" / "..").reason


def test_a_file_is_no_directory(home: Path) -> None:
    path = file(home / "app.ini")
    assert "is a file, no directory" in denied(path / "more.ini").reason
    assert "is a file, no directory" in denied(f"{path}/").reason
    assert "is a file, no directory" in denied(link(home / "to.ini", "app.ini/")).reason


def test_descriptors_of_processes_are_only_what_their_text_says(home: Path) -> None:
    path = file(home / "app.ini")
    with path.open() as opened:
        named = f"/proc/self/fd/{opened.fileno()}"
        held = link(home / "held.ini", named)
        if os.geteuid() == 0:  # that link in /proc is root's, and the file is not
            assert "the link /proc/" in denied(named).reason
            assert "the link /proc/" in denied(held).reason
        else:
            assert admitted(named) == owned(path)
            assert admitted(held) == owned(path)
        path.unlink()
        assert "does not exist" in denied(held).reason
    reading, writing = os.pipe()
    try:
        assert "does not exist" in denied(f"/proc/self/fd/{reading}").reason
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("path", ["", "app.ini", "./app.ini", "/a\0b", "/\ud800"])
def test_what_is_no_path_is_refused(path: str) -> None:
    assert "no absolute path" in denied(path).reason


def test_a_name_that_is_too_long_is_refused(home: Path) -> None:
    assert "cannot be looked at: File name too long" in denied(home / ("x" * 256)).reason


def test_names_of_every_kind_stay_one_word_and_one_line(home: Path) -> None:
    for name in ("a b.ini", "it's.ini", "n\nl.ini", "\x1b[0m.ini", "\udcff.ini", "$(id).ini"):
        path = file(home / name, mode=0o666)
        verdict = denied(path)
        assert verdict.reason.isprintable()
        assert verdict.remedy.isprintable()
        subprocess.run(["bash", "-c", verdict.remedy], check=True)
        assert admitted(path)[:2] == (MINE, MY_GROUP)
    assert quoted("/plain/app.ini") == "/plain/app.ini"


# What the system refuses


def test_without_descriptors_the_system_has_the_word(home: Path) -> None:
    path = file(directory(home / "sub") / "app.ini")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open("/", os.O_PATH)
    os.close(lowest_free)
    depth = len(path.parts)
    try:
        for spare in range(depth):
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + spare, hard))
            verdict = judge(str(path), nofollow=False)
            assert isinstance(verdict, Denied)
            assert f"cannot be looked at: {os.strerror(errno.EMFILE)}" in verdict.reason
            assert verdict.is_passing
            assert verdict.remedy.startswith("prlimit --nofile=")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert admitted(path) == owned(path)


@needs_root
def test_an_emperor_who_is_not_root_needs_to_be_let_through(public: Path) -> None:
    path = file(directory(public / "alice", ALICE, 0o700) / "app.ini", ALICE, mode=0o600)
    reason, remedy = as_user(EMPEROR, lambda: verdict_of(path))
    assert "cannot be looked at: Permission denied" in reason
    assert remedy == f"chmod o+x {public}/alice"
    subprocess.run(shlex.split(remedy), check=True)
    assert as_user(EMPEROR, lambda: verdict_of(path)) == [str(ALICE), str(ALICE)]


@needs_root
def test_links_of_an_emperor_who_is_not_root_are_good_for_directories(public: Path) -> None:
    file(directory(public / "alice", ALICE) / "app.ini", ALICE)
    shown = link(public / "shown", "alice", EMPEROR) / "app.ini"
    assert as_user(EMPEROR, lambda: verdict_of(shown)) == [str(ALICE), str(ALICE)]
    assert f"belongs to uid {EMPEROR}" in denied(shown).reason


def verdict_of(path: Path) -> list[str]:
    verdict = judge(str(path), nofollow=False)
    if isinstance(verdict, Denied):
        return [verdict.reason, verdict.remedy]
    return [str(verdict.uid), str(verdict.gid)]


def as_user(uid: int, ask: Callable[[], list[str]]) -> list[str]:
    """What somebody else is answered: a fork, as nobody else could start this interpreter."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.write(writing, json.dumps(ask()).encode())
        except BaseException:  # noqa: BLE001 -- a fork must never go back into pytest
            traceback.print_exc()
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return cast(list[str], json.loads(said))


# Races


@contextmanager
def exchanging(*swaps: tuple[Path, Path]) -> Iterator[None]:
    """Keep exchanging what lies at pairs of names, each in one rename after the other."""
    over = threading.Event()
    begun = threading.Event()

    def exchange() -> None:
        while not over.is_set():
            for shown, spare in swaps:
                aside = spare.with_name(f"{spare.name}.aside")
                shown.rename(aside)
                spare.rename(shown)
                aside.rename(spare)
            begun.set()

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        assert begun.wait(30)
        yield
    finally:
        over.set()
        thread.join()


def race(path: Path, *, nofollow: bool, may_be: set[tuple[int, int]]) -> None:
    """Judge while others exchange things: what is admitted is good, and both answers come."""
    seen = {Admitted: 0, Denied: 0}
    calls = 0
    while calls < _RACE_CALLS or (0 in seen.values() and calls < 100 * _RACE_CALLS):
        calls += 1
        verdict = judge(str(path), nofollow=nofollow)
        seen[type(verdict)] += 1
        if isinstance(verdict, Denied):
            continue
        found = os.fstat(verdict.descriptor)
        os.close(verdict.descriptor)
        assert stat.S_ISREG(found.st_mode)
        assert not found.st_mode & 0o022
        assert (verdict.uid, verdict.gid) in may_be
        if not nofollow:
            assert (verdict.uid, verdict.gid) == (found.st_uid, found.st_gid)
        # Every good file of these tests says so itself; a bad one never does.
        assert found.st_size == len("[uwsgi]\n")
    assert seen[Admitted]
    assert seen[Denied]


def bad(path: Path) -> Path:
    path.write_text("[uwsgi]\n# not to be admitted\n")
    return path


def test_race_for_the_file(home: Path) -> None:
    path = file(home / "app.ini")
    spare = bad(file(home / "spare.ini"))
    spare.chmod(0o666)
    with exchanging((path, spare)):
        race(path, nofollow=False, may_be={(MINE, MY_GROUP)})


@needs_root
def test_race_for_the_owner_of_the_file(home: Path) -> None:
    path = file(home / "app.ini")
    with exchanging((path, bad(file(home / "spare.ini", 0, 0)))):
        race(path, nofollow=False, may_be={(ALICE, ALICE)})


@needs_root
def test_race_between_a_file_and_a_link_to_anothers(home: Path) -> None:
    path = file(home / "app.ini")
    bad(file(home / "bobs.ini", BOB))
    with exchanging((path, link(home / "spare.ini", "bobs.ini", ALICE))):
        race(path, nofollow=False, may_be={(ALICE, ALICE)})


@needs_root
def test_race_for_the_link(home: Path) -> None:
    file(home / "good.ini")
    bad(file(home / "bobs.ini", BOB))
    path = link(home / "app.ini", "good.ini", ALICE)
    with exchanging((path, link(home / "spare.ini", "bobs.ini", ALICE))):
        race(path, nofollow=False, may_be={(ALICE, ALICE)})


@needs_root
def test_race_for_the_link_that_says_who(home: Path) -> None:
    file(home / "skeleton.ini", 0, 0)
    path = link(home / "app.ini", "skeleton.ini", ALICE, ALICE)
    with exchanging((path, link(home / "spare.ini", "skeleton.ini", BOB, 0))):
        race(path, nofollow=True, may_be={(ALICE, ALICE)})


def test_race_for_a_directory(home: Path) -> None:
    path = file(directory(home / "vassals") / "app.ini")
    bad(file(directory(home / "spare") / "app.ini"))
    (home / "spare").chmod(0o777)
    with exchanging((home / "vassals", home / "spare")):
        race(path, nofollow=False, may_be={(MINE, MY_GROUP)})


@needs_root
def test_race_for_a_link_to_a_directory(home: Path) -> None:
    file(directory(home / "1") / "app.ini")
    bad(file(directory(home / "2", BOB) / "app.ini"))
    link(home / "current", "1", ALICE)
    with exchanging((home / "current", link(home / "spare", "2", ALICE))):
        race(home / "current" / "app.ini", nofollow=False, may_be={(ALICE, ALICE)})


def test_race_between_a_file_and_a_fifo(home: Path) -> None:
    path = file(home / "app.ini")
    os.mkfifo(home / "spare.ini")
    with exchanging((path, home / "spare.ini")):
        race(path, nofollow=False, may_be={(MINE, MY_GROUP)})
