"""What jails do to real processes: who they are, what they see, how they end."""

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.support.guardian_court import DEADLINE_SECONDS, Lifeline
from tests.support.marks import needs_root

from emperor.compiler.chain import Jail, chain

pytestmark = pytest.mark.process


EMPEROR = 20000
UID, GID = 20001, 20002
OWNER = (UID, GID)
CAP_CHOWN, CAP_SETUID = 0, 7
FIVE = ("mount", "net", "ipc", "pid", "uts")
SIX = (*FIVE, "user")
PATH = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


@functools.cache
def user_namespaces() -> bool:
    words = ["unshare", "--user", "--map-root-user", "true"]
    return subprocess.run(words, stderr=subprocess.DEVNULL, check=False).returncode == 0


needs_user_namespaces = pytest.mark.skipif(
    not user_namespaces(), reason="no user namespaces for this user"
)


def jails(*, forked_only: bool = False) -> Sequence[object]:
    """Every combination of being somebody else and being in namespaces."""
    forked = [
        pytest.param(Jail(namespaces=("pid",)), id="pid", marks=needs_root),
        pytest.param(Jail(owner=OWNER, namespaces=("pid",)), id="owner-pid", marks=needs_root),
        pytest.param(
            Jail(namespaces=("pid", "user")), id="user-pid", marks=needs_user_namespaces
        ),
        pytest.param(
            Jail(owner=OWNER, namespaces=("pid", "user")),
            id="owner-user-pid",
            marks=[needs_root, needs_user_namespaces],
        ),
        pytest.param(Jail(owner=OWNER, namespaces=FIVE), id="owner-five", marks=needs_root),
        pytest.param(
            Jail(owner=OWNER, namespaces=SIX, bounding=(CAP_CHOWN,)),
            id="owner-six-bounded",
            marks=[needs_root, needs_user_namespaces],
        ),
    ]
    plain = [
        pytest.param(Jail(), id="plain"),
        pytest.param(Jail(owner=OWNER), id="owner", marks=needs_root),
    ]
    return forked if forked_only else plain + forked


def output_of(words: Sequence[str]) -> str:
    done = subprocess.run(
        words, stdout=subprocess.PIPE, env=PATH, check=True, timeout=DEADLINE_SECONDS
    )
    return done.stdout.decode()


def shell(jail: Jail, script: str, before: Sequence[str] = ()) -> str:
    """What a script writes that runs in the jail."""
    return output_of([*before, *chain(jail), "/bin/sh", "-c", script])


