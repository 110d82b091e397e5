"""Tyrant mode as a whole: as whom vassals run, who is refused, and changes of owners."""

import errno
import grp
import json
import os
import pwd
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.e2e.asking import Control, until_vassal
from tests.e2e.daemon import Daemon, eventually, reign, state_of
from tests.e2e.tenants import (
    KINDS,
    Estate,
    edition_of,
    estate,
    fields,
    put_edition,
    read,
    rigged,
    vassals_of,
)
from tests.plugins.install import install
from tests.support.lesser import told_by_child
from tests.support.marks import needs_root

pytestmark = [pytest.mark.process, pytest.mark.uwsgi, needs_root]


@pytest.fixture
def place() -> Iterator[Estate]:
    with estate() as found:
        yield found


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@contextmanager
def tyranny(place: Estate, kind: str, *words: str) -> Iterator[Daemon]:
    """An Emperor of that kind, which can be asked, and whose workers lie if told to."""
    with reign(
        *place.words,
        *KINDS[kind],
        *("--emperor-control", f"{place.root}/control/socket"),
        *("--emperor-stats", f"{place.root}/control/stats"),
        *words,
        command=rigged(place),
        cwd=place.root,
    ) as daemon:
        yield daemon


def control(place: Estate) -> Control:
    return Control(path=f"{place.root}/control/socket")


def telling(home: str) -> tuple[str, str]:
    """The option for a vassal that says who it is, in files of its home, and stays."""
    text = f"cat /proc/self/status > {home}/status; exec sleep 100000"
    return ("vassal-exec", f"/bin/sh -c '{text}'")


def test_every_vassal_is_its_files_owner(place: Estate, kind: str) -> None:
    one, other = place.tenant(), place.tenant()
    place.give(
        place.path("one.ini"),
        "[uwsgi]\n{} = {}\n".format(*telling(place.home(one))),
        one,
        gid=20_777,
    )
    place.put("other.ini", other, telling(place.home(other)))
    site = place.tenant()
    place.put_site("site.ini", site, "hello", ("master", "true"))
    with tyranny(place, kind) as daemon:
        status = fields(read(f"{place.home(one)}/status"))
        assert (status["Uid"].split(), status["Gid"].split()) == ([str(one)] * 4, ["20777"] * 4)
        assert status["Groups"] == ""
        assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
        assert fields(read(f"{place.home(other)}/status"))["Uid"].split() == [str(other)] * 4
        daemon.up("site.ini")
        assert place.get(site, "/uid") == f"{site} {site}"
        assert until_vassal(f"{place.root}/control/stats", "site.ini", uid=site, gid=site)
        daemon.stop()


def refusals(place: Estate) -> dict[str, tuple[str, str]]:
    """Files that may not run: their names, why, and what to do; all are made."""
    uid, other = place.tenant(), place.tenant()
    give = place.give
    text = "[uwsgi]\nvassal-exec = /bin/sleep 100000\n"
    give(place.path("root.ini"), text, 0)
    give(place.path("wheel.ini"), text, uid, gid=0)
    os.chmod(give(place.path("group.ini"), text, uid), 0o660)
    os.chmod(give(place.path("world.ini"), text, uid), 0o606)
    mine = give(f"{place.home(uid)}/mine.ini", text, uid)
    os.symlink(mine, place.path("stray.ini"))
    os.chown(place.path("stray.ini"), other, other, follow_symlinks=False)
    shared = f"{place.root}/shared"
    os.mkdir(shared)
    os.chmod(shared, 0o1777)
    give(f"{shared}/target.ini", text, uid)
    os.symlink(f"{shared}/target.ini", place.path("open.ini"))
    os.chown(place.path("open.ini"), uid, uid, follow_symlinks=False)
    os.symlink(place.path("loop.ini"), place.path("loop.ini"))
    return {
        "root.ini": ("belongs to root, uid 0", f"chown USER:GROUP {place.path('root.ini')}"),
        "wheel.ini": ("belongs to the group root, gid 0", "chown :GROUP"),
        "group.ini": ("may be written by the group", f"chmod go-w {place.path('group.ini')}"),
        "world.ini": ("may be written by everybody", f"chmod go-w {place.path('world.ini')}"),
        "stray.ini": (f"belongs to uid {other} and leads to", f"chown -h {uid}"),
        "open.ini": ("may be written by everybody", f"chmod go-w {shared}"),
    }


