"""What tenants try by what they write into their vassal files, and what they get by it.

``python -m tests.e2e.test_attacks`` runs these and prints what was got, as a table.
"""

import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.daemon import eventually, reign, state_of
from tests.e2e.tenants import (
    COMPILE_SECONDS,
    EMPEROR,
    FIGURES,
    KINDS,
    QUIET,
    Siege,
    estate,
    fields,
    processes_of,
    read,
    siege,
    table,
)
from tests.support.marks import needs_root

pytestmark = [pytest.mark.process, pytest.mark.uwsgi, needs_root]

#: What every command of a tenant's is by the kernel's word.
BARE = {
    **dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapAmb"), "0" * 16),
    "Groups": "",
    "NoNewPrivs": "1",
}


@pytest.fixture(scope="module", params=KINDS)
def under(request: pytest.FixtureRequest) -> Iterator[Siege]:
    """An Emperor of each kind, the same one for all attacks."""
    with siege(request.param) as found:
        yield found


def n(what: str, uid: int) -> str:
    """The name of a tenant's vassal, which no other test has."""
    return f"{what}-{uid}.ini"


# -- what a config may read ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "option"),
    [
        ("a value from root's file", ("x", "@(/etc/shadow)")),
        ("root's file as a config", ("ini", "/etc/shadow")),
        ("a value from another's file", ("x", "@(SECRET)")),
        ("include another's file", ("include", "SECRET")),
        ("the memory of the worker", ("x", "@(/proc/self/mem)")),
    ],
)
def test_what_the_tenant_may_not_read(under: Siege, what: str, option: tuple[str, str]) -> None:
    place = under.estate
    uid = place.tenant()
    secret = place.give(f"{place.home(QUIET)}/secret.ini", "[uwsgi]\nsecret = sesame\n", QUIET)
    with under.attack(what, n("reader", uid)) as loot:
        place.put_plain(n("reader", uid), uid, (option[0], option[1].replace("SECRET", secret)))
        message = under.daemon.expect("does not compile", n("reader", uid), level="error")
        assert "Permission denied" in message
        assert "sesame" not in message
        loot.text = "0 bytes"
    first = Path("/etc/shadow").read_text().splitlines()[0]
    assert not any(first in line.message for line in under.daemon.lines)


def test_an_environment_of_another(under: Siege) -> None:
    place, pid = under.estate, under.honest["quiet.ini"]
    uid = place.tenant()
    with under.attack("another's environment", n("reader", uid)) as loot:
        place.put_plain(n("reader", uid), uid, ("x", f"@(/proc/{pid}/environ)"))
        under.daemon.expect("does not compile", n("reader", uid), level="error")
        loot.text = "0 bytes"


# -- what a command is ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "option"),
    [
        ("a command as a value", ("x", "@(exec://exec {})")),
        ("a command as a file", ("ini", "exec://exec {}; echo [uwsgi]")),
    ],
)
def test_who_a_command_is(under: Siege, what: str, option: tuple[str, str]) -> None:
    place = under.estate
    uid = place.tenant()
    home = place.home(uid)
    script = place.script(
        uid,
        "who.sh",
        f"cat /proc/self/status > {home}/status; ls -l /proc/self/fd > {home}/own\n"
        f"ls /proc/$PPID/fd > {home}/worker 2>&1; env > {home}/env; echo >> {home}/env",
    )
    with under.attack(what, n("who", uid)) as loot:
        place.put_plain(n("who", uid), uid, (option[0], option[1].format(script)))
        under.daemon.spawned(n("who", uid))
        status = fields(read(f"{home}/status"))
        assert status["Uid"].split() == [str(uid)] * 4
        assert status["Gid"].split() == [str(uid)] * 4
        assert {name: status[name] for name in BARE} == BARE
        opened = re.findall(r"(\d+) -> (\S+)", read(f"{home}/own"))
        assert {int(number) for number, _ in opened} <= {0, 1, 2, 3}, opened  # 3 is of ls
        assert not any("socket:" in target for _, target in opened), opened
        assert "Permission denied" in read(f"{home}/worker")
        assert "LISTEN_" not in read(f"{home}/env")
        loot.text = (
            "the tenant's uid, no groups, no capabilities, no_new_privs, descriptors 0 1 2"
        )


