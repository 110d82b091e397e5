"""Compile workers that lie: as a tenant that has taken its own worker over would.

Each test has a worker run another program in the place of its own code, under an Emperor with
honest tenants, and looks at what came of the lie on the host.
"""

import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.daemon import eventually
from tests.e2e.tenants import (
    COMPILE_SECONDS,
    KINDS,
    QUIET,
    Siege,
    fields,
    read,
    siege,
)
from tests.support.marks import needs_root

pytestmark = [pytest.mark.process, pytest.mark.uwsgi, needs_root]

#: The longest line that the daemon may log for what a worker says, in characters.
MOST_LOGGED = 20_000


@pytest.fixture(scope="module", params=KINDS)
def under(request: pytest.FixtureRequest) -> Iterator[Siege]:
    """An Emperor of each kind, the same one for all lies."""
    with siege(request.param) as found:
        yield found


def lie(under: Siege, uid: int, program: str) -> str:
    """Have the worker of a new tenant say that about its vassal; gives the vassal's name."""
    under.estate.lie(uid, program)
    under.estate.put_plain(f"liar-{uid}.ini", uid)
    return f"liar-{uid}.ini"


def test_another_program(under: Siege) -> None:
    uid = under.estate.tenant()
    home = under.estate.home(uid)
    with under.attack("a lie: another program", f"liar-{uid}.ini") as loot:
        lie(under, uid, f'say(spec("cat /proc/self/status > {home}/status"))')
        status = fields(read(f"{home}/status"))
        assert status["Uid"].split() == status["Gid"].split() == [str(uid)] * 4
        assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
        loot.text = "the tenant's uid: a program of its own"


def test_identities_in_the_answer(under: Siege) -> None:
    uid = under.estate.tenant()
    home = under.estate.home(uid)
    with under.attack("a lie: uid, gid, owner, capabilities", f"liar-{uid}.ini") as loot:
        more = 'owner=dict(uid=0, gid=0, groups=[0]), uid=0, gid=0, namespaces=["user"]'
        text = f'spec("cat /proc/self/status > {home}/status", {more})'
        lie(under, uid, f"say({text}, owner=dict(uid=0, gid=0), uid=0)")
        status = fields(read(f"{home}/status"))
        assert status["Uid"].split() == status["Gid"].split() == [str(uid)] * 4
        loot.text = "the tenant's uid"


def test_variables_for_the_chain(under: Siege) -> None:
    """None of them reaches a program before it has become the tenant, and none the tenant but
    the carriers."""
    uid = under.estate.tenant()
    home = under.estate.home(uid)
    names = (
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "LD_AUDIT",
        "PATH",
        "IFS",
        "EMPEROR_x",
        "EMPEROR_00001",
    )
    pairs = [[name, f"{home}/evil.so"] for name in names] + [["EMPEROR_0", "fine"]]
    with under.attack("a lie: LD_PRELOAD, PATH and others", f"liar-{uid}.ini") as loot:
        lie(under, uid, f'say(spec("env > {home}/env", set={pairs!r}, unset=["PATH"]))')
        found = read(f"{home}/env")
        assert "evil.so" not in found
        assert "EMPEROR_0=fine" in found
        assert "PATH=" in found
        loot.text = "EMPEROR_0"


@pytest.mark.parametrize(
    ("what", "program", "complaint"),
    [
        ("another directory", 'say(spec("true", cwd="/root"))', "another working directory"),
        (
            "5,000 dependencies",
            'say(spec("true"), dependencies=[[f"/etc/{n}", None] for n in range(5000)])',
            "depends on more than",
        ),
        (
            "a relative dependency",
            'say(spec("true"), dependencies=[["../x", None]])',
            "no absolute path",
        ),
        ("no directory", 'say(spec("true", cwd="x"))', "no absolute directory"),
        ("no words", 'say(spec("true", argv=[]))', "no program"),
        ("a NUL", 'say(spec("true", argv=["/bin/sh", "\\0"]))', "NUL"),
        ("a surrogate", 'say(spec("true", argv=["/bin/sh", "\\ud800"]))', "no bytes"),
        ("a million seconds", 'say(spec("true", reload_seconds=10**9))', "no time"),
        (
            "not a number",
            'say(spec("true", program=dict(stop_seconds=float("nan"))))',
            "seconds",
        ),
        ("40 sockets", 'say(spec("true", sockets=[{}] * 40))', "more than 32 sockets"),
        ("signal 65", 'say(spec("true", program=dict(stop_signal=65)))', "whole number"),
        ("a list", "say([])", "an object is missing"),
        ("nothing of all that", "say({})", "a list is missing"),
        ("a huge number", 'say(spec("true", reload_seconds=10**4000))', ""),
    ],
)
def test_answers_that_are_none(under: Siege, what: str, program: str, complaint: str) -> None:
    uid = under.estate.tenant()
    with under.attack(f"a lie: {what}", f"liar-{uid}.ini") as loot:
        name = lie(under, uid, program)
        message = under.daemon.expect("does not compile", name, level="error")
        assert complaint in message
        loot.text = "refused"