def test_who_is_refused(place: Estate, kind: str) -> None:
    wanted = refusals(place)
    put_edition(place, 0)
    with tyranny(place, kind) as daemon:
        for name, (reason, remedy) in wanted.items():
            message = daemon.expect("does not compile", name, level="error")
            assert reason in message
            assert remedy in message
            why = control(place)("why", name)
            assert reason in why.out
            assert remedy in why.out
        eventually(lambda: edition_of(place) == 0)
        done = control(place)("status", *wanted)
        assert done.code == 1
        answers = control(place)("status", "--json").data
        assert {answer["name"] for answer in answers if answer["ok"]} == {"busy.ini"}
        spawned = {line.vassal for line in daemon.lines if "spawned" in line.message}
        assert spawned == {"busy.ini"}
        os.chown(place.path("root.ini"), place.tenant(), 20_777)
        daemon.spawned("root.ini")
        os.chmod(place.path("group.ini"), 0o600)
        daemon.spawned("group.ini")


def test_a_directory_that_everybody_may_write(place: Estate, kind: str) -> None:
    uid = place.tenant()
    place.put_plain("a.ini", uid)
    os.chmod(place.vassals, 0o777)
    with tyranny(place, kind) as daemon:
        message = daemon.expect("does not compile", "a.ini", level="error")
        assert f"chmod go-w {place.vassals}" in message
        os.chmod(place.vassals, 0o755)
        os.utime(place.path("a.ini"))
        daemon.spawned("a.ini")


def test_a_changed_owner_ends_it_and_a_touch_begins_it(place: Estate, kind: str) -> None:
    one, other = place.tenant(), place.tenant()
    path = place.put_plain("a.ini", one)
    with tyranny(place, kind) as daemon:
        pid = daemon.spawned("a.ini")
        os.chown(path, other, other)
        daemon.expect("belongs to", "a.ini")
        eventually(lambda: state_of(pid) == "", complaint=lambda: str(daemon))
        eventually(lambda: not vassals_of(one))
        os.utime(path)
        pid = daemon.spawned("a.ini")
        eventually(lambda: vassals_of(other) == [pid])
        assert until_vassal(f"{place.root}/control/stats", "a.ini", uid=other, gid=other)


def test_it_is_told_why_a_changed_owner_ended_it(place: Estate, kind: str) -> None:
    one, other = place.tenant(), place.tenant()
    path = place.put_plain("a.ini", one)
    with tyranny(place, kind) as daemon:
        pid = daemon.spawned("a.ini")
        os.chown(path, other, other)
        eventually(lambda: state_of(pid) == "", complaint=lambda: str(daemon))
        why = control(place)("why", "a.ini").out
        assert f"{one}:{one}" in why, why
        assert f"{other}:{other}" in why


def assert_honest(place: Estate) -> None:
    """An honest vassal is started now, and so has everything had its turn that came before."""
    put_edition(place, 0)
    eventually(lambda: edition_of(place) == 0)


def test_a_file_that_is_given_to_root(place: Estate, kind: str) -> None:
    uid = place.tenant()
    path = place.put_plain("a.ini", uid)
    with tyranny(place, kind) as daemon:
        pid = daemon.spawned("a.ini")
        os.chown(path, 0, 0)
        eventually(lambda: state_of(pid) == "", 5.0, lambda: str(daemon))


def test_the_link_says_who_it_is(place: Estate, kind: str) -> None:
    """With -nofollow root's skeletons run as the owner of the link."""
    uid = place.tenant()
    skeleton = place.give(
        f"{place.root}/skeleton.ini",
        "[uwsgi]\nvassal-exec = /bin/sh -c 'cat /proc/self/status > "
        f"{place.root}/%n; exec sleep 100000'\n".replace("%n", f"{uid}/status"),
        0,
    )
    os.chmod(skeleton, 0o644)
    os.symlink(skeleton, place.path("a.ini"))
    os.chown(place.path("a.ini"), uid, uid, follow_symlinks=False)
    os.symlink(skeleton, place.path("rooted.ini"))
    with tyranny(place, kind, "--emperor-tyrant-nofollow") as daemon:
        assert fields(read(f"{place.home(uid)}/status"))["Uid"].split() == [str(uid)] * 4
        message = daemon.expect("does not compile", "rooted.ini", level="error")
        assert "its link" in message
        assert "belongs to root" in message


def test_with_its_groups(place: Estate, kind: str) -> None:
    account = next(
        (
            pwd.getpwnam(name)
            for group in grp.getgrall()
            for name in group.gr_mem
            if _is_user(name)
        ),
        None,
    )
    if account is None:
        pytest.skip("no account here has further groups")
    home = place.home(account.pw_uid)
    place.give(
        place.path("a.ini"),
        "[uwsgi]\n{} = {}\n".format(*telling(home)),
        account.pw_uid,
        gid=account.pw_gid,
    )
    with tyranny(place, kind, "--emperor-tyrant-initgroups"):
        groups = {int(text) for text in fields(read(f"{home}/status"))["Groups"].split()}
        assert groups == set(os.getgrouplist(account.pw_name, account.pw_gid))


