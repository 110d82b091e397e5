"""Vassals as stats and control sockets see them, made up."""

from dataclasses import replace

from emperor.runtime.views import VassalView

#: A vassal that serves, with a different number in every field.
SERVING = VassalView(
    id="shop.ini",
    shown="shop.ini",
    monitor="/etc/uwsgi/vassals",
    state="ready",
    pid=4711,
    born=1,
    last_mod=2,
    last_heartbeat=3,
    last_loyal=4,
    last_ready=5,
    last_accepting=6,
    first_run=7,
    last_run=8,
    cursed=0,
    ready=1,
    accepting=1,
    loyal=0,
    zerg=0,
    on_demand="",
    uid=1000,
    gid=1001,
    respawns=9,
    generation=10,
    digest="a" * 64,
    last_exit="",
    last_exit_at=0,
    next_try=0,
    attempts=0,
    throttle_milliseconds=0,
    first_attempt=0,
    last_attempt=0,
    diagnostics=(),
    is_broken=False,
    output="what it wrote",
    outlook="runs",
    is_settled=True,
    is_well=True,
)

#: One that died before it was loyal, and waits.
DELAYED = replace(
    SERVING,
    id="broken.ini",
    shown="/etc/uwsgi/vassals//broken.ini",
    state="delayed",
    pid=-1,
    ready=0,
    accepting=0,
    digest="",
    last_exit="exit code 1",
    last_exit_at=11,
    next_try=14,
    attempts=2,
    throttle_milliseconds=6,
    first_attempt=12,
    last_attempt=13,
    diagnostics=("broken.ini:2: error[syntax]: no",),
    is_broken=True,
    outlook="is spawned again",
)


def many(count: int) -> tuple[VassalView, ...]:
    """Vassals that serve, ``v0.ini`` and so on."""
    return tuple(replace(SERVING, id=f"v{n}.ini", shown=f"v{n}.ini") for n in range(count))
