"""Hooks as the user writes them, and the commands that they become."""

import shlex

import pytest
from tests.support.readers import compile_text

from emperor.compiler.actions import ARGUMENTS, Unfit, command_of
from emperor.compiler.diagnostics import Diagnostic, Diagnostics, Severity
from emperor.compiler.emperor_config import emperor_config
from emperor.compiler.emperor_options import AS_VASSAL, HOOKS
from emperor.compiler.hooks import BadHook, parse_hook
from emperor.compiler.moments import MOMENTS, emperor_hooks

#: An argument list that every action takes.
EXAMPLES = {
    "COMMAND": "ls -l | wc",
    "DIRECTORY": "/a b",
    "NAME=VALUE": "A=b c",
    "FILE": "a b",
    "FILE TEXT": "f one  two",
    "FIFO TEXT": "f one  two",
    "FILE [TEXT]": "f",
    "FILE MODE": "f 750",
    "FILE USER GROUP": "f daemon nogroup",
    "FILE UID GID": "f 1 2",
    "FILESYSTEM SOURCE DIRECTORY [FLAGS [DATA]]": "tmpfs none /t nosuid,ro size=1m,mode=755",
    "DIRECTORY [FLAGS]": "/t rec,detach",
    "NAME": "host",
    "PATH": "some where",
    "ADDRESS": "127.0.0.1:80",
    "[TEXT]": "",
    "[CODE]": "",
}


def findings(text: str) -> list[Diagnostic]:
    """What is said of an Emperor's configuration."""
    compiled = compile_text("[uwsgi]\nplain = 1\n" + text)
    assert compiled.ok, compiled.diagnostics
    diagnostics = Diagnostics()
    emperor_config(compiled.entries, diagnostics)
    return diagnostics.items


def command(value: str, *, seconds: float = 0.0) -> list[str]:
    """The words of the command of a hook."""
    hook = parse_hook("hook-as-vassal", value)
    return shlex.split(command_of(hook.action, hook.arguments, seconds=seconds))


@pytest.mark.parametrize("action", ARGUMENTS)
def test_every_action_is_in_the_grammar_and_has_a_command(action: str) -> None:
    hook = parse_hook("hook-as-vassal", f"{action}:{EXAMPLES[ARGUMENTS[action]]}")
    assert hook.action == action
    assert command_of(hook.action, hook.arguments, seconds=30.0)


@pytest.mark.parametrize(
    ("value", "arguments"),
    [
        ("exec:a:b  c ", ("a:b  c ",)),
        ("exec:two\nlines", ("two\nlines",)),
        ("mkdir:/a b", ("/a b",)),
        ("write:/f a  b", ("/f", "a  b")),
        ("write:/f ", ("/f",)),
        ("chown:/f you them", ("/f", "you", "them")),
        ("mount:proc none /proc", ("proc", "none", "/proc")),
        ("mount:t n /m ro,bind a=1, b", ("t", "n", "/m", "ro,bind", "a=1, b")),
        ("print:", ()),
        ("cd:/\udcff", ("/\udcff",)),
    ],
)
def test_arguments_are_parted_by_single_blanks_and_the_last_takes_the_rest(
    value: str, arguments: tuple[str, ...]
) -> None:
    assert parse_hook("hook-as-vassal", value).arguments == arguments


@pytest.mark.parametrize("kind", ["exec", "mount", "umount"])
@pytest.mark.parametrize("who", ["vassal", "emperor"])
def test_an_option_of_one_action_has_it_in_its_name(kind: str, who: str) -> None:
    hook = (
        parse_hook(f"{kind}-as-{who}", "a b c")
        if kind != "umount"
        else parse_hook(f"{kind}-as-{who}", "/a rec")
    )
    assert hook.action == kind


def test_a_private_hook_is_not_told() -> None:
    hook = parse_hook("hook-as-vassal", "!exec:sesame")
    assert hook.is_private
    assert "sesame" not in hook.label
    assert parse_hook("hook-as-vassal", "exec:a\nb").label == "hook-as-vassal = exec:a b"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("touch /x", "no colon"),
        ("touch:/x", 'no hook action "touch"'),
        (" exec:ls", 'no hook action " exec"'),
        ("exec:", "lacks an argument"),
        ("chmod:/x", "lacks an argument"),
        ("mount:proc /proc", "lacks an argument"),
        ("chown2:/x 1 2 3", "too many"),
        ("call:setup", "running uWSGI"),
        ("callint:setuid 1", "running uWSGI"),
        ("rpc:x", "running uWSGI"),
        ("alarm:mail now", "running uWSGI"),
        ("unix_signal:15 f", "running uWSGI"),
        ("exec:a\0b", "NUL"),
    ],
)
def test_what_is_no_hook_is_said_with_a_remedy(value: str, said: str) -> None:
    with pytest.raises(BadHook, match=said) as caught:
        parse_hook("hook-as-vassal", value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "value",
    [
        "chmod:/x rwx",
        "chmod:/x 99",
        "chown2:/x me 2",
        "exit:soon",
        "exit:256",
        "putenv:A.B=1",
        "putenv:=1",
        "mount:none /a /b bind,upside-down",
        "umount:/a ro",
        "wait_for_socket:host:http",
    ],
)
def test_arguments_that_an_action_cannot_work_with_are_refused(value: str) -> None:
    hook = parse_hook("hook-as-vassal", value)
    with pytest.raises(Unfit) as caught:
        command_of(hook.action, hook.arguments, seconds=0.0)
    assert caught.value.remedy
    (found,) = findings(f"hook-as-vassal = {value}\n")
    assert (found.code, found.severity) == ("bad-hook", Severity.ERROR)
    assert found.help == caught.value.remedy


