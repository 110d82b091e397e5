"""Who reads the stats of the running daemon, and what that costs."""

import os
import shutil
import sys
import sysconfig
import time
from contextlib import ExitStack

import pytest
from tests.e2e.asking import abstract_name, checked, connect, screen_of, stats, until_stats
from tests.e2e.daemon import Daemon, reign
from tests.e2e.sites import Town, free_port
from tests.support.uwsgi import do_without

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]


def test_readers_that_never_read_cost_nothing(one_town: Town) -> None:
    town = one_town
    address = f"{town.root}/stats"
    for name in ("one.ini", "two.ini"):
        town.put(name, name)
    for number in range(100):  # so much to say that it does not fit into a socket's buffer
        town.write(f"broken-{number}.ini", f"[uwsgi]\nini = {'x' * 250}.ini\n" * 8)
    with ExitStack() as stack:
        daemon = stack.enter_context(reign(*town.words, "--emperor-stats", address))
        for name in ("one.ini", "two.ini"):
            daemon.up(name)
        until_stats(
            address, lambda shown: sum(row["broken"] for row in shown["vassals"]) == 100
        )
        for _ in range(80):
            stack.enter_context(connect(address))
        assert _latency(daemon, town, "one.ini") < 1.0
        # who reads is served all the same
        assert len(checked(stats(address))["vassals"]) == 102
        assert _latency(daemon, town, "two.ini") < 1.0


def _latency(daemon: Daemon, town: Town, name: str) -> float:
    """How long it takes from a touch until the reload is asked for, in seconds."""
    began = time.monotonic()
    os.utime(town.path(name))
    daemon.expect("touched: reloading", name)
    return time.monotonic() - began


def uwsgitop() -> str:
    """The program from PyPI."""
    found = shutil.which("uwsgitop", path=sysconfig.get_path("scripts"))
    if found is None:
        do_without("no uwsgitop in this environment (pip install uwsgitop)")
    return found


@pytest.mark.parametrize("kind", ["tcp", "unix", "abstract", "http"])
def test_uwsgitop_shows_the_vassals_and_follows_them(one_town: Town, kind: str) -> None:
    town = one_town
    program = uwsgitop()
    town.put("site.ini", "one")
    town.write("broken.ini", "[uwsgi]\nini = missing.ini\n")
    address = {"unix": f"{town.root}/stats", "abstract": abstract_name()}.get(
        kind, f"127.0.0.1:{free_port()}"
    )
    words = ("--emperor-stats", address, *(["--emperor-stats-http"] if kind == "http" else []))
    shown = f"http://{address}" if kind == "http" else address
    with reign(*town.words, *words) as daemon:
        pid = daemon.up("site.ini")
        daemon.expect("does not compile", "broken.ini")
        with screen_of([sys.executable, program, shown]) as screen:
            text = screen.expect("site.ini", "broken.ini", str(pid), "-1", "VASSAL")
            assert f"emperor: ['{town.vassals}'] - tyrant: 0" in text
            town.put("later.ini", "later")
            screen.expect("later.ini", str(daemon.spawned("later.ini")))
            screen.type("q")