def _is_user(name: str) -> bool:
    with suppress(KeyError):
        return pwd.getpwnam(name).pw_uid > 0
    return False


def test_numbers_of_a_monitor(place: Estate) -> None:
    """A plugin gives vassals without a file, with a uid and a gid."""
    uid = place.tenant()
    packages = f"{place.root}/packages"
    os.mkdir(packages)
    install("emperor-lines", packages)
    text = "[uwsgi]\n{} = {}\n".format(*telling(place.home(uid)))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{place.root}/registry")
        listener.listen()
        listener.settimeout(20.0)
        with reign(
            *("--emperor", f"lines://{place.root}/registry", *place.words),
            environment={"PYTHONPATH": packages},
            cwd=place.root,
        ) as daemon:
            peer, _ = listener.accept()
            with peer:
                vassals = [
                    {"name": "good.ini", "text": text, "uid": uid, "gid": 20_777},
                    {"name": "root.ini", "text": text, "uid": 0, "gid": 0},
                    {"name": "none.ini", "text": text},
                    {"name": "stay.ini", "text": text, "uid": 2**32 - 1, "gid": uid},
                ]
                peer.sendall(json.dumps({"vassals": vassals}).encode() + b"\n")
                status = fields(read(f"{place.home(uid)}/status"))
                assert status["Uid"].split() == [str(uid)] * 4
                assert status["Gid"].split() == ["20777"] * 4
                for name in ("root.ini", "none.ini", "stay.ini"):
                    message = daemon.expect("does not compile", name, level="error")
                    assert "its monitor gives it" in message


def test_what_was_kept_is_for_its_owner_alone(place: Estate, kind: str) -> None:
    """The last good config of a file is not that of the next owner's."""
    one, other = place.tenant(), place.tenant()
    place.put("a.ini", one, telling(place.home(one)))
    with tyranny(place, kind) as daemon:
        daemon.spawned("a.ini")
        read(f"{place.home(one)}/status")
    assert os.listdir(f"{place.root}/state")
    place.give(place.path("a.ini"), "[uwsgi]\nini = missing.ini\n", other)
    os.unlink(f"{place.home(one)}/status")
    with tyranny(place, kind) as daemon:
        daemon.expect("does not compile", "a.ini", level="error")
        assert_honest(place)
        assert not any(
            "spawned" in line.message for line in daemon.lines if line.vassal == "a.ini"
        )
    assert not os.path.exists(f"{place.home(one)}/status")


# -- sockets -------------------------------------------------------------------------------


def test_an_address_beside_the_file(place: Estate, kind: str) -> None:
    """``emperor-on-demand-extension``: the tenant's text is read and opened as the tenant."""
    evil = f"{place.root}/evil.sock"
    contents = {
        "rooted": evil,
        "low": "127.0.0.1:81",
        "link": ("/etc/shadow",),
        "fifo": None,
        "good": "HOME/good.sock",
    }
    homes = {}
    for name, content in contents.items():
        uid = place.tenant()
        homes[name] = place.home(uid)
        path = f"{place.vassals}/{name}.ini.socket"
        if content is None:
            os.mkfifo(path)
        elif isinstance(content, tuple):
            os.symlink(content[0], path)
        else:
            place.give(path, content.replace("HOME", place.home(uid)), uid)
        os.chown(path, uid, uid, follow_symlinks=False)
        place.put_plain(f"{name}.ini", uid)
    with tyranny(place, kind, "--emperor-on-demand-extension", ".socket") as daemon:
        eventually(lambda: os.path.exists(f"{homes['good']}/good.sock"))
        found = os.stat(f"{homes['good']}/good.sock")
        assert found.st_uid == int(os.path.basename(homes["good"]))
        for name in ("rooted", "low"):
            daemon.expect("cannot listen", f"{name}.ini", level="error")
        assert_honest(place)
        assert not os.path.exists(evil)
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", 81)) != 0
        first = Path("/etc/shadow").read_text().splitlines()[0]
        told = [line for line in daemon.lines if first in line.message]
        assert told == []