@pytest.mark.parametrize(
    ("what", "program", "complaint"),
    [
        (
            "another's number",
            'say(spec("true"), id=asked["id"] + 1)',
            "answers what nobody asked",
        ),
        ("noise", "channel.sendall(os.urandom(1 << 16))", "gives answers that are none"),
        ("4 GB to come", 'channel.sendall(b"\\xff" * 4)', "gives answers that are none"),
        (
            "nested 100,000 deep",
            'import struct; channel.sendall(struct.pack("<I", 100000) + b"[" * 100000)',
            "gives answers that are none",
        ),
        (
            "endless zeros",
            "while True: channel.sendall(bytes(1 << 20))",
            "gives answers that are none",
        ),
        (
            "endless answers",
            'while True: say(None, diagnostics=["x"])',
            "",
        ),
        ("nothing", "import time; time.sleep(1000)", "took longer than"),
        (
            "a byte at a time",
            "import struct, time\n"
            'channel.sendall(struct.pack("<I", 4000000))\n'
            'while True: channel.sendall(b" "); time.sleep(0.01)',
            "took longer than",
        ),
        ("its end", "os._exit(0)", "died"),
    ],
)
def test_lies_on_the_wire(under: Siege, what: str, program: str, complaint: str) -> None:
    uid = under.estate.tenant()
    with under.attack(f"a lie: {what}", f"liar-{uid}.ini") as loot:
        began = time.monotonic()
        name = lie(under, uid, program)
        under.edit()
        message = under.daemon.expect("does not compile", name, level="error")
        assert complaint in message
        taken = time.monotonic() - began
        assert taken < COMPILE_SECONDS + 3.0
        loot.text = f"refused, {taken:.1f} s"


def test_findings_that_play_with_the_log(under: Siege) -> None:
    uid = under.estate.tenant()
    text = '"\\x1b[2J\\x9b31m\\x00\\x07\\r{\\"level\\": \\"info\\"}\\n" * 50_000'
    with under.attack("a lie: 3 MB of findings with escapes", f"liar-{uid}.ini") as loot:
        name = lie(under, uid, f"say(None, diagnostics=[{text}])")
        message = under.daemon.expect("does not compile", name, level="error")
        assert not set(message) & {"\x1b", "\x9b", "\0", "\x07", "\r"}
        loot.text = f"{len(message):,} characters in the log"
    assert len(message) < MOST_LOGGED


def test_many_findings(under: Siege) -> None:
    uid = under.estate.tenant()
    with under.attack("a lie: a million empty findings", f"liar-{uid}.ini") as loot:
        name = lie(under, uid, 'say(None, diagnostics=[""] * 1_000_000)')
        message = under.daemon.expect("compile", name, level="error")
        loot.text = f"{len(message):,} characters in the log"
        assert len(message) < MOST_LOGGED


PLACES = ["/etc/emperor-evil.sock", "{other}/evil.sock", "127.0.0.1:81", "[::1]:82"]


@pytest.mark.parametrize("kind", ["on demand", "held"])
@pytest.mark.parametrize("place", PLACES)
def test_sockets_that_are_not_for_a_tenant(under: Siege, kind: str, place: str) -> None:
    uid = under.estate.tenant()
    address = place.format(other=under.estate.home(QUIET))
    socket_of = {"name": "a", "address": address, "backlog": 1, "mode": "666", "owner": None}
    given = f"socket={address!r}" if kind == "on demand" else f"sockets=[{socket_of!r}]"
    with under.attack(f"a lie: a socket at {place}, {kind}", f"liar-{uid}.ini") as loot:
        name = lie(under, uid, f'say(spec("true", {given}))')
        under.edit()
        eventually(
            lambda: any(
                line.vassal == name and line.level in ("warning", "error")
                for line in under.daemon.lines
            ),
            complaint=lambda: str(under.daemon),
        )
        assert not os.path.exists(address)
        if not address.startswith("/"):
            host, _, port = address.rpartition(":")
            family = socket.AF_INET6 if "[" in host else socket.AF_INET
            with socket.socket(family) as probe:
                assert probe.connect_ex((host.strip("[]"), int(port))) != 0
        loot.text = "no socket"


