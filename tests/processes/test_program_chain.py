"""What stands in front of a program, done by real shells and tools and seen from inside."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.support.marks import needs_root
from tests.support.uwsgi import the_uwsgi

from emperor.compiler.diagnostics import Diagnostic, Diagnostics, Severity
from emperor.compiler.pipeline import compile_arguments
from emperor.compiler.programs.program import ProgramLaunch, program_of
from emperor.compiler.target import Target
from emperor.compiler.vassal import VassalFile
from emperor.runtime.reader import FileReader

pytestmark = pytest.mark.process

DEADLINE_SECONDS = 20.0
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
ARGUMENTS = ("--ini", "app.ini")
NOBODY = 20_901

#: The program of most tests: it tells what it is, a fact a line.
LOOK = """#!/bin/sh
echo "args $*"
echo "cwd $(pwd)"
echo "umask $(umask)"
echo "uid $(id -u)"
echo "gid $(id -g)"
echo "groups $(id -G)"
echo "files $(ulimit -n) hard $(ulimit -Hn)"
echo "memory $(ulimit -v)"
echo "nice $(nice)"
echo "pid $$"
echo "listen ${LISTEN_PID:-none} watchdog ${WATCHDOG_PID:-none}"
grep -E '^(Cap|Cpus_allowed_list|NoNewPrivs)' /proc/self/status | tr -s ':\\t' '  '
echo "processes $(sed -n 's/^Max processes *\\([^ ]*\\).*/\\1/p' /proc/self/limits)"
echo "score $(cat /proc/self/oom_score_adj)"
env | grep -E '^(SEEN|EMPEROR)' | sort
cat | sed 's/^/input /'
"""


def look(directory: Path) -> str:
    """The program's path; everybody may run it, wherever the tests are."""
    program = directory / "look"
    program.write_text(LOOK)
    program.chmod(0o755)
    return str(program)


def compiled(directory: Path, text: str) -> tuple[ProgramLaunch | None, list[Diagnostic]]:
    (directory / "app.ini").write_text(f"[uwsgi]\n{text}\n")
    reader = FileReader(cwd=str(directory))
    found = compile_arguments(ARGUMENTS, environment={}, reader=reader, target=Target())
    assert found.ok, found.diagnostics
    diagnostics = Diagnostics()
    launch = program_of(
        found,
        VassalFile(name="app.ini", directory=str(directory), monitor="test"),
        arguments=ARGUMENTS,
        host=reader.host(),
        diagnostics=diagnostics,
    )
    return launch, diagnostics.items