def test_what_a_worker_holds(under: Siege) -> None:
    place = under.estate
    uid = place.tenant()
    home = place.home(uid)
    os.mkfifo(f"{home}/gate")
    os.chown(f"{home}/gate", uid, uid)
    script = place.script(uid, "wait.sh", f"echo $PPID > {home}/pid; cat {home}/gate")
    with under.attack("the worker itself", n("held", uid)) as loot:
        place.put_plain(n("held", uid), uid, ("x", f"@(exec://exec {script})"))
        worker = int(read(f"{home}/pid"))
        status = fields(Path(f"/proc/{worker}/status").read_text())
        assert status["Uid"].split() == status["Gid"].split() == [str(uid)] * 4
        assert {name: status[name] for name in BARE} == BARE
        assert os.stat(f"/proc/{worker}/mem").st_uid == 0  # nobody but root may look into it
        held = [os.readlink(f"/proc/{worker}/fd/{n}") for n in os.listdir(f"/proc/{worker}/fd")]
        rest = [
            target
            for target in held
            if target not in ("/dev/null", place.path(n("held", uid)))
            and not target.startswith(("pipe:", "anon_inode:"))  # those of the command
        ]
        assert len(rest) == 1, held
        assert rest[0].startswith("socket:")
        with open(f"{home}/gate", "w", encoding="ascii") as gate:
            gate.write("done")
        under.daemon.spawned(n("held", uid))
        loot.text = "the tenant's uid, its connection and its own file"


# -- becoming somebody ---------------------------------------------------------------------


def attempts(text: str) -> list[tuple[str, int]]:
    """What a burglar could do, and to whom."""
    assert text.endswith("done\n"), text
    rows = [line.split() for line in text.splitlines()[:-1]]
    assert len(rows) > 20
    return [(what, int(target)) for what, target, result in rows if result == "yes"]


def test_a_command_breaks_out(under: Siege) -> None:
    place = under.estate
    uid = place.tenant()
    home = place.home(uid)
    rootid = f"{place.root}/rootid"
    if not os.path.exists(rootid):
        shutil.copy("/usr/bin/id", rootid)
        os.chmod(rootid, 0o4755)
    script = place.script(
        uid,
        "break.sh",
        f"{rootid} > {home}/suid\n"
        f"exec 5> {home}/reuid; setpriv --reuid 0 id >&5 2>&5; setpriv --regid 0 id >&5 2>&5\n"
        f"setpriv --reuid {EMPEROR} --clear-groups id >&5 2>&5; exec 5>&-\n"
        f"unshare --user --map-root-user cat /etc/shadow > {home}/userns 2>&1\n"
        f"dd if=/proc/$PPID/mem of=/dev/null count=1 2> {home}/mem\n"
        f"{place.burglar()} {EMPEROR} $PPID > {home}/worker 2>&1",
    )
    with under.attack("a command breaks out", n("burglar", uid)) as loot:
        place.put_plain(n("burglar", uid), uid, ("x", f"@(exec://exec {script})"))
        eventually(
            lambda: os.path.exists(f"{home}/worker"), complaint=lambda: str(under.daemon)
        )
        under.daemon.expect("", n("burglar", uid))
        assert f"uid={uid}" in read(f"{home}/suid")
        assert "euid=0" not in read(f"{home}/suid")
        assert "uid=" not in read(f"{home}/reuid")
        assert "root:" not in read(f"{home}/userns")
        assert "Permission denied" in read(f"{home}/mem")
        # its own worker it may stop and kill, and hurts nobody but itself
        own = {what for what, _ in attempts_until_dead(f"{home}/worker")}
        assert own <= {"limit", "schedule", "stop", "kill", "kill-group"}, own
        loot.text = (
            f"the tenant's uid; to its own worker: {', '.join(sorted(own)) or 'nothing'}"
        )


def attempts_until_dead(path: str) -> list[tuple[str, int]]:
    """As ``attempts``, of a burglar that may have killed what kept it."""
    with open(path, encoding="ascii") as file:
        rows = [line.split() for line in file if len(line.split()) == 3]
    assert rows
    return [(what, int(target)) for what, target, result in rows if result == "yes"]