def test_a_sockets_owner(under: Siege) -> None:
    uid = under.estate.tenant()
    path = f"{under.estate.home(uid)}/mine.sock"
    held = {"name": "a", "address": path, "backlog": 1, "mode": "6777", "owner": "root:root"}
    with under.attack("a lie: a socket given to root", f"liar-{uid}.ini") as loot:
        lie(under, uid, f'say(spec("true", sockets=[{held!r}]))')
        under.edit()
        if os.path.exists(path):
            found = os.stat(path)
            assert (found.st_uid, found.st_gid) == (uid, uid)
            assert not found.st_mode & (stat.S_ISUID | stat.S_ISGID)
        loot.text = "nothing of root's"


def test_anothers_socket_is_not_replaced(under: Siege) -> None:
    """A path of its own that is a link to another tenant's socket."""
    uid = under.estate.tenant()
    home = under.estate.home(uid)
    theirs = f"{under.estate.home(QUIET)}/theirs.sock"
    with socket.socket(socket.AF_UNIX) as honest:
        if os.path.exists(theirs):
            os.unlink(theirs)
        honest.bind(theirs)
        os.chown(theirs, QUIET, QUIET)
        before = os.stat(theirs)
        os.symlink(theirs, f"{home}/link.sock")
        held = {"name": "a", "address": f"{home}/link.sock", "backlog": 1, "mode": "777"}
        with under.attack("a lie: a socket that is a link", f"liar-{uid}.ini") as loot:
            lie(under, uid, f'say(spec("true", sockets=[{held!r} | dict(owner=None)]))')
            under.edit()
            after = os.stat(theirs)
            assert (after.st_ino, after.st_mode, after.st_uid) == (
                before.st_ino,
                before.st_mode,
                before.st_uid,
            )
            loot.text = "nothing of another's"


LOGS = {
    "root's directory": "/etc/cron.d/emperor-evil",
    "root's file": "/etc/passwd",
    "a link to root's": "{home}/link.log",
    "another's directory": "{other}/evil.log",
    "the daemon's own": "/proc/self/oom_score_adj",
    "the daemon's memory": "/proc/self/mem",
    "the daemon's timers": "/proc/self/timerslack_ns",
    "a FIFO": "{home}/fifo.log",
    "a device": "/dev/full",
    "a directory": "{home}",
    "the daemon's own output": "/proc/self/fd/2",
}


@pytest.mark.parametrize("what", LOGS)
def test_logs_that_are_not_for_a_tenant(under: Siege, what: str) -> None:
    uid = under.estate.tenant()
    home = under.estate.home(uid)
    os.symlink("/etc/passwd", f"{home}/link.log")
    os.mkfifo(f"{home}/fifo.log")
    os.chown(f"{home}/fifo.log", uid, uid)
    log = LOGS[what].format(home=home, other=under.estate.home(QUIET))
    before = mark(log)
    slack = Path(f"/proc/{under.daemon.pid}/timerslack_ns")
    usual = slack.read_text()
    with under.attack(f"a lie: a log that is {what}", f"liar-{uid}.ini") as loot:
        lie(under, uid, f'say(spec("echo 77777", program=dict(log={log!r}, log_bytes=1)))')
        name = f"liar-{uid}.ini"
        under.daemon.expect("log file", name, level="warning")
        assert mark(log) == before
        assert slack.read_text() == usual
        loot.text = "0 bytes"


