"""Vassals that are not uWSGI: which program, what stands in front of it, what is only said."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
from tests.support.readers import HOST, DictReader

from emperor.compiler.catalogue import by_plugin, everything
from emperor.compiler.diagnostics import Diagnostic, Diagnostics, Severity
from emperor.compiler.effective import is_steering
from emperor.compiler.pipeline import compile_arguments
from emperor.compiler.programs.command import PROGRAMS
from emperor.compiler.programs.policies import OWN_KEYS, SIGNALS
from emperor.compiler.programs.program import ProgramLaunch, program_of
from emperor.compiler.programs.values import HeldSocket, Program
from emperor.compiler.reader import Host
from emperor.compiler.target import Target
from emperor.compiler.vassal import VassalFile

ROOT = replace(HOST, uid=0, gid=0, user="root", group="root")
ARGUMENTS = ("--ini", "app.ini")
FILE = VassalFile(name="app.ini", directory="/srv/vassals", monitor="/srv/vassals")


@dataclass(slots=True, kw_only=True)
class HostedReader(DictReader):
    """A world where somebody in particular compiles."""

    who: Host = ROOT

    def host(self) -> Host:
        return self.who


def look(
    text: str, *, file: VassalFile = FILE, who: Host = ROOT
) -> tuple[ProgramLaunch | None, list[Diagnostic]]:
    reader = HostedReader(files={"/srv/vassals/app.ini": f"[uwsgi]\n{text}".encode()}, who=who)
    compiled = compile_arguments(ARGUMENTS, environment={}, reader=reader, target=Target())
    assert compiled.ok, compiled.diagnostics
    diagnostics = Diagnostics()
    launch = program_of(
        compiled, file, arguments=ARGUMENTS, host=reader.host(), diagnostics=diagnostics
    )
    return launch, diagnostics.items


def launched(text: str, *, file: VassalFile = FILE, who: Host = ROOT) -> ProgramLaunch:
    launch, problems = look(text, file=file, who=who)
    assert problems == []
    assert launch is not None
    return launch


def problems(text: str, *, who: Host = ROOT) -> list[tuple[str, Severity, str]]:
    return [(item.code, item.severity, item.message) for item in look(text, who=who)[1]]


def lines(text: str, *, who: Host = ROOT) -> list[str]:
    """The one script in front of the program, without what every script has."""
    shell, option, script, name, *program = launched(f"vassal-exec = p\n{text}", who=who).argv
    assert (shell, option, name, program) == ("/bin/sh", "-c", "app.ini", ["p"])
    *found, last = script.splitlines()
    assert last == 'exec "$@"'
    return found[2:] if found[0].startswith("say()") else found


# -- the program -----------------------------------------------------------------------------


def test_a_vassal_without_a_program_is_uwsgi() -> None:
    assert look("socket = :1\nuid = www\n") == (None, [])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gunicorn -w 4 app:app", ("gunicorn", "-w", "4", "app:app")),
        ("nginx -g 'daemon off;'", ("nginx", "-g", "daemon off;")),
        ('a "b c" d\\ e "f\\"g"', ("a", "b c", "d e", 'f"g')),
        ("a ''", ("a", "")),
        ("a -n $(nproc)", ("/bin/sh", "-c", "exec a -n $(nproc)")),
        ("a $PORT", ("/bin/sh", "-c", "exec a $PORT")),
        ('a "$PORT;"', ("/bin/sh", "-c", 'exec a "$PORT;"')),
        ("a \"it's $X\" 'y'", ("/bin/sh", "-c", "exec a \"it's $X\" 'y'")),
        ("a ~/x", ("/bin/sh", "-c", "exec a ~/x")),
        ("a >log 2>&1", ("/bin/sh", "-c", "exec a >log 2>&1")),
        ("a && b", ("/bin/sh", "-c", "a && b")),
        ("a | b", ("/bin/sh", "-c", "a | b")),
        ("X=1 a", ("/bin/sh", "-c", "X=1 a")),
        ("exec a", ("/bin/sh", "-c", "exec a")),
        ("cd /x; a", ("/bin/sh", "-c", "cd /x; a")),
        ("/usr/bin/executor x", ("/usr/bin/executor", "x")),
    ],
)
def test_a_command_is_read_as_a_shell_reads_it(text: str, words: tuple[str, ...]) -> None:
    assert launched(f"vassal-exec = {text}\n").argv == words


@pytest.mark.parametrize("text", ["", "a 'b", 'a "b', 'a "$x', "a `b", "a \\"])
def test_a_command_that_is_none_is_an_error(text: str) -> None:
    launch, items = look(f"vassal-exec = {text}\n")
    assert launch is None
    assert [(item.code, item.severity) for item in items] == [("invalid-value", Severity.ERROR)]


def test_a_patch_gets_the_words_of_uwsgi() -> None:
    assert launched("unprivileged-binary-patch = /bin/p\n").argv == ("/bin/p", *ARGUMENTS)
    assert launched("privileged-binary-patch = p\n").argv == ("p", *ARGUMENTS)


def test_a_patch_with_words_is_a_line_of_shell() -> None:
    for kind in ("privileged", "unprivileged"):
        argv = launched(f"{kind}-binary-patch-arg = p -x 'a b'\n").argv
        assert argv == ("/bin/sh", "-c", "p -x 'a b'")


def test_the_one_that_uwsgi_would_come_to_first_counts() -> None:
    text = "".join(f"{name} = {name}\n" for name in sorted(PROGRAMS - {"vassal-exec"}))
    launch, items = look(text)
    assert launch is not None
    assert launch.argv[0] == "privileged-binary-patch"
    assert [item.code for item in items] == ["no-effect"] * 3


def test_two_ways_to_name_a_program_are_an_error() -> None:
    (found,) = problems("vassal-exec = a\nprivileged-binary-patch = b\n")
    assert found[:2] == ("invalid-value", Severity.ERROR)


def test_the_last_value_counts_and_a_custom_option_may_give_it() -> None:
    text = "declare-option = run=unprivileged-binary-patch-arg=$1;env=A=$2\nrun = one two\n"
    launch = launched(text)
    assert launch.argv[-1] == "one"
    assert launch.set == (("EMPEROR_0", "two"),)
    assert launched("vassal-exec = a\nvassal-exec = b\n").argv == ("b",)


# -- in front of it --------------------------------------------------------------------------


def test_the_name_is_a_word_and_never_a_part_of_a_script() -> None:
    file = replace(FILE, name="a'; reboot #\n.ini", section="one")
    argv = launched("vassal-exec = p\numask = 022\n", file=file).argv
    assert "reboot" not in argv[2]
    assert argv[3] == "a'; reboot #\\n.ini:one"


def test_no_value_of_a_variable_is_a_word() -> None:
    launch = launched(
        "vassal-exec = p\nenv = KEY=se'same\nenv = KEY=open\nunenv = B\nenv = C\n"
    )
    assert launch.set == (("EMPEROR_0", "open"),)
    assert not any("open" in word for word in launch.argv)
    assert lines("env = KEY=open\nunenv = B\n") == [
        'export KEY="$EMPEROR_0"',
        "unset B",
        "unset EMPEROR_0",
    ]


def test_commands_of_hooks_see_the_variables_and_tools_do_not() -> None:
    found = lines("env = PATH=/x\nexec-as-user = a\nexec-as-user = b\nhook-as-user = mkdir:d\n")
    assert [line for line in found if not line.startswith("say")] == [
        "mkdir ./d || end '\"hook-as-user = mkdir:d\"' $?",
        'own() ( export PATH="$EMPEROR_0"; unset EMPEROR_0; exec "$@" )',
        "own /bin/sh -c a </dev/null || end '\"exec-as-user = a\"' $?",
        "own /bin/sh -c b </dev/null || end '\"exec-as-user = b\"' $?",
        'export PATH="$EMPEROR_0"',
        "unset EMPEROR_0",
    ]


def test_what_a_hook_puts_into_the_environment_stays() -> None:
    assert "export A=2 || end '\"hook-as-user = putenv:A=2\"' $?" in (
        lines("env = A=1\nhook-as-user = putenv:A=2\n")
    )
    assert launched("vassal-exec = p\nenv = A=1\nhook-as-user = putenv:A=2\n").set == ()


def test_a_private_hook_is_not_said() -> None:
    found = lines("hook-pre-app = !print:sesame\n")
    assert [line for line in found if "sesame" in line] == [
        "printf '%s\\n' sesame >&2 || end '\"hook-pre-app = (private)\"' $?"
    ]


def test_texts_are_quoted_wherever_they_stand() -> None:
    evil = "/x'; reboot; '"
    for option in ("chdir", "logto", "pidfile", "cgroup", "exec-pre-app", "wait-for-file"):
        words = shlex.split("\n".join(lines(f"{option} = {evil}\n")))
        assert "reboot" not in {word.rstrip(";") for word in words}, words


def tools(text: str) -> list[list[str]]:
    """The tools in front of the program with their words, and "..." for each script."""
    argv = list(launched(f"vassal-exec = p\n{text}").argv)
    found: list[list[str]] = [[]]
    while argv:
        if argv[:2] == ["/bin/sh", "-c"]:
            del argv[:4]
            found.append(["..."])
            found.append([])
        else:
            found[-1].append(argv.pop(0))
    return [words for words in found if words]


CLEARED = "--inh-caps=-all --ambient-caps=-all"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("uid = www\ngid = 5\n", f"--reuid=www --regid=5 --init-groups {CLEARED}"),
        ("uid = 20001\ngid = 5\n", f"--reuid=20001 --regid=5 --clear-groups {CLEARED}"),
        ("uid = www\n", f"--reuid=www {CLEARED}"),
        ("gid = 5\n", f"--regid=5 --clear-groups {CLEARED}"),
        (
            "uid = www\ngid = 5\nno-initgroups =\n",
            f"--reuid=www --regid=5 --clear-groups {CLEARED}",
        ),
        (
            "uid = www\ngid = 5\nadd-gid = a\nadd-gid = 7\n",
            f"--reuid=www --regid=5 --groups=a,7 {CLEARED}",
        ),
        (
            "uid = www\ncap = setuid,net_bind_service\n",
            "--reuid=www --inh-caps=-all,+setuid,+net_bind_service"
            " --ambient-caps=-all,+setuid,+net_bind_service",
        ),
        (
            "cap = chown\n",
            "--inh-caps=-all,+chown --ambient-caps=-all,+chown --bounding-set=-all,+chown",
        ),
    ],
)
def test_another_user_is_one_call(text: str, words: str) -> None:
    assert tools(text) == [["setpriv", *words.split(), "--", "p"]]


def test_tools_stand_where_uwsgi_does_their_work() -> None:
    assert tools(
        "uid = www\nunshare = fs,pid\nchroot = /r\nexec-pre-jail = a\nexec-as-root = b\n"
        "exec-as-user = c\n"
    ) == [
        ["..."],
        "unshare --mount --pid -- timeout --foreground 0 chroot /r".split(),
        ["..."],
        ["setpriv", "--reuid=www", *CLEARED.split(), "--"],
        ["..."],
        ["p"],
    ]


def test_only_a_pid_namespace_makes_a_wrapper() -> None:
    assert launched("vassal-exec = p\nunshare = pid\n").forks
    assert launched("vassal-exec = p\nunshare2 = pid\n").forks
    assert not launched("vassal-exec = p\nunshare = fs,uts\n").forks
    assert tools("unshare = pid,uts\nunshare2 = pid\n") == [
        "unshare --pid --uts -- timeout --foreground 0 p".split()
    ]


def test_hooks_after_the_jail_want_a_jail() -> None:
    assert lines("exec-in-jail = a\n")
    (found,) = problems("vassal-exec = p\nexec-post-jail = a\n")
    assert found[:2] == ("no-effect", Severity.WARNING)
    assert lines("jailed =\nexec-post-jail = a\n")


def test_a_privileged_patch_is_before_all_that() -> None:
    text = "uid = www\nunshare = fs\nchroot = /r\nexec-as-root = a\ncap = chown\n"
    launch, items = look(
        f"privileged-binary-patch-arg = p\n{text}exec-as-user = b\nchdir = /x\n"
    )
    assert launch is not None
    assert [(item.code, item.span and item.span.line) for item in items] == [
        ("no-effect", line) for line in range(3, 9)
    ]
    assert launch.argv[4:] == ("/bin/sh", "-c", "p")
    assert "cd /x" in launch.argv[2]


def test_announcements_are_the_last_lines() -> None:
    assert lines("socket = :1\nvassal-heartbeat = 5\nchdir = /x\n")[1:] == [
        "export LISTEN_PID=$$",
        "export WATCHDOG_PID=$$",
    ]


def test_cores_are_those_that_there_are() -> None:
    assert lines("cpu-affinity = 2\n")[0].startswith("taskset -pc 0-1 $$ ")
    assert lines("cpu-affinity = 64\n")[0].startswith("taskset -pc 0-3 $$ ")


# -- who is not root -------------------------------------------------------------------------


def test_a_tenant_is_already_who_it_is() -> None:
    text = "vassal-exec = p\nuid = erika\ngid = 1001\nadd-gid = staff\n"
    assert launched(text, who=HOST).argv == ("p",)


@pytest.mark.parametrize(
    "text",
    ["uid = root", "gid = 0", "add-gid = 0", "chroot = /r", "unshare = pid", "cap = chown"],
)
def test_a_tenant_cannot_become_more(text: str) -> None:
    (found,) = problems(f"vassal-exec = p\n{text}\n", who=HOST)
    assert found[:2] == ("invalid-value", Severity.ERROR)


def test_a_tenants_hooks_of_root_are_left_out() -> None:
    text = "vassal-exec = p\nexec-as-root = a\ncgroup = /x\n"
    assert [found[0] for found in problems(text, who=HOST)] == ["no-effect"] * 2
    launch, _ = look(text, who=HOST)
    assert launch is not None
    assert launch.argv == ("p",)


# -- sockets ---------------------------------------------------------------------------------


def test_sockets_are_held_in_their_order() -> None:
    launch = launched(
        "vassal-exec = p\nhttp-socket = :8080\nsocket = run/a.sock\nshared-socket = @x\n"
        "fastcgi-socket = /f\nchmod-socket = 660\nchown-socket = www:www\nlisten = 7\n"
    )
    of_file = {"mode": "660", "owner": "www:www"}
    assert launch.sockets == (
        HeldSocket(name="http-socket", address=":8080", backlog=7),
        HeldSocket(name="socket", address="/srv/vassals/run/a.sock", backlog=7, **of_file),
        HeldSocket(name="shared-socket", address="@x", backlog=7),
        HeldSocket(name="fastcgi-socket", address="/f", backlog=7, **of_file),
    )


def test_a_socket_has_a_hundred_places_and_a_bare_mode_is_for_everybody() -> None:
    (held,) = launched("vassal-exec = p\nsocket = /a\nchmod-socket = 1\n").sockets
    assert (held.backlog, held.mode, held.owner) == (100, "666", None)
    (held,) = launched("vassal-exec = p\nsocket = a\nabstract-socket =\n").sockets
    assert (held.address, held.mode) == ("@a", None)


@pytest.mark.parametrize("text", ["=0", "fd://3", "*:80", "example.org:80", ":99999", "@"])
def test_a_socket_that_is_no_address_is_an_error(text: str) -> None:
    (found,) = problems(f"vassal-exec = p\nsocket = {text}\n")
    assert found[:2] == ("invalid-value", Severity.ERROR)


# -- how it is treated -----------------------------------------------------------------------


def program(text: str) -> Program:
    return launched(f"vassal-exec = p\n{text}").program


def test_nothing_said_is_the_usual_treatment() -> None:
    assert program("") == Program()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("vassal-reload = signal\nvassal-reload-signal = usr2\n", {"reload_signal": 12}),
        ("vassal-stop-signal = SIGQUIT\n", {"stop_signal": 3}),
        ("vassal-stop-signal = 34\n", {"stop_signal": 34}),
        ("vassal-kill-after = 2.5\n", {"stop_seconds": 2.5}),
        ("vassal-kill-after = 0\n", {"stop_seconds": 0.0}),
        ("vassal-reload = rolling\n", {"ready_after_seconds": 3.0}),
        ("vassal-reload = rolling\nvassal-ready = notify\n", {"ready_after_seconds": 0.0}),
        ("vassal-ready-after = 1\n", {"ready_after_seconds": 1.0}),
        ("vassal-ready-timeout = 5\n", {"ready_timeout_seconds": 5.0}),
        ("vassal-ready = emperor\n", {"ready": "emperor"}),
        ("vassal-heartbeat = 10\n", {"watchdog_seconds": 10.0}),
        ("vassal-log = journal\n", {"log": "journal"}),
        ("vassal-log = a.log\n", {"log": "/srv/vassals/a.log"}),
        ("vassal-log = /a.log\nvassal-log-size = 10k\n", {"log_bytes": 10_240}),
        ("vassal-log = /a.log\nvassal-log-keep = 0\n", {"log_keep": 0}),
    ],
)
def test_the_treatment_is_what_is_said(text: str, wanted: Mapping[str, object]) -> None:
    found = program(text)
    assert {name: getattr(found, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    "text",
    [
        "vassal-reload = now",
        "vassal-ready = maybe",
        "vassal-stop-signal = SIGNOTHING",
        "vassal-stop-signal = 65",
        "vassal-kill-after = -1",
        "vassal-kill-after = soon",
        "vassal-heartbeat = 1e9",
        "vassal-log = ",
        "vassal-log = /a\nvassal-log-size = 10X",
        "vassal-log = /a\nvassal-log-keep = many",
        "vassal-oom-score = 1001",
        "umask = 9",
        "env = a.b=1",
        "cap = fly",
        "unshare = moon",
        "pivot-root = /x",
        "cgroup = /x\ncgroup-opt = y",
        "logto = 127.0.0.1:514",
        "unshare = user\nuid = www",
        "immediate-uid = www",
        "setns = /x",
        "namespace = /x",
    ],
)
def test_a_value_that_cannot_be_meant_is_an_error(text: str) -> None:
    (found,) = problems(f"vassal-exec = p\n{text}\n")
    assert found[:2] == ("invalid-value", Severity.ERROR)


@pytest.mark.parametrize(
    "hook", ["hook-as-root = call:x", "hook-asap = nothing", "mount-asap = a"]
)
def test_a_hook_that_cannot_be_done_is_an_error(hook: str) -> None:
    (found,) = problems(f"vassal-exec = p\n{hook}\n")
    assert found[:2] == ("bad-hook", Severity.ERROR)


@pytest.mark.parametrize(
    "text",
    [
        "vassal-reload-signal = HUP",
        "vassal-ready = notify\nvassal-ready-after = 3",
        "vassal-log-size = 1M",
        "add-gid = 5",
    ],
)
def test_what_changes_nothing_is_said(text: str) -> None:
    (found,) = problems(f"vassal-exec = p\n{text}\n")
    assert found[:2] == ("no-effect", Severity.WARNING)


def test_signals_are_linuxs() -> None:
    assert {name: SIGNALS[name] for name in ("HUP", "KILL", "USR2", "TERM", "WINCH")} == {
        "HUP": 1,
        "KILL": 9,
        "USR2": 12,
        "TERM": 15,
        "WINCH": 28,
    }


# -- all the rest ----------------------------------------------------------------------------


def test_what_only_uwsgi_can_do_is_named_one_by_one() -> None:
    found = problems("vassal-exec = p\nhttp = :80\nmodule = app\nmine = x\n")
    assert [(code, severity) for code, severity, _ in found] == [
        ("only-uwsgi", Severity.WARNING)
    ] * 2
    assert '"http"' in found[0][2]


def test_how_uwsgi_serves_is_named_in_one_warning() -> None:
    ((code, _, message),) = problems("vassal-exec = p\nmaster =\nworkers = 4\nvacuum = true\n")
    assert code == "only-uwsgi"
    assert message.endswith('"master" (app.ini:3), "workers" (app.ini:4), "vacuum" (app.ini:5)')


def test_keys_of_ours_do_nothing_to_a_uwsgi() -> None:
    (found,) = problems("socket = :1\nvassal-reload = rolling\n")
    assert found[:2] == ("no-effect", Severity.WARNING)


def test_a_slip_in_a_key_of_ours_is_noticed() -> None:
    launch, (item,) = look("vassal-exec = p\nvassal-relaod = rolling\n")
    assert launch is not None
    assert item.help == 'did you mean "vassal-reload"?'


def test_no_key_of_ours_is_an_option_of_uwsgis_or_begins_one() -> None:
    for option in everything():
        assert not any(option.startswith(key) for key in OWN_KEYS), option


#: What only says how another option is meant.
COMPANIONS = """
    abstract-socket cgroup-dir-mode cgroup-opt chown-socket jailed listen log-truncate
    logfile-chown wait-for-fs-timeout wait-for-iface-timeout wait-for-interface-timeout
    wait-for-socket-timeout
""".split()


def is_silent(name: str, plain: ProgramLaunch) -> bool:
    """Whether an option changes nothing, and nobody says so."""
    reader = HostedReader(
        files={"/srv/vassals/app.ini": f"[uwsgi]\nvassal-exec = p\n{name} = 7\n".encode()}
    )
    compiled = compile_arguments(ARGUMENTS, environment={}, reader=reader, target=Target())
    found = Diagnostics()
    launch = program_of(
        compiled, FILE, arguments=ARGUMENTS, host=reader.host(), diagnostics=found
    )
    return compiled.ok and launch == plain and not found.items


def test_every_option_of_the_core_is_either_done_or_named() -> None:
    plain = launched("vassal-exec = p\n")
    options = [name for name in by_plugin("2.0.31")["core"] if not is_steering(name)]
    assert sorted(name for name in options if is_silent(name, plain)) == COMPANIONS
