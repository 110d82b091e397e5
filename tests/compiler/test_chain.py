"""The words in front of a vassal's command."""

import shlex

import pytest

from emperor.compiler.chain import Jail, UnknownNamespace, chain, forks, parse_namespaces

FIVE = ("mount", "net", "ipc", "pid", "uts")

CHAINS = [
    (Jail(), ""),
    (
        Jail(owner=(20001, 20002)),
        "setpriv --reuid 20001 --regid 20002 --clear-groups --inh-caps=-all"
        " --ambient-caps=-all --",
    ),
    (
        Jail(owner=(20001, 20002), groups=(20003, 20004)),
        "setpriv --reuid 20001 --regid 20002 --groups 20003,20004 --inh-caps=-all"
        " --ambient-caps=-all --",
    ),
    (Jail(groups=(20003,)), ""),
    (Jail(drops_capabilities=True), "setpriv --inh-caps=-all --ambient-caps=-all --"),
    (
        Jail(drops_capabilities=True, bounding=(0, 7, 40)),
        "setpriv --inh-caps=-all --ambient-caps=-all"
        " --bounding-set=-all,+chown,+setuid,+checkpoint_restore --",
    ),
    (Jail(bounding=()), "setpriv --bounding-set=-all --"),
    (Jail(namespaces=("mount", "uts")), "unshare --mount --uts --"),
    (Jail(namespaces=("net", "user")), "unshare --net --user --map-root-user --"),
    (
        Jail(namespaces=("pid",)),
        "unshare --pid -- timeout --foreground 0 setpriv --pdeathsig KILL --",
    ),
    (
        Jail(owner=(20001, 20002), namespaces=("ipc",), bounding=(7,)),
        "unshare --ipc -- setpriv --reuid 20001 --regid 20002 --clear-groups"
        " --inh-caps=-all --ambient-caps=-all --bounding-set=-all,+setuid --",
    ),
    (
        Jail(owner=(20001, 20002), namespaces=FIVE),
        "unshare --mount --net --ipc --pid --uts -- timeout --foreground 0"
        " setpriv --reuid 20001 --regid 20002 --clear-groups --inh-caps=-all"
        " --ambient-caps=-all --pdeathsig KILL --",
    ),
    (
        Jail(owner=(20001, 20002), namespaces=("net", "user")),
        "setpriv --reuid 20001 --regid 20002 --clear-groups --inh-caps=-all"
        " --ambient-caps=-all -- unshare --net --user --map-root-user --",
    ),
    (
        Jail(owner=(20001, 20002), namespaces=("pid", "user"), bounding=(7,)),
        "setpriv --reuid 20001 --regid 20002 --clear-groups --inh-caps=-all"
        " --ambient-caps=-all --"
        " unshare --pid --user --map-root-user -- timeout --foreground 0"
        " setpriv --bounding-set=-all,+setuid --pdeathsig KILL --",
    ),
    (
        Jail(namespaces=("user",), drops_capabilities=True),
        "setpriv --inh-caps=-all --ambient-caps=-all -- unshare --user --map-root-user --",
    ),
]


@pytest.mark.parametrize(("jail", "words"), CHAINS)
def test_a_jail_becomes_words(jail: Jail, words: str) -> None:
    assert shlex.join(chain(jail)) == words


@pytest.mark.parametrize(("jail", "_words"), CHAINS)
def test_only_a_pid_namespace_needs_a_process_outside(jail: Jail, _words: str) -> None:
    assert forks(jail) == ("timeout" in chain(jail)) == ("pid" in jail.namespaces)


@pytest.mark.parametrize(
    ("text", "namespaces"),
    [
        ("", ()),
        ("fs,net,ipc,pid,uts", FIVE),
        ("user,uts,pid,ipc,net,mnt", (*FIVE, "user")),
        (" ns , pid,, fs ", ("mount", "pid")),
        ("mount,mnt", ("mount",)),
        ("files,io,sysvsem", ()),
        ("io,uts", ("uts",)),
    ],
)
def test_the_words_of_the_original_are_read(text: str, namespaces: tuple[str, ...]) -> None:
    assert parse_namespaces(text) == namespaces


@pytest.mark.parametrize("text", ["time", "fs,PID", "net pid"])
def test_other_words_are_refused_by_name(text: str) -> None:
    with pytest.raises(UnknownNamespace, match=f'"{text.rpartition(",")[2]}"'):
        parse_namespaces(text)


def test_nobody_else_can_be_the_parent() -> None:
    with pytest.raises(ValueError, match="the guardian is the parent"):
        parse_namespaces("pid,parent")