def mark(path: str) -> tuple[int, ...] | None:
    """What shows whether a file was written to, or made."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    if path.startswith("/proc"):
        return (found.st_mode,)
    return (found.st_mode, found.st_size, found.st_ino, found.st_uid)


def test_a_command_of_megabytes(under: Siege) -> None:
    uid = under.estate.tenant()
    with under.attack("a lie: a command of 3 MB", f"liar-{uid}.ini") as loot:
        name = lie(under, uid, 'say(spec("true", argv=["/bin/true"] + ["x" * 1000] * 3000))')
        under.edit()
        eventually(lambda: any(line.vassal == name for line in under.daemon.lines))
        loot.text = "a vassal that cannot be started"


def test_a_program_that_is_not_there(under: Siege) -> None:
    uid = under.estate.tenant()
    with under.attack("a lie: options for the chain's tools", f"liar-{uid}.ini") as loot:
        program = f"{under.estate.home(uid)}/ran"
        argv = ["--reuid=0", "--clear-groups", "/bin/sh", "-c", f"echo > {program}"]
        lie(under, uid, f'say(spec("true", argv={argv!r}))')
        under.edit()
        assert not os.path.exists(program)
        loot.text = "nothing: words behind -- are none of the tool's"


def test_stamps_that_are_never_right(under: Siege) -> None:
    """A broken vassal is compiled again when what it looked at has changed: a liar says that
    it always has."""
    uid = under.estate.tenant()
    count = f"{under.estate.home(uid)}/count"
    with under.attack("a lie: stamps that are never right", f"liar-{uid}.ini") as loot:
        ticks = processor_ticks(under.daemon.pid)
        began = time.monotonic()
        lie(
            under,
            uid,
            f'open("{count}", "a").write("x")\n'
            'say(None, diagnostics=["x"], dependencies=[["/etc/passwd", [1, 2, 3]]] * 4000)',
        )
        eventually(lambda: time.monotonic() > began + 2.0)
        used = (processor_ticks(under.daemon.pid) - ticks) / os.sysconf("SC_CLK_TCK")
        rounds = os.path.getsize(count)
        loot.text = f"{rounds} compiles, {used:.2f} s of the daemon's processor time in 2 s"
        assert rounds < 50, loot.text
        assert used < 0.5, loot.text


def processor_ticks(pid: int) -> int:
    """What a process has had of the processors."""
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(parts[11]) + int(parts[12])


def test_what_it_watches_tells_nothing_of_others(under: Siege) -> None:
    """The daemon looks at the times of what a compile has looked at, with its own rights: a
    liar must not learn by that when root writes a file that it may not see."""
    uid = under.estate.tenant()
    hidden = f"{under.estate.root}/hidden"
    os.makedirs(hidden, mode=0o700, exist_ok=True)
    os.chmod(hidden, 0o700)
    count = f"{under.estate.home(uid)}/count"
    with under.attack("a lie: told of changes of root's file", f"liar-{uid}.ini") as loot:
        path = f"{hidden}/diary-{uid}"
        lie(
            under,
            uid,
            f'open("{count}", "a").write("x")\n'
            f'say(None, diagnostics=["x"], dependencies=[[{path!r}, None]])',
        )
        under.daemon.expect("does not compile", f"liar-{uid}.ini", level="error")
        rounds = os.path.getsize(count)
        Path(path).write_text("dear diary")
        under.edit()
        under.edit()
        learnt = os.path.getsize(count) - rounds
        loot.text = f"{learnt} compiles when root wrote a hidden file"
        assert learnt == 0, loot.text


def test_descriptors_in_the_answer(under: Siege) -> None:
    """A descriptor that comes along is dropped by the kernel, and its end must not be waited
    for (SO_LINGER)."""
    uid = under.estate.tenant()
    program = """
import socket, struct, array
listener = socket.create_server(("127.0.0.1", 0))
ours = socket.create_connection(listener.getsockname())
theirs, _ = listener.accept()
ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 8))
ours.setblocking(False)
try:
    while True:
        ours.send(bytes(1 << 20))
except BlockingIOError:
    pass
body = wire.encode({"id": asked["id"], "spec": None, "diagnostics": ["x"], "dependencies": []})
try:
    socket.send_fds(channel, [body], [ours.fileno()])
except OSError:
    channel.sendall(body)
else:
    ours.close()
keep = globals().setdefault("kept", []); keep += [listener, theirs]
import builtins; builtins.kept = keep
"""
    with under.attack(
        "a lie: a socket that lingers 8 s comes along", f"liar-{uid}.ini"
    ) as loot:
        began = time.monotonic()
        name = lie(under, uid, program)
        under.daemon.expect("does not compile", name, level="error")
        taken = time.monotonic() - began
        loot.text = f"{taken:.2f} s"
        assert taken < 2.0