def test_nobody_is_ready_by_anothers_word(place: Estate, kind: str) -> None:
    """The path of a NOTIFY_SOCKET is no secret: who sends decides."""
    victim, other = place.tenant(), place.tenant()
    place.put(
        "victim.ini",
        victim,
        (
            "vassal-exec",
            f"/bin/sh -c 'echo $NOTIFY_SOCKET > {place.home(victim)}/path; exec sleep 100000'",
        ),
        ("vassal-ready", "notify"),
    )
    with tyranny(place, kind) as daemon:
        daemon.spawned("victim.ini")
        path = read(f"{place.home(victim)}/path").strip()
        assert told_by_child(lambda: sent(path, other)) in (errno.EACCES, errno.EPERM, 0)
        told_by_child(lambda: sent(path, victim))  # that user, but none of its processes
        assert_honest(place)
        daemon.expect("refused", "victim.ini", level="warning")
        assert not any("is ready" in text for text in daemon.said("victim.ini"))


def sent(path: str, uid: int) -> int:
    """Say READY=1 there as that user; gives the error's number, or 0."""
    os.setgroups(())
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.sendto(b"READY=1", path)
        except OSError as error:
            return error.errno or 0
    return 0


# -- holes that were found, and stay closed ------------------------------------------------


def test_a_log_in_proc(place: Estate, kind: str) -> None:
    uid = place.tenant()
    number = 123_456_789
    place.put(
        "a.ini",
        uid,
        ("vassal-exec", f"/bin/sh -c 'printf {number}; exec sleep 100000'"),
        ("vassal-log", "/proc/self/timerslack_ns"),
    )
    with tyranny(place, kind) as daemon:
        daemon.expect("log file /proc/self/timerslack_ns", "a.ini", level="warning")
        assert int(Path(f"/proc/{daemon.pid}/timerslack_ns").read_text()) != number


def test_the_directory_is_exchanged(place: Estate, kind: str) -> None:
    """A tenant's own directory becomes a link to one that the tenant may not get to."""
    uid = place.tenant()
    home = place.home(uid)
    directory, inner = f"{home}/vassals", f"{place.root}/closed/inner"
    os.mkdir(directory)
    os.chown(directory, uid, uid)
    os.makedirs(inner)
    Path(f"{inner}/secret").write_text("sesame\n")
    os.chmod(os.path.dirname(inner), 0o700)
    text = f"cat secret >> {home}/loot 2>&1; echo said >> {home}/loot; exec sleep 100000"
    place.give(f"{directory}/a.ini", f"[uwsgi]\nvassal-exec = /bin/sh -c '{text}'\n", uid)
    with tyranny(
        place, kind, "--emperor", directory, "--emperor-settle-seconds", "5"
    ) as daemon:
        pid = daemon.spawned("a.ini")
        read(f"{home}/loot")
        os.rename(directory, f"{home}/old")
        os.symlink(inner, directory)
        os.chown(directory, uid, uid, follow_symlinks=False)
        os.kill(pid, signal.SIGKILL)
        daemon.expect("died", "a.ini")
        assert_honest(place)
        with suppress(AssertionError):  # it need not be started again at all
            daemon.spawned("a.ini", seconds=2.0)
            eventually(lambda: read(f"{home}/loot").count("said") > 1, 2.0)
        assert "sesame" not in Path(f"{home}/loot").read_text()


def test_the_emperors_log_is_not_a_tenants(place: Estate, kind: str) -> None:
    uid = place.tenant()
    program = f"{place.root}/truncate"
    source = f"{place.root}/truncate.c"
    Path(source).write_text(
        "#include <unistd.h>\nint main(void) { int failed = ftruncate(1, 0) && ftruncate(2, 0);"
        " return failed && lseek(1, 0, 0) < 0 ? 0 : failed; }\n"
    )
    subprocess.run(["cc", "-o", program, source], check=True)
    log = f"{place.root}/log"
    text = f"{program}; echo > {place.home(uid)}/done; exec sleep 100000"
    with reign_into(log, place, kind):
        place.put("a.ini", uid, ("vassal-exec", f"/bin/sh -c '{text}'"))
        read(f"{place.home(uid)}/done")
        assert "the Emperor governs" in Path(log).read_text()


@contextmanager
def reign_into(log: str, place: Estate, kind: str) -> Iterator[None]:
    """An Emperor with a log file of its own."""
    process = subprocess.Popen(
        [
            *(*rigged(place), "run", *place.words, *KINDS[kind]),
            *("--logto", log, "--emperor-control", "none"),
        ],
        cwd=place.root,
        env={"PATH": "/usr/bin:/bin", "HOME": "/"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        eventually(lambda: os.path.exists(log) and "governs" in Path(log).read_text())
        yield
    finally:
        process.terminate()
        process.wait(20.0)