@pytest.mark.parametrize("how", ["a command", "a program", "a uWSGI's hook"])
def test_burglary(under: Siege, how: str) -> None:
    place = under.estate
    uid = place.tenant()
    home = place.home(uid)
    targets = " ".join(map(str, under.targets))
    run = f"{place.burglar()} {EMPEROR} {targets} > {home}/loot 2>&1"
    script = place.script(uid, "rob.sh", f"{run}; grep ^Cap /proc/self/status > {home}/caps")
    with under.attack(f"burglary by {how}", n("burglar", uid)) as loot:
        match how:
            case "a command":
                place.put_plain(n("burglar", uid), uid, ("x", f"@(exec://exec {script})"))
            case "a program":
                command = f"/bin/sh -c '{script}; exec sleep 100000'"
                place.put(n("burglar", uid), uid, ("vassal-exec", command))
            case _:
                place.put_site(n("burglar", uid), uid, "hello", ("exec-pre-app", script))
        sets = fields(read(f"{home}/caps"))
        assert attempts(read(f"{home}/loot")) == []
        assert sets.pop("CapBnd") is not None
        assert set(sets.values()) == {"0" * 16}
        loot.text = "the tenant's uid, 0 capabilities, 0 of the attempts"


def test_another_tenants_worker(under: Siege) -> None:
    place = under.estate
    victim, uid = place.tenant(), place.tenant()
    os.mkfifo(f"{place.home(victim)}/gate")
    os.chown(f"{place.home(victim)}/gate", victim, victim)
    text = f"echo $$ $PPID > {place.home(victim)}/pids; cat {place.home(victim)}/gate"
    waiting = place.script(victim, "wait.sh", text)
    with under.attack(
        "another tenant's worker", n("victim", victim), n("burglar", uid)
    ) as loot:
        place.put_plain(n("victim", victim), victim, ("x", f"@(exec://{waiting})"))
        pids = read(f"{place.home(victim)}/pids").strip()
        run = f"{place.burglar()} {victim} {pids} > {place.home(uid)}/loot 2>&1"
        script = place.script(uid, "rob.sh", run)
        place.put_plain(n("burglar", uid), uid, ("x", f"@(exec://exec {script})"))
        under.daemon.spawned(n("burglar", uid))
        assert attempts(read(f"{place.home(uid)}/loot")) == []
        with open(f"{place.home(victim)}/gate", "w", encoding="ascii") as gate:
            gate.write("done")
        under.daemon.spawned(n("victim", victim))
        loot.text = "the tenant's uid, 0 of the attempts"


# -- what is no file -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "what", ["a FIFO", "a link to a FIFO", "a directory", "a link to a device"]
)
def test_what_is_no_file(under: Siege, what: str) -> None:
    place = under.estate
    uid = place.tenant()
    path, thing = place.path(n("odd", uid)), f"{place.home(uid)}/odd"
    place.put_plain(n("odd", uid), uid)
    under.daemon.spawned(n("odd", uid))
    with under.attack(f"{what} in the place of the file", n("odd", uid)) as loot:
        began = time.monotonic()
        match what:
            case "a FIFO" | "a link to a FIFO":
                os.mkfifo(thing)
            case "a directory":
                os.mkdir(thing)
            case _:
                os.symlink("/dev/zero", thing)
        os.chown(thing, uid, uid, follow_symlinks=False)
        if what.startswith("a link"):
            os.symlink(thing, f"{path}.new")
            os.chown(f"{path}.new", uid, uid, follow_symlinks=False)
            os.rename(f"{path}.new", path)
        elif what == "a directory":
            os.unlink(path)
            os.rename(thing, path)
        else:
            os.rename(thing, path)
        loot.text = f"0 bytes, {time.monotonic() - began:.2f} s"


@pytest.mark.parametrize(
    ("what", "target"),
    [("a FIFO", None), ("an endless device", "/dev/zero"), ("a terminal", "/dev/tty")],
)
@pytest.mark.parametrize("option", ["include", "value"])
def test_an_include_that_is_no_file(
    under: Siege, what: str, target: str | None, option: str
) -> None:
    place = under.estate
    uid = place.tenant()
    path = f"{place.home(uid)}/odd.ini"
    if target is None:
        os.mkfifo(path)
    else:
        os.symlink(target, path)
    os.chown(path, uid, uid, follow_symlinks=False)
    pair = ("include", path) if option == "include" else ("x", f"@({path})")
    with under.attack(f"{what} as {option}", n("odd", uid)) as loot:
        began = time.monotonic()
        place.put_plain(n("odd", uid), uid, pair)
        message = under.daemon.expect("does not compile", n("odd", uid), level="error")
        assert "regular file" in message or "named pipe" in message or "No such" in message
        loot.text = f"0 bytes, {time.monotonic() - began:.2f} s"


# -- too much ------------------------------------------------------------------------------