def test_a_wrong_hook_is_reported_with_its_line_before_anything_runs() -> None:
    (found,) = findings("hook-as-emperor = exec:ok\nmount-as-emperor = proc /proc\n")
    assert found.code == "bad-hook"
    assert found.span is not None
    assert found.span.line == 4
    assert found.help == "write mount-as-emperor = FILESYSTEM SOURCE DIRECTORY [FLAGS [DATA]]"


def test_the_emperor_is_not_ended_by_a_hook() -> None:
    assert [item.code for item in findings("hook-as-emperor = exit:1\n")] == ["bad-hook"]
    assert findings("hook-as-vassal = exit:1\n") == []


@pytest.mark.parametrize("option", ["vassals-start-hook", "vassals-stop-hook"])
def test_a_program_is_no_action(option: str) -> None:
    assert findings(f"{option} = /usr/local/bin/told\n") == []
    assert [item.code for item in findings(f"{option} =\n")] == ["bad-hook"]


# -- commands --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("exec:a; b 'c'", ["/bin/sh", "-c", "a; b 'c'"]),
        ("mkdir:-p", ["mkdir", "./-p"]),
        ("unlink:/a;b", ["unlink", "/a;b"]),
        ("chmod:a 0750", ["chmod", "0750", "./a"]),
        ("sticky:/tmp", ["chmod", "a+t", "/tmp"]),
        ("chown:/a you them", ["chown", "--", "you:them", "/a"]),
        ("chown2:/a 7 8", ["chown", "+7:+8", "/a"]),
        ("cd:-", ["cd", "./-"]),
        ("putenv:A=b $(c)", ["export", "A=b $(c)"]),
        ("putenv:A", ["unset", "A"]),
        ("exit:3", ["exit", "3"]),
        ("exit:", ["exit", "0"]),
        ("mount:proc none /proc", ["mount", "-t", "proc", "--", "none", "/proc"]),
        (
            "mount:tmpfs none /t nosuid,rdonly size=1m",
            ["mount", "-t", "tmpfs", "-o", "nosuid,ro,size=1m", "--", "none", "/t"],
        ),
        (
            "mount:none /a b rec,bind",
            ["mount", "-t", "none", "-o", "rbind", "--", "/a", "./b"],
        ),
        ("mount:none none / rec,private", ["mount", "--make-rprivate", "/"]),
        ("mount:none /a /b move", ["mount", "--move", "--", "/a", "/b"]),
        ("umount:/a", ["umount", "--", "/a"]),
        ("umount:/a rec,force,detach", ["umount", "-R", "-f", "-l", "--", "/a"]),
    ],
)
def test_an_action_is_a_command_of_standard_tools(value: str, words: list[str]) -> None:
    assert command(value) == words


def test_a_limit_stands_in_front_and_keeps_the_process_group() -> None:
    limit = ["timeout", "--foreground", "--kill-after=5"]
    assert command("exec:ls", seconds=30.0)[:4] == [*limit, "30"]
    assert command("exec:ls", seconds=0.25)[:4] == [*limit, "0.25"]
    assert command("mkdir:x", seconds=1e300) == ["mkdir", "./x"]


def test_waiting_always_ends() -> None:
    assert command("wait_for_fs:x")[3] == "60"
    assert command("wait_for_fs:x", seconds=5.0)[3] == "5"


# -- moments ---------------------------------------------------------------------------------


def test_every_hook_option_has_one_place() -> None:
    of_the_emperor = [option for options in MOMENTS.values() for option in options]
    assert len(set(of_the_emperor)) == len(of_the_emperor)
    assert set(of_the_emperor) | AS_VASSAL == HOOKS
    assert not set(of_the_emperor) & AS_VASSAL


def test_kinds_keep_uwsgis_order_and_hooks_of_a_kind_their_own() -> None:
    found = emperor_hooks(
        [
            ("exec-as-emperor", "echo 4"),
            ("umount-as-emperor", "/3"),
            ("mount-as-emperor", "proc none /2"),
            ("hook-as-emperor", "exec:echo 0"),
            ("hook-as-emperor", "exec:echo 1"),
            ("hook-as-vassal", "exec:not here"),
        ]
    )
    assert list(found) == ["as-emperor"]
    assert [argv[2] for argv in found["as-emperor"]] == [
        "echo 0",
        "echo 1",
        "mount -t proc -- none /2",
        "umount -- /3",
        "echo 4",
    ]
    assert all(argv[:2] == ["/bin/sh", "-c"] for argv in found["as-emperor"])
    assert found["as-emperor"][0][3] == "hook-as-emperor = exec:echo 0"


def test_directory_and_variables_hold_for_what_follows_at_that_moment() -> None:
    found = emperor_hooks(
        [
            ("hook-as-emperor", "exec:first"),
            ("hook-as-emperor", "cd:/srv"),
            ("hook-as-emperor", "putenv:A=1 2"),
            ("exec-as-emperor", "last"),
            ("hook-emperor-start", "exec:start"),
        ]
    )
    assert [argv[2] for argv in found["as-emperor"]] == [
        "first",
        "cd /srv || exit\nexport A='1 2' || exit\nlast",
    ]
    assert [argv[2] for argv in found["emperor-start"]] == ["start"]


def test_the_last_stop_hook_counts_and_is_a_program_not_a_text() -> None:
    found = emperor_hooks([("vassals-stop-hook", "/a"), ("vassals-stop-hook", "/b; c")])
    ((shell, _, script, label, *words),) = found["stop"]
    assert (shell, script, words) == ("/bin/sh", 'exec "$@"', ["/b; c"])
    assert label == "vassals-stop-hook = /b; c"


def test_moments_without_hooks_are_not_there() -> None:
    assert emperor_hooks([]) == {}
    assert emperor_hooks([("hook-as-emperor", "nonsense")]) == {}
