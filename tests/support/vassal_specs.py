"""What the files of made-up vassals compile to: every kind that the law knows."""

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from emperor.compiler.programs.values import Program
from emperor.runtime.launch import LaunchSpec
from emperor.runtime.tenants.privileges import Owner

#: So many versions in a row are of one kind, so that edits mostly stay within it.
_ROW = 24

_READY = (("running", 0.0), ("running", 2.0), ("notify", 0.0), ("emperor", 0.0))


#: Rows of uWSGI's, of rolling programs, and of all kinds.
ROWS = ((0, 4, 8, 12), (1, 5, 9, 13), (1, 5, 9, 13), tuple(range(16)))


def some_version(rows: Sequence[int], chance: random.Random) -> int:
    """A version from which a vassal may begin."""
    return chance.choice(rows) * _ROW + chance.randrange(_ROW)


@cache
def spec_of(version: int, owner: int = 1) -> LaunchSpec:
    """What a version of the file compiles to. Every fifth one has an on-demand socket (at two
    addresses by turns). Of uWSGI's, every third one has no master process, every seventh no
    workers; three rows of four are programs."""
    spec = LaunchSpec(
        argv=("uwsgi",),
        cwd="/",
        set=(),
        unset=(),
        delivered=(b"%d" % version,),
        digest=str(version),
        has_master=version % 3 != 2,
        has_workers=version % 7 != 6,
        reload_seconds=90,
        socket=f"/run/{version % 2}.socket" if version % 5 == 4 else None,
        owner=Owner(uid=owner, gid=owner),
    )
    program = program_of(version)
    if program is None:
        return spec
    return replace(
        spec,
        argv=("program",),
        delivered=(),
        has_master=False,
        has_workers=True,
        program=program,
    )


@cache
def program_of(version: int) -> Program | None:
    """How that version is treated, if it is no uWSGI."""
    row = version // _ROW
    if row % 4 == 0:
        return None
    reload = ("rolling", "signal", ("rolling", "restart", "signal")[version % 3])[row % 4 - 1]
    ready, after = _READY[row // 4 % 4]
    return Program(
        stop_seconds=7.0 if row % 3 else None,
        reload=reload,
        ready=ready,
        ready_after_seconds=after,
        ready_timeout_seconds=20.0,
        watchdog_seconds=40.0 if row % 5 == 0 else None,
    )


def is_broken(version: int) -> bool:
    """Whether a version of the file does not compile."""
    return version % 4 == 3