def test_an_endless_command(under: Siege) -> None:
    place = under.estate
    uid = place.tenant()
    mark = f"{place.home(uid)}/pid"
    with under.attack("a command that sleeps", n("endless", uid)) as loot:
        began = time.monotonic()
        place.put_plain(
            n("endless", uid), uid, ("x", f"@(exec://echo $$ > {mark}; exec sleep 1000)")
        )
        pid = int(read(mark))
        loot.edit_seconds = under.edit()
        under.daemon.expect("took longer than", n("endless", uid), level="error")
        eventually(lambda: state_of(pid) == "")
        loot.text = f"{time.monotonic() - began:.1f} s"


def test_a_command_that_keeps_a_processor_busy(under: Siege) -> None:
    place = under.estate
    uid = place.tenant()
    mark = f"{place.home(uid)}/pid"
    text = f"echo $$ > {mark}; ulimit -S -t unlimited; while :; do :; done"
    with under.attack("a command that is busy", n("busy-loop", uid)) as loot:
        began = time.monotonic()
        place.put_plain(n("busy-loop", uid), uid, ("x", f"@(exec://{text})"))
        pid = int(read(mark))
        under.edit()
        eventually(lambda: state_of(pid) == "")
        loot.text = f"{time.monotonic() - began:.1f} s"


@pytest.mark.parametrize("how", ["leaves a daemon", "leaves ten", "leaves a family"])
def test_a_command_leaves_processes_behind(under: Siege, how: str) -> None:
    place = under.estate
    uid = place.tenant()
    mark = f"{place.home(uid)}/pid"
    stay = f'echo $$ >> {mark}; trap "" TERM HUP; while :; do sleep 1000; done'
    one = f"setsid sh -c '{stay}' > /dev/null 2>&1 &"
    text = {
        "leaves a daemon": one,
        "leaves ten": f"for i in 1 2 3 4 5 6 7 8 9 10; do {one} done",
        "leaves a family": one.replace("sh -c '", "sh -c 'setsid sleep 1000 & sleep 1000 & "),
    }[how]
    script = place.script(uid, "daemon.sh", f"({text})\necho done")
    with under.attack(f"a command {how}", n("stray", uid)) as loot:
        place.put_plain(n("stray", uid), uid, ("x", f"@(exec://exec {script})"))
        under.daemon.spawned(n("stray", uid))
        began = time.monotonic()
        read(mark)
        place.put(n("stray", uid), uid, ("vassal-exec", "/bin/true"))
        os.unlink(place.path(n("stray", uid)))
        eventually(lambda: not processes_of(uid), 15.0, lambda: f"{processes_of(uid)}")
        loot.text = f"{time.monotonic() - began:.1f} s, until its worker was retired"


