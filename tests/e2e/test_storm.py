"""Many vassals at once: two hundred in a storm, and a thousand sockets that nobody connects to.

Whatever happens in the storm, exactly the wanted vassals run in the end, with the wanted
configs, and nothing else is left. It is the same storm each time; EMPEROR_STORM_SEED=7 makes it
another one.
"""

import contextlib
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator

import pytest
from tests.e2e.daemon import Daemon, eventually, reign
from tests.e2e.sites import get
from tests.support.storm import Storm
from tests.support.storm_town import StormTown, is_over, status, storm_town
from tests.support.tiny import NoCompilerError, compile_tiny, read_events
from tests.support.uwsgi import do_without

from emperor.runtime.views import Verb

pytestmark = [pytest.mark.process]

SEED = int(os.environ.get("EMPEROR_STORM_SEED", "1"))
VASSALS = 200
WARM_UP = 300
SOCKETS = 1000
OPERATIONS = 2000

#: How much the daemon's resident memory may grow.
GROWTH = 1.10

#: How long the dust may take to settle.
SETTLE_SECONDS = 30.0

#: How much is told of what went wrong: complaints, and lines of the log.
MOST_TOLD = 10
MOST_LINES = 100

#: What must have been said, or there was no storm.
STORMY = (
    "SIGHUP: reloading all vassals",
    "SIGURG: the blacklist is empty",
    "accepts requests",
    "changed: reloading",
    "changed: restarting",
    "touched: reloading",
    "does not compile; it cannot be started",
    "does not compile; the running instance is left alone",
    "does not compile: spawning with the last good config",
    "died (SIGKILL): spawning it again",
    "died (exit code 1): spawning it again in ",
    "its file is gone: stopping",
    "does not go: killing it",
    "leaves of its own will",
    "waiting until its file changes",
    "stopped by an operator",
)


def test_after_2000_operations_exactly_the_wanted_vassals_run() -> None:
    storm = Storm(seed=SEED, vassals=VASSALS)
    with a_place() as root, storm_town(root) as place:
        for operation in storm.population():
            place.do(operation)
        await_wanted(place, storm)
        rage(place, storm, WARM_UP)
        make_peace(place, storm)
        before = place.holdings()
        rage(place, storm, OPERATIONS)
        await_wanted(place, storm)
        make_peace(place, storm)
        after = place.holdings()
        assert after.daemon == before.daemon
        assert after.guardian == before.guardian
        assert after.compilers == before.compilers
        assert after.daemon_kib <= GROWTH * before.daemon_kib
        said = [line.message for line in place.daemon.lines]
        assert not [text for text in STORMY if not any(text in one for one in said)]


def test_a_thousand_on_demand_sockets_are_held_without_a_process_and_answer() -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2 * SOCKETS:
        do_without("so many descriptors are not to be had")
    with a_place() as root:
        names = [f"v{number:04}" for number in range(SOCKETS)]
        for directory in ("vassals", "sockets"):
            os.mkdir(f"{root}/{directory}")
        for name in names:
            with open(f"{root}/vassals/{name}.ini", "w", encoding="utf-8") as file:
                file.write("[uwsgi]\n")
        words = {
            "emperor": f"{root}/vassals",
            "emperor-wrapper": compile_tiny(root),
            "emperor-on-demand-directory": f"{root}/sockets",
            "emperor-control": f"{root}/control",
        }
        with reign(
            *(word for name, value in words.items() for word in (f"--{name}", value)),
            environment={"TINY_LOG": f"{root}/log"},
        ) as daemon:
            daemon.expect("governs")
            eventually(lambda: _listening(root) == SOCKETS, SETTLE_SECONDS, lambda: str(daemon))
            assert _vassals(daemon) == set()
            wanted = names[SOCKETS // 2]
            assert get(f"{root}/sockets/{wanted}.socket") == f"{wanted}.ini"
            views = status(f"{root}/control")
            assert [name for name, view in views.items() if view.pid > 0] == [f"{wanted}.ini"]
            assert _vassals(daemon) == {views[f"{wanted}.ini"].pid}
            assert _listening(root) == SOCKETS - 1
        events = read_events(f"{root}/log")
        assert [event.vassal for event in events if event.what == "start"] == [f"{wanted}.ini"]


def _listening(root: str) -> int:
    """How many vassals wait for a connection."""
    views = status(f"{root}/control").values()
    return sum(view.state == "listening" and view.is_well for view in views)


def _vassals(daemon: Daemon) -> set[int]:
    """The processes that the guardian has started."""
    return set(daemon.below(daemon.guardian))


def rage(place: StormTown, storm: Storm, operations: int) -> None:
    """Burst after burst; the daemon is always there for an operator."""
    for burst in storm.bursts(operations):
        for operation in burst:
            place.do(operation)
        answers = place.command(Verb.RELOAD, storm.somebody(), waits=True)
        assert is_over(answers), told(place, [str(answers)])


def make_peace(place: StormTown, storm: Storm) -> None:
    """Every vassal is there, and calm."""
    for operation in storm.clearing():
        place.do(operation)
    await_wanted(place, storm)
    for operation in storm.resettling():
        place.do(operation)
    await_wanted(place, storm)


def await_wanted(place: StormTown, storm: Storm) -> None:
    """Wait until everything is as the storm wants it."""
    compiled = place.compiled()
    complaints: list[str] = []

    def is_well() -> bool:
        complaints[:] = place.complaints(storm, compiled)
        return not complaints

    eventually(is_well, SETTLE_SECONDS, lambda: told(place, complaints))


def told(place: StormTown, complaints: list[str]) -> str:
    """What is wrong, and what the vassals that it is about have said."""
    names = {text.split()[0] for text in complaints[:MOST_TOLD]}
    lines = [line for line in place.daemon.lines if line.vassal in names][-MOST_LINES:]
    rows = (f"  {line.time % 1000:7.3f} {line.vassal} {line.message}" for line in lines)
    return "\n".join((f"EMPEROR_STORM_SEED={SEED}", *complaints[:MOST_TOLD], *rows))


@contextlib.contextmanager
def a_place() -> Iterator[str]:
    """A directory with a short path, for sockets; without a C compiler the test is skipped."""
    root = tempfile.mkdtemp(prefix="emp-")
    try:
        yield root
    except NoCompilerError as missing:
        do_without(str(missing))
    finally:
        shutil.rmtree(root)