@contextlib.contextmanager
def started(
    words: Sequence[str], *descriptors: int, stdin: int | None = None, stdout: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in its own session, as the guardian starts it; its group dies in the end."""
    process = subprocess.Popen(
        words,
        env=PATH,
        pass_fds=descriptors,
        start_new_session=True,
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
    )
    with process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def ended(process: subprocess.Popen[bytes]) -> int:
    return process.wait(timeout=DEADLINE_SECONDS)


def vassal_of(main: int) -> int:
    """The one child of the process that waits for it."""
    (child,) = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    return int(child)


# -- who it is


def identity(jail: Jail, before: Sequence[str] = ()) -> dict[str, str]:
    lines = shell(jail, "cat /proc/self/status", before).splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: " ".join(value.split()) for name, value in fields.items()}


NONE = "0" * 16
SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")


def with_capabilities(names: str, *options: str) -> tuple[str, ...]:
    """An Emperor that has become an ordinary user and kept some capabilities."""
    kept = ",".join(f"+{name}" for name in names.split())
    user = ("--reuid", str(EMPEROR), "--regid", str(EMPEROR), "--clear-groups")
    caps = (f"--inh-caps=-all,{kept}", f"--ambient-caps=-all,{kept}")
    return ("setpriv", *options, *user, *caps, "--")


REDUCED = with_capabilities("setuid setgid")


@needs_root
@pytest.mark.parametrize("namespaces", [(), ("uts",), FIVE])
@pytest.mark.parametrize("groups", [(), (20005, 20006)])
def test_an_owner_is_all_that_a_vassal_is(
    namespaces: tuple[str, ...], groups: tuple[int, ...]
) -> None:
    status = identity(Jail(owner=OWNER, groups=groups, namespaces=namespaces))
    assert status["Uid"] == f"{UID} {UID} {UID} {UID}"
    assert status["Gid"] == f"{GID} {GID} {GID} {GID}"
    assert status["Groups"] == " ".join(map(str, groups))
    assert {status[name] for name in SETS} == {NONE}


@needs_root
@pytest.mark.parametrize("owner", [None, OWNER])
def test_nothing_is_left_of_what_a_reduced_emperor_has_kept(
    owner: tuple[int, int] | None,
) -> None:
    before = shell(Jail(), "grep CapAmb /proc/self/status", REDUCED)
    assert before.split()[1] == f"{0xC0:016x}"
    jail = Jail(owner=owner, drops_capabilities=True)
    status = identity(jail, REDUCED)
    assert status["Uid"].split()[0] == str(UID if owner else EMPEROR)
    assert {status[name] for name in SETS} == {NONE}
    escape = "setpriv --reuid 0 --clear-groups -- id -u 2>/dev/null || echo no"
    assert shell(jail, escape, REDUCED) == "no\n"


@needs_root
@pytest.mark.parametrize("owner", [None, OWNER])
@pytest.mark.parametrize(
    "namespaces", [(), FIVE, pytest.param(SIX, marks=needs_user_namespaces)]
)
def test_a_vassal_can_never_hold_more_than_the_bounding_set(
    owner: tuple[int, int] | None, namespaces: tuple[str, ...]
) -> None:
    status = identity(Jail(owner=owner, namespaces=namespaces, bounding=(CAP_CHOWN,)))
    assert status["CapBnd"] == f"{1 << CAP_CHOWN:016x}"
    is_root = owner is None or "user" in namespaces
    assert status["CapEff"] == (status["CapBnd"] if is_root else NONE)


@needs_root
def test_without_setpcap_the_bounding_set_stays_what_it_was() -> None:
    jail = Jail(owner=OWNER, bounding=(CAP_CHOWN,))
    assert int(identity(jail, REDUCED)["CapBnd"], 16).bit_count() > 30
    able = with_capabilities("setuid setgid setpcap")
    assert identity(jail, able)["CapBnd"] == f"{1 << CAP_CHOWN:016x}"
    own = with_capabilities("setuid setgid", "--bounding-set=-all,+chown,+setuid,+setgid")
    assert identity(jail, own)["CapBnd"] == f"{0xC0 | 1 << CAP_CHOWN:016x}"


# -- what it sees

NAMES = {"mount": "mnt", "net": "net", "ipc": "ipc", "pid": "pid", "uts": "uts", "user": "user"}


@needs_root
@pytest.mark.parametrize("owner", [None, OWNER])
@pytest.mark.parametrize(
    "namespaces",
    [*((name,) for name in FIVE), FIVE, pytest.param(SIX, marks=needs_user_namespaces)],
)
def test_exactly_the_namespaces_asked_for_are_new(
    owner: tuple[int, int] | None, namespaces: tuple[str, ...]
) -> None:
    links = " ".join(f"/proc/self/ns/{name}" for name in NAMES.values())
    seen = shell(Jail(owner=owner, namespaces=namespaces), f"readlink {links}").split()
    ours = [os.readlink(link) for link in links.split()]
    new = {name for name, mine, its in zip(NAMES, ours, seen, strict=True) if mine != its}
    assert new == set(namespaces)


@needs_user_namespaces
@pytest.mark.parametrize("owner", [None, pytest.param(OWNER, marks=needs_root)])
def test_in_a_user_namespace_it_is_root_inside_and_its_owner_outside(
    owner: tuple[int, int] | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    jail = Jail(owner=owner, namespaces=SIX)
    with public_directory() as directory:
        directory.chmod(0o777)
        assert shell(jail, f"touch {directory}/made; id -u; hostname jailed") == "0\n"
        assert (directory / "made").stat().st_uid == (owner or (os.geteuid(),))[0]
    own, there, count = shell(jail, "cat /proc/self/uid_map").split()
    assert (own, there, count) == ("0", str((owner or (os.geteuid(),))[0]), "1")


@needs_root
def test_host_name_and_mounts_are_its_own_until_it_becomes_somebody_else() -> None:
    before = (socket.gethostname(), Path("/proc/self/mounts").read_text())
    script = (
        "hostname foobar && umount /proc && mount -t proc none /proc && hostname"
        " && setpriv --reuid 20003 --regid 20003 --clear-groups -- sh -c"
        " 'id -u; for p in /proc/[0-9]*; do echo $p; done | head -n 1'"
    )
    assert shell(Jail(namespaces=FIVE), script) == "foobar\n20003\n/proc/1\n"
    assert (socket.gethostname(), Path("/proc/self/mounts").read_text()) == before


@needs_user_namespaces
@pytest.mark.parametrize("owner", [None, pytest.param(OWNER, marks=needs_root)])
def test_in_a_user_namespace_mounts_are_covered_not_taken_away(
    owner: tuple[int, int] | None,
) -> None:
    script = (
        "umount /proc 2>/dev/null || echo kept; mount -t proc none /proc && echo covered;"
        " hostname foobar && hostname; for p in /proc/[0-9]*; do echo $p; done | head -n 1"
    )
    jail = Jail(owner=owner, namespaces=SIX)
    assert shell(jail, script) == "kept\ncovered\nfoobar\n/proc/1\n"


@needs_root
def test_a_host_that_shares_its_mounts_keeps_them() -> None:
    host = ("unshare", "--mount", "--propagation", "shared", "--", "/bin/sh", "-c")
    script = '"$@" && test -e /proc/self/status && echo there'
    vassal = (*chain(Jail(namespaces=("mount",))), "umount", "/proc")
    assert output_of([*host, script, "sh", *vassal]) == "there\n"


# -- how it ends

EXITS = [
    ("exit 0", 0),
    ("exit 7", 7),
    ("exit 22", 22),
    ("exit 1", 1),
    ("exit 137", 137),
    ("trap 'exit 5' TERM; kill -TERM $$", 5),
]


@pytest.mark.parametrize("jail", jails())
@pytest.mark.parametrize(("script", "code"), EXITS)
def test_exit_codes_come_through(jail: Jail, script: str, code: int) -> None:
    with started([*chain(jail), "/bin/sh", "-c", script]) as process:
        assert ended(process) == code


WAITING = "echo 1; exec sleep 60"


@contextlib.contextmanager
def waiting(
    jail: Jail, script: str = WAITING
) -> Iterator[tuple[subprocess.Popen[bytes], Lifeline]]:
    """A vassal that has come so far as its own program, and the line that it holds."""
    with Lifeline() as line:
        words = [*chain(jail), "/bin/sh", "-c", script]
        with started(words, stdout=line.write) as process:
            line.announced(1)
            yield process, line


@pytest.mark.parametrize("jail", jails(forked_only=True))
def test_death_by_sigkill_is_told_as_such(jail: Jail) -> None:
    with waiting(jail) as (process, line):
        os.kill(vassal_of(process.pid), signal.SIGKILL)
        assert ended(process) == -signal.SIGKILL
        assert line.ends_within(DEADLINE_SECONDS)


@needs_root
@pytest.mark.parametrize("namespaces", [("pid",), FIVE])
def test_death_by_a_fault_is_told_as_such(namespaces: tuple[str, ...]) -> None:
    crash = (sys.executable, "-I", "-S", "-c", "import ctypes; ctypes.string_at(0)")
    with started([*chain(Jail(namespaces=namespaces)), *crash]) as process:
        assert ended(process) == -signal.SIGSEGV


@pytest.mark.parametrize("jail", jails()[:2])
def test_death_by_other_signals_is_told_where_nothing_waits_outside(jail: Jail) -> None:
    for signum in (signal.SIGTERM, signal.SIGSEGV, signal.SIGKILL):
        with waiting(jail) as (process, _):
            process.send_signal(signum)
            assert ended(process) == -signum


@pytest.mark.parametrize("jail", jails(forked_only=True))
def test_process_1_gets_the_signals_that_it_has_handlers_for(jail: Jail) -> None:
    # A line when the traps are set, then one for each signal that came.
    script = 'trap "exit 3" INT; trap "echo 2" TERM; echo 1; while :; do sleep 0.01; done'
    with waiting(jail, script) as (process, line):
        vassal = vassal_of(process.pid)
        os.kill(vassal, signal.SIGHUP)  # no handler: nothing happens
        os.kill(vassal, signal.SIGTERM)
        assert line.announced(2) == [1, 2]
        os.kill(vassal, signal.SIGINT)
        assert ended(process) == 3


FAMILY = "sleep 60 & echo 1; sleep 60 & wait"
DISPERSED = "setsid sleep 60 & echo 1; sleep 60 & wait"


@pytest.mark.parametrize("jail", jails())
def test_sigkill_to_the_group_leaves_nothing(jail: Jail) -> None:
    with waiting(jail, FAMILY) as (process, line):
        os.killpg(process.pid, signal.SIGKILL)
        assert line.ends_within(DEADLINE_SECONDS)
        assert ended(process) == -signal.SIGKILL


@pytest.mark.parametrize("jail", jails(forked_only=True))
def test_sigkill_to_the_process_outside_leaves_nothing(jail: Jail) -> None:
    with waiting(jail, DISPERSED) as (process, line):
        process.kill()
        assert line.ends_within(DEADLINE_SECONDS)


@pytest.mark.parametrize("jail", jails(forked_only=True))
def test_the_end_of_process_1_leaves_nothing(jail: Jail) -> None:
    script = "setsid sleep 60 & echo 1; read _; exit 4"
    with Lifeline() as line:
        words = [*chain(jail), "/bin/sh", "-c", script]
        with started(words, stdin=subprocess.PIPE, stdout=line.write) as process:
            line.announced(1)
            process.communicate(b"go\n", timeout=DEADLINE_SECONDS)
            assert process.returncode == 4
            assert line.ends_within(DEADLINE_SECONDS)


@needs_root
def test_a_vassal_that_becomes_somebody_else_dies_with_its_group() -> None:
    change = "exec setpriv --reuid 20003 --regid 20003 --clear-groups -- /bin/sh -c"
    script = f"{change} 'sleep 60 & echo 1; sleep 60'"
    with waiting(Jail(namespaces=("pid",)), script) as (process, line):
        process.kill()  # the kernel has forgotten the parent death signal
        assert ended(process) == -signal.SIGKILL
        os.killpg(process.pid, signal.SIGKILL)
        assert line.ends_within(DEADLINE_SECONDS)


# -- a real uWSGI


@contextlib.contextmanager
def public_directory() -> Iterator[Path]:
    """A directory that every user can look into; pytest's own are closed to others."""
    directory = Path(tempfile.mkdtemp(prefix="emperor-jail-"))
    try:
        directory.chmod(0o755)
        yield directory
    finally:
        shutil.rmtree(directory)


@contextlib.contextmanager
def uwsgi(jail: Jail, config: str) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    program = shutil.which("uwsgi-core")
    if program is None:
        pytest.skip("no uwsgi-core")
    ours, its = socket.socketpair()
    ours.settimeout(DEADLINE_SECONDS)
    with public_directory() as directory, ours, its:
        (directory / "vassal.ini").write_text(f"[uwsgi]\nmaster=true\n{config}")
        fd = its.fileno()
        words = [*chain(jail), "env", f"UWSGI_EMPEROR_FD={fd}", program]
        with started([*words, "--ini", f"{directory}/vassal.ini"], fd) as process:
            its.close()
            yield process, ours


def bytes_until(sock: socket.socket, last: bytes) -> bytes:
    found = b""
    while not found.endswith(last):
        found += sock.recv(1) or pytest.fail(f"it ended after {found!r}")
    return found


@pytest.mark.uwsgi
@pytest.mark.parametrize("jail", jails())
def test_uwsgi_starts_and_stops(jail: Jail) -> None:
    name = f"@emperor-jail-{os.getpid()}"
    with uwsgi(jail, f"socket={name}\nworkers=2\n") as (process, sock):
        assert bytes_until(sock, b"\5") == b"\1\5"
        sock.send(b"\0")
        assert ended(process) == 0


@pytest.mark.uwsgi
@pytest.mark.parametrize("jail", jails())
def test_uwsgi_says_why_it_leaves(jail: Jail) -> None:
    name = f"@emperor-jail-{os.getpid()}-22"
    with uwsgi(jail, f"need-app=true\nsocket={name}\n") as (process, _):
        assert ended(process) == 22


@needs_root
@pytest.mark.uwsgi
def test_uwsgi_runs_its_own_hooks_inside() -> None:
    before = (socket.gethostname(), Path("/proc/self/mounts").read_text())
    config = (
        "socket=@emperor-jail-hooks\nuid=20003\ngid=20003\n"
        "exec-as-root=hostname foobar\nexec-as-root=umount /proc\n"
        "exec-as-root=mount -t proc none /proc\n"
        "exec-as-user=echo $(hostname) $(id -u) /proc/[0-9] > said\n"
    )
    with public_directory() as directory:
        directory.chmod(0o777)
        config = config.replace("said", f"{directory}/said")
        with uwsgi(Jail(namespaces=FIVE), config) as (process, sock):
            assert bytes_until(sock, b"\5") == b"\1\5"
            # The shell of the hook is the second child of process 1.
            assert (directory / "said").read_text().startswith("foobar 20003 /proc/1")
            sock.send(b"\0")
            assert ended(process) == 0
    assert (socket.gethostname(), Path("/proc/self/mounts").read_text()) == before
