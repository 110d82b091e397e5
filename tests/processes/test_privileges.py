"""Becoming a lesser user, asked of the kernel: who is left, and with what rights."""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.lesser import (
    CHAIN,
    REDUCED,
    TENANT,
    capability_sets,
    output_of,
    status_fields,
    told_by_child,
)
from tests.support.marks import needs_root

from emperor.runtime.tenants.capability_sets import CapabilitySets, current_sets
from emperor.runtime.tenants.privileges import (
    Identity,
    Owner,
    as_files_of,
    become_tenant,
    drop,
    files_uid,
    initgroups_of,
)

pytestmark = pytest.mark.process

OWNER = Owner(uid=TENANT, gid=TENANT)
POWERLESS = Identity(uid=20_001, gid=20_001)
#: One that was left the right to pass over the rights on files, too.
CARELESS = Identity(uid=20_001, gid=20_001, capabilities=(1, 2, 6, 7))
SETGID_AND_SETUID = 1 << 6 | 1 << 7
SHOW = ["/bin/sh", "-c", "cat /proc/self/status"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory of root's that everybody may enter."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def error_of(action: Callable[[], object]) -> str | None:
    """The error that an action ends with, by its short name."""
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return None


# Dropping


@needs_root
def test_what_is_kept_is_kept_exactly_and_by_what_is_started_too() -> None:
    def scenario() -> list[dict[str, str]]:
        drop(REDUCED)
        return [status_fields(), status_fields(output_of(*SHOW))]

    for status in told_by_child(scenario):
        assert status["Uid"].split() == status["Gid"].split() == ["20001"] * 4
        assert status["Groups"] == ""
        assert set(capability_sets(status).values()) == {SETGID_AND_SETUID}


@needs_root
def test_the_chain_leaves_a_tenant_nothing() -> None:
    def scenario() -> list[dict[str, str]]:
        drop(REDUCED)
        careless = [word for word in CHAIN if not word.endswith("=-all")]
        return [status_fields(output_of(*chain, *SHOW)) for chain in (CHAIN, careless)]

    tenant, careless = told_by_child(scenario)
    assert tenant["Uid"].split() == tenant["Gid"].split() == [str(TENANT)] * 4
    assert set(capability_sets(tenant).values()) == {0}
    assert set(capability_sets(careless).values()) == {SETGID_AND_SETUID}  # the way to root


@needs_root
def test_without_capabilities_none_is_left() -> None:
    def scenario() -> dict[str, str]:
        drop(POWERLESS)
        return status_fields()

    assert set(capability_sets(told_by_child(scenario)).values()) == {0}


@needs_root
def test_what_is_not_there_cannot_be_kept() -> None:
    def scenario() -> str:
        drop(REDUCED)
        with pytest.raises(PermissionError) as caught:
            drop(Identity(capabilities=(5, 7, 63)))
        return str(caught.value)

    assert "capabilities 5, 63" in told_by_child(scenario)


def test_an_identity_travels_as_data() -> None:
    assert Identity.from_data(REDUCED.as_data()) == REDUCED
    assert REDUCED.is_change
    assert Identity(capabilities=(7,)).is_change
    assert not Identity().is_change


# Tenants


@pytest.mark.parametrize(("uid", "gid"), [(0, 5), (5, 0), (-1, 5), (5, 2**32 - 1)])
def test_root_and_nobody_are_no_tenants(uid: int, gid: int) -> None:
    with pytest.raises(ValueError, match="no tenant"):
        Owner(uid=uid, gid=gid)


@needs_root
@pytest.mark.parametrize("emperor", [None, REDUCED, CARELESS])
def test_a_tenant_is_nobody_else_ever_after(emperor: Identity | None) -> None:
    def scenario() -> dict[str, Any]:
        if emperor is not None:
            drop(emperor)
        become_tenant(Owner(uid=TENANT, gid=TENANT, groups=(20_003,)))
        return {
            "status": status_fields(),
            "started": status_fields(output_of(*SHOW)),
            "errors": [
                error_of(attempt)
                for attempt in (
                    lambda: os.setuid(0),
                    lambda: os.setuid(20_001),
                    lambda: os.setresuid(-1, 20_001, -1),
                    lambda: os.setgid(0),
                    lambda: os.setgroups([]),
                    lambda: as_files_of(Owner(uid=20_001, gid=20_001)).__enter__(),
                )
            ],
            "owner of its memory": os.stat("/proc/self/mem").st_uid,
        }

    told = told_by_child(scenario)
    for status in (told["status"], told["started"]):
        assert status["Uid"].split() == status["Gid"].split() == [str(TENANT)] * 4
        assert status["Groups"] == "20003"
        assert status["NoNewPrivs"] == "1"
        assert set(capability_sets(status).values()) == {0}
    assert told["errors"] == ["EPERM"] * 6
    assert told["owner of its memory"] == 0  # for others of the tenant's it is a closed book


@needs_root
def test_a_tenant_opens_again_what_it_was_handed(folder: Path) -> None:
    own, roots = folder / "own", folder / "roots"
    for path in (own, roots):
        path.write_text("hail")
        path.chmod(0o600)
    os.chown(own, TENANT, TENANT)

    def scenario() -> list[str | None]:
        handles = [os.open(path, os.O_PATH) for path in (own, roots)]
        become_tenant(OWNER)
        return [
            error_of(partial(os.open, f"/proc/self/fd/{handle}", os.O_RDONLY))
            for handle in handles
        ]

    assert told_by_child(scenario) == [None, "EACCES"]


@needs_root
def test_who_has_no_right_to_becomes_no_tenant() -> None:
    def scenario() -> str | None:
        drop(POWERLESS)
        return error_of(lambda: become_tenant(OWNER))

    assert told_by_child(scenario) == "EPERM"


# Files


@needs_root
@pytest.mark.parametrize("emperor", [None, REDUCED, CARELESS])
def test_files_are_made_with_a_tenants_rights(folder: Path, emperor: Identity | None) -> None:
    home, roots = folder / "home", folder / "roots"
    home.mkdir(mode=0o700)
    os.chown(home, TENANT, TENANT)
    roots.mkdir(mode=0o755)
    (folder / "secret").write_text("root's")
    (folder / "secret").chmod(0o600)

    def scenario() -> dict[str, Any]:
        if emperor is not None:
            drop(emperor)
        else:
            os.setgroups([])
        before = current_sets()
        with as_files_of(OWNER):
            whose = files_uid()
            (home / "made").touch()
            refused = [
                error_of((roots / "made").touch),
                error_of((folder / "secret").read_text),
            ]
        return {
            "whose": [whose, files_uid() == os.geteuid()],
            "refused": refused,
            "is back": current_sets() == before,
            "filesystem ids": [status_fields()[name].split()[3] for name in ("Uid", "Gid")],
            "roots": error_of((roots / "afterwards").touch),
        }

    told = told_by_child(scenario)
    made = (home / "made").stat()
    assert (made.st_uid, made.st_gid) == (TENANT, TENANT)
    assert told["whose"] == [TENANT, True]
    assert told["refused"] == ["EACCES", "EACCES"]
    assert told["is back"]
    assert told["filesystem ids"] == (["20001"] * 2 if emperor else ["0"] * 2)
    assert told["roots"] == ("EACCES" if emperor is REDUCED else None)


@needs_root
def test_rights_are_back_after_an_error() -> None:
    def scenario() -> list[Any]:
        os.setgroups([])
        with pytest.raises(ZeroDivisionError), as_files_of(OWNER):
            _ = 1 / 0
        return [status_fields()["Uid"].split(), current_sets() == before]

    before = current_sets()
    assert told_by_child(scenario) == [["0"] * 4, True]


@needs_root
def test_who_has_no_right_to_works_on_no_files_of_others() -> None:
    def scenario() -> list[Any]:
        drop(POWERLESS)
        return [
            error_of(as_files_of(OWNER).__enter__),
            status_fields()["Uid"].split(),
            status_fields()["Gid"].split(),
        ]

    assert told_by_child(scenario) == ["EPERM", ["20001"] * 4, ["20001"] * 4]


# Groups


def test_groups_by_name() -> None:
    assert initgroups_of(20_004, 20_004) == ()
    assert 20_004 in initgroups_of(0, 20_004)


def test_sets_compare_by_value() -> None:
    assert CapabilitySets(effective=1) != CapabilitySets()
