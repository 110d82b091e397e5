"""What vassals may hold at most (emperor-cap), under a root Emperor and under a lesser one."""

import os

import pytest
from tests.e2e.daemon import eventually, reign
from tests.e2e.sites import Town
from tests.e2e.test_run_hooks import emperor_file

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

SETGID_AND_SETUID = 1 << 6 | 1 << 7

LESSER = ("uid = 20050", "gid = 20050", "cap = setgid,setuid")


def put_witness(town: Town) -> str:
    """A tenant's vassal that writes down what the kernel says of it; gives where."""
    told = f"{town.root}/told"
    os.close(os.open(told, os.O_CREAT | os.O_WRONLY))
    os.chown(told, 20001, 20001)
    town.write(
        "witness.ini",
        f"[uwsgi]\nvassal-exec = sh -c 'cat /proc/self/status > {told}; exec sleep 1000'\n",
    )
    os.chown(town.path("witness.ini"), 20001, 20001)
    os.chmod(town.root, 0o1777)
    os.chmod(town.vassals, 0o755)
    return told


def sets(told: str) -> dict[str, int]:
    """The capability sets that the witness has, by their names in /proc."""
    lines: list[str] = []

    def is_told() -> bool:
        with open(told, encoding="utf-8") as file:
            lines[:] = file.read().splitlines()
        return any(line.startswith("nonvoluntary") for line in lines)

    eventually(is_told)
    rows = (line.partition(":") for line in lines if line.startswith("Cap"))
    return {name: int(value, 16) for name, _, value in rows}


@pytest.mark.parametrize("lesser", [(), LESSER], ids=["root", "lesser"])
@pytest.mark.parametrize("option", ["emperor-cap", "vassals-cap", "vassal-cap"])
def test_a_vassal_can_never_hold_more(
    one_town: Town, option: str, lesser: tuple[str, ...]
) -> None:
    told = put_witness(one_town)
    wanted = f"{option} = setgid, 7"
    path = emperor_file(one_town, "emperor-tyrant = true", wanted, *lesser)
    with reign(path) as daemon:
        daemon.spawned("witness.ini")
        found = sets(told)
    assert found.pop("CapBnd") == SETGID_AND_SETUID
    assert set(found.values()) == {0}


@pytest.mark.parametrize("lesser", [(), LESSER], ids=["root", "lesser"])
def test_without_a_bound_a_vassal_still_has_none(
    one_town: Town, lesser: tuple[str, ...]
) -> None:
    told = put_witness(one_town)
    with reign(emperor_file(one_town, "emperor-tyrant = true", *lesser)) as daemon:
        daemon.spawned("witness.ini")
        found = sets(told)
    assert found.pop("CapBnd") & SETGID_AND_SETUID
    assert set(found.values()) == {0}


def test_capabilities_without_a_user_are_said_to_be_idle(one_town: Town) -> None:
    with reign(emperor_file(one_town, "cap = setgid")) as daemon:
        daemon.expect('"cap" has no effect without "uid"')
        daemon.expect("the Emperor governs")


def test_an_unknown_capability_is_refused_by_name(one_town: Town) -> None:
    with reign(emperor_file(one_town, "emperor-cap = setgid,fly")) as daemon:
        assert daemon.process.wait(20) == 1
        assert "fly" in str(daemon)


def test_a_tyrant_must_be_able_to_become_others(one_town: Town) -> None:
    path = emperor_file(one_town, "emperor-tyrant = true", "uid = 20050", "gid = 20050")
    with reign(path) as daemon:
        assert daemon.process.wait(20) == 1
        assert "cap = setgid,setuid" in str(daemon)