@pytest.mark.parametrize(
    ("what", "lines"),
    [
        ("1 GB of output", ["x = @(exec://head -c 1000000000 /dev/zero)"]),
        ("output without an end", ["x = @(exec://yes)"]),
        ("1 GB of a sparse include", ["include = SPARSE"]),
        ("1 GB of a sparse value", ["x = @(SPARSE)"]),
        ("10 million rounds", ["for-times = 10000000", "x%(_) = y", "endfor ="]),
        (
            "a million rounds of a million",
            ["for-times = 1000000", "for-times = 1000000", "a = b", "endfor =", "endfor ="],
        ),
        ("a million entries", ["for-times = 1000000", "x%(_) = %(_)", "endfor ="]),
        (
            "placeholders that double",
            ["b0 = aaaaaaaa", *(f"b{n + 1} = %(b{n})%(b{n})%(b{n})%(b{n})" for n in range(16))],
        ),
        ("includes of itself", ["include = %p"]),
        (
            "a command for each of 10,000",
            ["for-times = 10000", "x = @(exec://true)", "endfor ="],
        ),
        ("an expression", ["x = %(a ** 99999999)", "a = 99999999"]),
        ("a glob over everything", ["for-glob = /proc/*/*/*/*", "x = y", "endfor ="]),
        ("a command that eats memory", ["x = @(exec://exec tail /dev/zero)"]),
        ("a disk full", ["x = @(exec://head -c 1000000000 /dev/zero > FILE)"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_too_much(under: Siege, what: str, lines: list[str]) -> None:
    place = under.estate
    uid = place.tenant()
    sparse, file = f"{place.home(uid)}/sparse", f"{place.home(uid)}/file"
    with open(sparse, "wb") as hole:
        hole.truncate(1_000_000_000)
    os.chown(sparse, uid, uid)
    text = "\n".join(("[uwsgi]", "vassal-exec = /bin/sleep 100000", *lines, ""))
    text = text.replace("SPARSE", sparse).replace("FILE", file)
    with under.attack(what, n("greedy", uid)) as loot:
        began = time.monotonic()
        place.give(place.path(n("greedy", uid)), text, uid)
        under.edit()
        most = 0

        def is_over() -> bool:
            nonlocal most
            most = max([most, *map(resident_bytes, under.workers_of(uid))])
            said = under.daemon.said(n("greedy", uid))
            return any("compile" in text or "spawned" in text for text in said)

        eventually(is_over, COMPILE_SECONDS + 10.0, lambda: str(under.daemon))
        taken = time.monotonic() - began
        assert taken < COMPILE_SECONDS + 3.0
        assert most < 700 * 2**20
        written = os.path.getsize(file) if os.path.exists(file) else 0
        assert written <= 64 * 2**20
        loot.text = f"{taken:.1f} s, {round(most / 2**20, -1):.0f} MiB of memory"
        loot.text += f", {written >> 20} MiB on disk" if written else ""


def resident_bytes(pid: int) -> int:
    """How much memory a process has."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


def test_a_crowd_of_processes(under: Siege) -> None:
    place = under.estate
    uid = place.tenant()
    bomb = place.script(uid, "bomb.sh", "setsid $0 & setsid $0 & sleep 0.2; exec sleep 1000")
    place.script(uid, "start.sh", f"{bomb} >/dev/null 2>&1 & sleep 0.5")
    with under.attack("a fork bomb", n("bomb", uid)) as loot:
        place.put_plain(n("bomb", uid), uid, ("x", f"@(exec://{place.home(uid)}/start.sh)"))
        eventually(lambda: len(processes_of(uid)) > 50)
        most = len(processes_of(uid))
        under.edit()
        os.unlink(place.path(n("bomb", uid)))
        eventually(
            lambda: not processes_of(uid), 20.0, lambda: f"{len(processes_of(uid))} left"
        )
        loot.text = f"{most} processes, all gone with its worker"


def test_it_kills_its_worker_again_and_again(under: Siege) -> None:
    place = under.estate
    uid = place.tenant()
    with under.attack("it kills its worker", n("killer", uid), n("sibling", uid)) as loot:
        rounds = 10
        for number in range(rounds):
            place.put_plain(
                n("killer", uid), uid, ("x", f"@(exec://kill -9 $PPID; echo {number})")
            )
            under.daemon.expect("a compile worker of user", "", level="error")
        under.daemon.expect("does not compile", n("killer", uid), level="error")
        place.put_plain(n("sibling", uid), uid)
        under.daemon.spawned(n("sibling", uid))
        loot.text = f"{rounds} dead workers of its own"


def test_it_stops_its_worker(under: Siege) -> None:
    place = under.estate
    uid = place.tenant()
    with under.attack("it stops its worker", n("stopper", uid)) as loot:
        began = time.monotonic()
        place.put_plain(n("stopper", uid), uid, ("x", "@(exec://kill -STOP $PPID; sleep 1000)"))
        under.edit()
        under.daemon.expect("took longer than", n("stopper", uid), level="error")
        eventually(lambda: not processes_of(uid), complaint=lambda: f"{processes_of(uid)}")
        loot.text = f"{time.monotonic() - began:.1f} s of its own"


def test_a_file_that_is_never_the_same(under: Siege) -> None:
    place = under.estate
    uid = place.tenant()
    with under.attack("a broken file that never is fresh", n("restless", uid)) as loot:
        count = f"echo x >> {place.home(uid)}/count"
        lines = ("y", f"@(exec://{count})"), ("x", "@(/proc/self/status)@(/missing)")
        before = processor_seconds(under.daemon.pid)
        began = time.monotonic()
        place.put_plain(n("restless", uid), uid, *lines)
        under.daemon.expect("does not compile", n("restless", uid), level="error")
        eventually(lambda: time.monotonic() > began + 2.0)
        compiles = os.path.getsize(f"{place.home(uid)}/count") // 2
        used = processor_seconds(under.daemon.pid) - before
        loot.text = (
            f"{compiles} compiles and {used:.2f} s of the daemon's processor time in 2 s"
        )
        assert compiles < 20
        assert used < 0.5


def processor_seconds(pid: int) -> float:
    """What a process has had of the processors."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_many_tenants_with_slow_commands(under: Siege) -> None:
    """Nine tenants of three slow vassals each: there are eight workers."""
    place = under.estate
    names = []
    with under.attack("9 tenants with 3 slow vassals each") as loot:
        for _ in range(9):
            uid = place.tenant()
            for number in range(3):
                names.append(f"slow-{uid}-{number}.ini")
                place.put_plain(names[-1], uid, ("x", "@(exec://sleep 1000)"))
        loot.text = "time"
    for name in names:
        under.remove(name)


# -- races ---------------------------------------------------------------------------------


def test_a_race_of_links(under: Siege) -> None:
    """The file is exchanged for links to others' files as fast as possible, and touched."""
    place = under.estate
    uid = place.tenant()
    home = place.home(uid)
    secret = place.give(f"{place.home(QUIET)}/secret.ini", "[uwsgi]\nx = sesame\n", QUIET)
    mine = place.give(
        f"{home}/mine.ini",
        f"[uwsgi]\nvassal-exec = /bin/sh -c 'id -u >> {home}/ran; exec sleep 100000'\n",
        uid,
    )
    is_over = threading.Event()
    rounds = 0

    def race() -> None:
        nonlocal rounds
        path, new = place.path(n("race", uid)), f"{home}/.new"
        while not is_over.is_set():
            for target in (secret, "/etc/shadow", mine):
                os.symlink(target, new)
                os.chown(new, uid, uid, follow_symlinks=False)
                os.rename(new, path)
                rounds += 1
            if rounds % 7 == 0:
                os.utime(mine)

    thread = threading.Thread(target=race)
    with under.attack("a race of links to others' files", n("race", uid)) as loot:
        thread.start()
        try:
            began = time.monotonic()
            while time.monotonic() < began + 2.0:
                under.edit()
        finally:
            is_over.set()
            thread.join()
        # the last of them led to its own file
        assert set(read(f"{home}/ran").split()) == {str(uid)}
        loot.text = f"the tenant's uid, 0 bytes, in {rounds // 1000} thousand exchanges"
    assert not any("sesame" in line.message for line in under.daemon.lines)


def test_a_hard_link_to_anothers_file(under: Siege) -> None:
    """The kernel refuses it (fs.protected_hardlinks); where root has made one, the file says
    whose it is."""
    place = under.estate
    uid = place.tenant()
    home = place.home(uid)
    theirs = place.give(
        f"{place.home(QUIET)}/theirs.ini",
        f"[uwsgi]\nvassal-exec = /bin/sh -c 'id -u > {place.home(QUIET)}/ran; sleep 1000'\n",
        QUIET,
    )
    script = place.script(uid, "link.sh", f"ln {theirs} {home}/link.ini > {home}/said 2>&1")
    with under.attack("a hard link", n("linker", uid), n("link", uid)) as loot:
        place.put_plain(
            n("linker", uid), uid, ("x", f"@(exec://{script}; cat {home}/link.ini)")
        )
        under.daemon.spawned(n("linker", uid))
        if Path("/proc/sys/fs/protected_hardlinks").read_text().strip() == "1":
            assert "not permitted" in read(f"{home}/said")
        os.link(theirs, place.path(n("link", uid)))
        under.daemon.spawned(n("link", uid))
        assert read(f"{place.home(QUIET)}/ran").strip() == str(QUIET)
        loot.text = "0 bytes; root's own link runs as the file's owner"


# -- the limits as they are ----------------------------------------------------------------


def test_it_has_the_limits_that_are_promised() -> None:
    """One that sleeps and one that is busy, under an Emperor as it is installed."""
    with estate() as place, reign(*place.words) as daemon:
        sleeper, worker = place.tenant(), place.tenant()
        began = time.monotonic()
        place.put_plain("sleeps.ini", sleeper, ("x", "@(exec://sleep 1000)"))
        place.put_plain("works.ini", worker, ("x", "@(exec://while :; do :; done)"))
        daemon.expect("took longer than 20 seconds", "sleeps.ini", seconds=25.0)
        taken = time.monotonic() - began
        assert 19.0 < taken < 25.0
        eventually(lambda: len(processes_of(worker)) < 2)
        FIGURES["an endless command, limits as they are", "root"] = f"{taken:.1f} s"


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    files = (__file__, f"{here}/../processes/test_tenant_workers.py")
    code = pytest.main(["-q", "-p", "no:cacheprovider", *files, *sys.argv[1:]])
    print(table())
    sys.exit(code)
