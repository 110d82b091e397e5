"""Whose vassal is whose, by real files; and what is believed of what a worker says."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.e2e.tenants import Estate, estate
from tests.support.marks import needs_root

from emperor.runtime.launch import BadSpec, CompileAnswer, LaunchSpec
from emperor.runtime.monitors.sightings import Attributes, Sighting, Stamp
from emperor.runtime.tenants.privileges import Owner
from emperor.runtime.tenants.tenancy import (
    MOST_DEPENDENCIES,
    MOST_FINDINGS,
    Tenant,
    Tyrant,
    denial,
    of_tenant,
)
from emperor.runtime.tenants.tyranny import Denied

pytestmark = pytest.mark.process

TENANT = Tenant(owner=Owner(uid=20_101, gid=20_102))
SPEC = LaunchSpec(
    argv=("/bin/true",),
    cwd="/srv/vassals",
    set=(),
    unset=(),
    delivered=(b"x",),
    digest="d",
    has_master=True,
    reload_seconds=1,
)
ANSWER = CompileAnswer(spec=SPEC, diagnostics=(), dependencies=())


def believed(**changes: object) -> LaunchSpec:
    """What is left of a spec with these changes."""
    answer = replace(ANSWER, spec=replace(SPEC, **changes))  # type: ignore[arg-type]
    spec = of_tenant(answer, TENANT, "/srv/vassals").spec
    assert spec is not None
    return spec


def found(*texts: str) -> tuple[str, ...]:
    """What is left of findings."""
    answer = CompileAnswer(spec=None, diagnostics=texts, dependencies=())
    return of_tenant(answer, TENANT, "/srv/vassals").diagnostics


def test_the_owner_is_the_daemons_word() -> None:
    assert believed().owner == TENANT.owner
    assert believed(owner=Owner(uid=1, gid=1)).owner == TENANT.owner


def test_only_carriers_are_set_and_nothing_is_unset() -> None:
    pairs = [("EMPEROR_0", "a"), ("EMPEROR_9999", "b"), ("EMPEROR_10000", "c"), ("PATH", "d")]
    pairs += [
        ("EMPEROR_x", "e"),
        ("EMPEROR_1\n", "f"),
        ("LD_PRELOAD", "g"),
        ("xEMPEROR_1", "h"),
    ]
    spec = believed(set=tuple(pairs), unset=("PATH", "EMPEROR_0"))
    assert spec.set == (("EMPEROR_0", "a"), ("EMPEROR_9999", "b"))
    assert spec.unset == ()


def test_another_directory_is_a_lie() -> None:
    with pytest.raises(BadSpec, match="working directory"):
        believed(cwd="/srv/vassals/")


def test_dependencies_are_absolute_and_bounded() -> None:
    many = tuple((f"/{number}", None) for number in range(MOST_DEPENDENCIES + 1))
    of_tenant(replace(ANSWER, dependencies=many[1:]), TENANT, "/srv/vassals")
    for dependencies in (many, (("a", None),), (("", None),)):
        with pytest.raises(BadSpec):
            of_tenant(replace(ANSWER, dependencies=dependencies), TENANT, "/srv/vassals")


def test_findings_are_text_and_bounded() -> None:
    assert found("a\tb\nc", "ümläut") == ("a\tb\nc", "ümläut")
    assert found("\x1b[2J\x9b\r\x00\x7f") == ("\\x1b[2J\\x9b\\x0d\\x00\\x7f",)
    for texts in (("x" * 10**6,), ("\x1b" * 10**6,), ("",) * 10**6, ("x" * 1000,) * 1000):
        shown = found(*texts)
        assert sum(len(text) + 1 for text in shown) < MOST_FINDINGS + 200
        assert "left out" in shown[-1]


@pytest.fixture
def place() -> Iterator[Estate]:
    with estate() as made:
        yield made


def sighting(place: Estate, name: str, **more: object) -> Sighting:
    """A file as a monitor of its directory tells of it, or a text."""
    fields: dict[str, object] = {
        "monitor": place.vassals,
        "name": name,
        "stamp": Stamp(mtime_ns=1, size=1, inode=1),
        "attributes": Attributes(ctime_ns=1, uid=0, gid=0, mode=0o600),
        "directory": place.vassals,
        "path": place.path(name),
    }
    return Sighting(**(fields | more))  # type: ignore[arg-type]


@needs_root
def test_a_file_is_admitted_by_what_it_is_now(place: Estate) -> None:
    uid = place.tenant()
    path = place.put_plain("a.ini", uid)
    tyrant = Tyrant(nofollow=False, initgroups=False)
    admitted = tyrant.admit(sighting(place, "a.ini"))
    assert isinstance(admitted, Tenant)
    assert admitted.owner == Owner(uid=uid, gid=uid)
    assert admitted.descriptor is not None
    # whatever becomes of the name: the descriptor is the file that was judged
    os.rename(path, f"{path}.old")
    place.give(path, "another", 0)
    text = Path(f"/proc/self/fd/{admitted.descriptor}").read_text()
    os.close(admitted.descriptor)
    assert "sleep" in text


@needs_root
def test_a_refusal_depends_on_all_that_leads_there(place: Estate) -> None:
    place.put_plain("a.ini", 0)
    seen = sighting(place, "a.ini")
    denied = Tyrant(nofollow=False, initgroups=False).admit(seen)
    assert isinstance(denied, Denied)
    answer = denial(seen, denied)
    assert answer.spec is None
    assert "belongs to root" in answer.diagnostics[0]
    assert "chown USER:GROUP" in answer.diagnostics[0]
    assert [path for path, _ in answer.dependencies][-2:] == [
        place.vassals,
        place.path("a.ini"),
    ]