def run(
    directory: Path, text: str, *, prefix: Sequence[str] = (), given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a vassal's program as the Emperor starts it, in a session of its own."""
    launch, problems = compiled(directory, text)
    assert launch is not None
    assert not [item for item in problems if item.severity is Severity.ERROR], problems
    process = subprocess.Popen(
        [*prefix, *launch.argv],
        cwd=directory,
        env={"PATH": PATH, "SEEN_BEFORE": "here", **dict(launch.set)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(given, timeout=DEADLINE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def seen(directory: Path, text: str, *, kind: str = "unprivileged") -> dict[str, str]:
    """What the program sees: fact -> what it is."""
    done = run(directory, f"{kind}-binary-patch = {look(directory)}\n{text}")
    assert done.returncode == 0, done.stderr
    pairs = (line.partition(" ") for line in done.stdout.splitlines())
    return {name: value for name, _, value in pairs}


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that every user can get at, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


# -- for everybody ---------------------------------------------------------------------------


def test_a_program_sees_what_its_file_says(home: Path) -> None:
    (home / "work").mkdir()
    facts = seen(
        home, f"chdir = {home}/work\numask = 027\nenv = SEEN_A=a b'c\nunenv = SEEN_BEFORE"
    )
    assert facts["args"] == "--ini app.ini"
    assert facts["cwd"] == f"{home}/work"
    assert facts["umask"] == "0027"
    assert facts["SEEN_A=a"] == "b'c"
    assert not any(name.startswith(("SEEN_BEFORE", "EMPEROR")) for name in facts)


def test_limits_are_lowered_by_anybody(home: Path) -> None:
    facts = seen(home, "limit-as = 512\nlimit-nproc = 5000\nmax-fd = 300\nprio = 7")
    assert facts["memory"] == str(512 * 1024)
    assert facts["processes"] == "5000"
    assert facts["files"] == "300 hard 300"
    assert facts["nice"] == "7"


def test_it_runs_on_the_first_cores(home: Path) -> None:
    if 0 not in os.sched_getaffinity(0):
        pytest.skip("the first core is not ours")
    assert seen(home, "cpu-affinity = 1")["Cpus_allowed_list"] == "0"


def test_the_out_of_memory_score_is_raised_by_anybody(home: Path) -> None:
    assert seen(home, "vassal-oom-score = 500")["score"] == "500"


def test_the_number_in_the_files_is_the_programs(home: Path) -> None:
    facts = seen(
        home,
        "pidfile = a.pid\npidfile2 = b.pid\nsafe-pidfile = c.pid\nsocket = s\n"
        "vassal-heartbeat = 3\nexec-as-user = true",
    )
    assert facts["listen"] == f"{facts['pid']} watchdog {facts['pid']}"
    for name in "abc":
        assert (home / f"{name}.pid").read_text() == f"{facts['pid']}\n"


def test_nothing_is_announced_that_is_not_there(home: Path) -> None:
    assert seen(home, "chdir = /")["listen"] == "none watchdog none"


def test_output_goes_to_the_log(home: Path) -> None:
    (home / "log").write_text("before\n")
    done = run(
        home,
        "vassal-exec = sh -c 'echo out; echo err >&2'\nlogto = log\nlogfile-chmod = 644\n"
        "exec-as-user = echo hook",
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert (home / "log").read_text().splitlines() == [
        "before",
        '[emperor] app.ini: running "exec-as-user = echo hook"',
        "hook",
        "out",
        "err",
    ]
    assert (home / "log").stat().st_mode & 0o777 == 0o644


def test_a_new_log_is_not_for_everybody_and_the_second_takes_over(home: Path) -> None:
    run(home, "vassal-exec = echo out\nlogto = one\nlogto2 = two\nexec-as-user = echo hook")
    assert (home / "one").read_text().splitlines()[-1] == "hook"
    assert (home / "two").read_text() == "out\n"
    assert (home / "one").stat().st_mode & 0o137 == 0


def test_hooks_run_in_uwsgis_order(home: Path) -> None:
    moments = ["asap", "pre-jail", "in-jail", "as-user", "pre-app"]
    text = "".join(f"exec-{moment} = echo exec-{moment}\n" for moment in reversed(moments))
    text += "".join(f"hook-{moment} = exec:echo {moment}\n" for moment in reversed(moments))
    done = run(home, f"vassal-exec = echo program\n{text}")
    wanted = [word for moment in moments for word in (moment, f"exec-{moment}")]
    assert done.stdout.splitlines() == [*wanted, "program"]


def test_a_hook_does_not_eat_the_programs_input(home: Path) -> None:
    done = run(home, "vassal-exec = cat\nexec-as-user = cat", given="for the program")
    assert done.stdout == "for the program"


def test_commands_of_hooks_see_the_variables(home: Path) -> None:
    done = run(
        home,
        "vassal-exec = sh -c 'echo $SEEN $PUT'\nenv = SEEN=it\nenv = PUT=no\n"
        "exec-asap = echo asap $SEEN\nhook-as-user = putenv:PUT=yes\nexec-as-user = echo $PUT",
    )
    assert done.stdout.splitlines() == ["asap it", "yes", "it yes"]


def test_a_path_of_the_vassals_own_finds_its_program_and_hurts_no_tool(home: Path) -> None:
    (home / "bin").mkdir()
    program = home / "bin" / "mine"
    program.write_text("#!/bin/sh\necho found $*\n")
    program.chmod(0o755)
    done = run(
        home,
        f"vassal-exec = mine -x\nenv = PATH={home}/bin\nhook-as-user = mkdir:made\n"
        "wait-for-dir = made\nwait-for-fs-timeout = 1\nhook-asap = mkdir:made",
    )
    assert done.stdout == ""
    assert "mkdir:made" in done.stderr.splitlines()[-1]
    done = run(home, f"vassal-exec = mine -x\nenv = PATH={home}/bin\nhook-asap = mkdir:new")
    assert done.stdout == "found -x\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exec-as-user = exit 3", '"exec-as-user = exit 3" failed (exit code 3)'),
        ("chdir = /nowhere", '"chdir = /nowhere" failed'),
        ("logto = /nowhere/log", '"logto = /nowhere/log" failed'),
        ("hook-asap = unlink:gone\n", '"hook-asap = unlink:gone" failed'),
        ("wait-for-file = gone\nwait-for-fs-timeout = 1", '"wait-for-file = gone" failed'),
    ],
)
def test_what_fails_keeps_the_program_from_running(home: Path, text: str, said: str) -> None:
    done = run(home, f"vassal-exec = echo program\n{text}\nexec-pre-app = echo late")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith(f"[emperor] app.ini: {said}")
    assert done.stderr.endswith(": the vassal is not started\n")


def test_what_uwsgi_goes_on_without_is_only_said(home: Path) -> None:
    done = run(home, "vassal-exec = echo program\npidfile = /nowhere/pid")
    assert (done.returncode, done.stdout) == (0, "program\n")
    assert done.stderr.endswith('"pidfile = /nowhere/pid" could not be done\n')


def test_a_program_that_is_not_there_is_an_exit_code(home: Path) -> None:
    assert run(home, "vassal-exec = /nowhere/program\nchdir = /").returncode == 127


def test_signals_reach_a_program_that_a_shell_started(home: Path) -> None:
    done = run(home, "vassal-exec = sh -c 'kill -TERM $$' $NOTHING\nchdir = /")
    assert done.returncode == -signal.SIGTERM


@pytest.mark.uwsgi
@pytest.mark.parametrize("kind", ["privileged", pytest.param("unprivileged", marks=needs_root)])
def test_a_plain_patch_gets_the_words_that_uwsgi_gives(home: Path, kind: str) -> None:
    program = home / "words"
    program.write_text('#!/bin/sh\nfor word in "$0" "$@"; do echo "<$word>"; done\n')
    program.chmod(0o755)
    text = f"{kind}-binary-patch = {program}"
    done = run(home, text)
    real = subprocess.run(
        [the_uwsgi().path, *ARGUMENTS],
        cwd=home,
        env={"PATH": PATH},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert real.stdout == done.stdout == f"<{program}>\n<--ini>\n<app.ini>\n"


# -- for root --------------------------------------------------------------------------------

NO_CAPABILITIES = "0000000000000000"


def capabilities(facts: dict[str, str]) -> list[str]:
    return [facts[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")]


@needs_root
def test_another_user_has_nothing_of_roots(home: Path) -> None:
    facts = seen(home, f"uid = {NOBODY}\ngid = {NOBODY}")
    assert (facts["uid"], facts["gid"], facts["groups"]) == (str(NOBODY),) * 3
    assert capabilities(facts) == [NO_CAPABILITIES] * 4


@needs_root
def test_a_tenant_needs_no_rights_for_its_own_chain(home: Path) -> None:
    """In tyrant mode all of it runs as the tenant, behind what the Emperor puts in front."""
    who = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--")
    done = run(
        home,
        "vassal-exec = sh -c 'id -u; pwd; echo $SEEN; nice'\nchdir = /\nenv = SEEN=it\n"
        "umask = 077\nlogto2 = log\npidfile = pid\nexec-as-user = echo hook\nprio = 3\n"
        "limit-as = 900\nmax-fd = 64\nsocket = s\nvassal-oom-score = 100",
        prefix=who,
    )
    assert (done.returncode, done.stdout) == (0, "hook\n"), done.stderr
    assert (home / "log").read_text().splitlines() == [str(NOBODY), "/", "it", "3"]
    assert (home / "log").stat().st_uid == NOBODY


@needs_root
def test_users_and_groups_by_name(home: Path) -> None:
    facts = seen(home, "uid = nobody\ngid = nogroup")
    user = subprocess.run(["id", "-u", "nobody"], capture_output=True, text=True, check=True)
    assert facts["uid"] == user.stdout.strip()
    facts = seen(home, "uid = nobody\ngid = nogroup\nadd-gid = daemon\nadd-gid = 20905")
    assert facts["groups"].split()[1:] == ["1", "20905"]


@needs_root
def test_a_user_without_a_group_keeps_the_group(home: Path) -> None:
    facts = seen(home, f"uid = {NOBODY}")
    assert (facts["uid"], facts["gid"]) == (str(NOBODY), "0")
    assert capabilities(facts) == [NO_CAPABILITIES] * 4


@needs_root
@pytest.mark.parametrize("who", [f"uid = {NOBODY}\ngid = {NOBODY}\n", ""])
def test_a_program_has_exactly_its_capabilities(home: Path, who: str) -> None:
    facts = seen(home, f"{who}cap = chown,setgid")
    assert capabilities(facts) == ["0000000000000041"] * 4


@needs_root
def test_rights_are_for_the_right_hooks(home: Path) -> None:
    """The whole order, each hook with the user it runs as."""
    moments = ["asap", "pre-jail", "in-jail", "post-jail", "as-root", "as-user", "pre-app"]
    text = "".join(f"exec-{moment} = echo {moment} $(id -u)\n" for moment in reversed(moments))
    done = run(home, f"vassal-exec = echo program\njailed =\nuid = {NOBODY}\n{text}")
    ids = [0, 0, 0, 0, 0, NOBODY, NOBODY]
    assert done.stdout.splitlines() == [
        *(f"{moment} {uid}" for moment, uid in zip(moments, ids, strict=True)),
        "program",
    ]


@needs_root
def test_a_privileged_patch_is_still_root(home: Path) -> None:
    facts = seen(
        home,
        f"uid = {NOBODY}\ngid = {NOBODY}\ncap = chown\nunshare = uts\nexec-as-root = false\n"
        "exec-as-user = false\nmax-fd = 400\nchdir = /\nenv = SEEN_A=1\numask = 077",
        kind="privileged",
    )
    assert (facts["uid"], facts["files"], facts["cwd"]) == ("0", "400 hard 400", "/")
    assert (facts["umask"], "SEEN_A=1" in facts) == ("0077", True)


@needs_root
def test_root_raises_what_others_cannot(home: Path) -> None:
    facts = seen(home, f"uid = {NOBODY}\ngid = {NOBODY}\nmax-fd = 3000\nprio = -3")
    assert (facts["files"], facts["nice"]) == ("3000 hard 3000", "-3")


@needs_root
def test_the_log_is_roots_until_it_is_given_away(home: Path) -> None:
    run(
        home,
        f"vassal-exec = echo x\nlogto = log\nuid = {NOBODY}\ngid = {NOBODY}\nlogfile-chown =",
    )
    status = (home / "log").stat()
    assert (status.st_uid, status.st_gid) == (NOBODY, NOBODY)
    assert (home / "log").read_text() == "x\n"


def can_unshare(*kinds: str) -> bool:
    tool = shutil.which("unshare")
    return tool is not None and (
        subprocess.run([tool, *kinds, "true"], check=False, capture_output=True).returncode == 0
    )


@needs_root
def test_namespaces_hold_what_hooks_do_to_them(home: Path) -> None:
    if not can_unshare("--pid", "--mount", "--uts"):
        pytest.skip("no namespaces here")
    before = os.uname().nodename
    done = run(
        home,
        "vassal-exec = sh -c 'hostname; echo $$; ls /proc | grep -c ^[0-9]; id -u;"
        " env | grep EMPEROR; exit 9'\n"
        f"unshare = pid,fs,uts\nuid = {NOBODY}\ngid = {NOBODY}\n"
        "exec-as-root = hostname foobar\nhook-as-root = umount:/proc\n"
        "hook-as-root = mount:proc none /proc\n"
        "pidfile = pid\npidfile2 = pid2",
    )
    host, number, processes, uid = done.stdout.splitlines()
    assert (done.returncode, host, number, uid) == (9, "foobar", "1", str(NOBODY))
    assert int(processes) < 8
    assert os.uname().nodename == before
    launch, _ = compiled(home, "vassal-exec = a\nunshare = pid")
    assert launch is not None
    assert launch.forks
    outside = int((home / "pid").read_text())
    assert outside > 1
    assert int((home / "pid2").read_text()) == outside


def new_root(home: Path, *files: str) -> str:
    """A root with the tools of this machine and these files, as lines of a vassal."""
    if not can_unshare("--mount"):
        pytest.skip("no mounts here")
    root = home / "root"
    shared = [place for place in ("/usr", "/bin", "/lib", "/lib64") if os.path.exists(place)]
    for place in shared:
        (root / place[1:]).mkdir(parents=True)
    for name in files:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("")
    binds = [f"hook-post-jail = mount:none {p} {root}{p} bind,rec" for p in shared]
    return "\n".join(["unshare = fs", *binds, f"uid = {NOBODY}", f"gid = {NOBODY}", ""])


@needs_root
@pytest.mark.parametrize("way", ["chroot = root", "pivot-root = root old"])
def test_a_new_root_is_the_working_directory(home: Path, way: str) -> None:
    text = new_root(home, "dev/null", "etc/mark", "old/mark")
    if way.startswith("pivot"):  # it wants a mount of its own
        text += f"hook-post-jail = mount:none {home}/root {home}/root bind,rec\n"
    done = run(
        home,
        "vassal-exec = sh -c 'pwd; id -u; ls etc; echo $SEEN'\n"
        f"{text}{way}\nexec-as-root = ls /etc\nenv = SEEN=it",
    )
    assert done.stdout.splitlines() == ["mark", "/", str(NOBODY), "mark", "it"], done.stderr


@needs_root
def test_nothing_is_passed_over_in_a_root_that_lacks_something(home: Path) -> None:
    text = f"{new_root(home)}chroot = root\n"
    done = run(home, f"vassal-exec = sh -c 'echo $SEEN'\n{text}chdir = /bin\nenv = SEEN=it")
    assert done.stdout == "it\n"
    done = run(home, f"vassal-exec = echo program\n{text}exec-as-user = echo hook")
    assert (done.returncode, done.stdout) == (1, "")


@needs_root
def test_a_control_group_is_made_and_entered(home: Path) -> None:
    """A directory stands for the group: the kernel's are not ours to make everywhere."""
    group = home / "group"
    group.mkdir()
    for name in ("cgroup.procs", "memory.max"):
        (group / name).write_text("")
    facts = seen(home, "cgroup = group\ncgroup-opt = memory.max=1G\ncgroup-opt = pids.max=5")
    assert (group / "cgroup.procs").read_text() == f"{facts['pid']}\n"
    assert (group / "memory.max").read_text() == "1G\n"
    assert not (group / "pids.max").exists()
    assert group.stat().st_mode & 0o777 == 0o700
