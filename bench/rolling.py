"""Rolling reloads of gunicorn and uvicorn under load: what fails, and how long it takes."""

import os
import time
from collections.abc import Callable

from tests.e2e.crowd import Tally, crowd
from tests.e2e.daemon import reign
from tests.e2e.programs import BROKEN_APP, Yard, app_saying, ready, real, yard
from tests.e2e.sites import free_port

from bench.figures import BenchError, Finding, Request, gather

_GOOD, _BAD = 50, 10
_CLIENTS = 100
_NAME = "site.ini"

#: The servers by name: their command, and whether their connections serve many requests.
_SERVERS = {
    "gunicorn": ("gunicorn --workers 2 --preload app:wsgi", False),
    "gunicorn, keep-alive": ("gunicorn --workers 2 --threads 60 --preload app:wsgi", True),
    "uvicorn": ("uvicorn --fd 3 --no-access-log app:asgi", False),
    "uvicorn, keep-alive": ("uvicorn --fd 3 --no-access-log app:asgi", True),
}

#: What one server gave, by kind of figure (``measure``): a value for each reload.
Figures = dict[str, list[float]]


def measure(request: Request) -> tuple[Finding, ...]:
    """Failed requests, and seconds, of each reload: of versions that start, and of ones that do
    not; requests a second meanwhile."""
    good = request.runs_or(_GOOD)
    kinds = ("failed", "seconds", "failed, broken version", "seconds, broken version", "rate")
    found: dict[str, Figures] = {kind: {} for kind in kinds}
    for who, (command, keeps_alive) in _SERVERS.items():
        with yard() as place:
            figures = _one(place, command, good, keeps_alive=keeps_alive)
        for kind in kinds:
            found[kind][who] = figures[kind]
        request.say(f"rolling {who}: {sum(figures['failed']):.0f} failed")
    under_load = f"{_CLIENTS} connections in flight"
    return tuple(
        Finding(what=f"{what}, {under_load}", unit=unit, series=gather(found[kind]), bar=bar)
        for kind, what, unit, bar in (
            ("failed", "failed requests of one rolling reload", "", "0"),
            ("failed, broken version", "the same, of a version that does not start", "", "0"),
            ("seconds", "one rolling reload", "s", ""),
            ("seconds, broken version", "the same, of a version that does not start", "s", ""),
            ("rate", "requests answered", "/s", ""),
        )
    )


def _one(place: Yard, command: str, good: int, *, keeps_alive: bool) -> Figures:
    address = f"127.0.0.1:{free_port()}"
    place.write("app.py", app_saying("0"))
    place.put(
        _NAME,
        ("vassal-exec", command),
        ("chdir", place.root),
        ("socket", address),
        ("listen", "1024"),
        ("vassal-ready", "notify"),
        ("vassal-reload", "rolling"),
    )
    figures: Figures = {}
    environment = real(place.root)
    with reign(*place.words, environment=environment) as daemon:
        ready(daemon, _NAME)
        began = time.monotonic()
        with crowd(address, clients=_CLIENTS, keeps_alive=keeps_alive) as tally:

            def by_control() -> bool:
                is_well = place.control("reload", "--wait", _NAME).code == 0
                if is_well:
                    daemon.expect("is ready", f"{_NAME}:next")
                return is_well

            def by_touch() -> bool:
                os.utime(place.path(_NAME))
                daemon.expect("is ready", f"{_NAME}:next")
                return True

            def settle() -> None:
                daemon.expect("is gone (", f"{_NAME}:old")

            series = [
                _reload(
                    place,
                    tally,
                    by_touch if number % 2 else by_control,
                    app_saying(str(number)),
                    settle,
                )
                for number in range(1, good + 1)
            ]
            figures["failed"], figures["seconds"] = _columns(series)
            bad = [
                _reload(place, tally, lambda: not by_control(), BROKEN_APP, lambda: None)
                for _ in range(max(1, _BAD * good // _GOOD))
            ]
            figures["failed, broken version"], figures["seconds, broken version"] = _columns(
                bad
            )
            taken = time.monotonic() - began
        if set(tally.answers) != set(map(str, range(good + 1))):
            raise BenchError(f"not every version has served: {sorted(tally.answers)}")
        # what was still on its way at the end counts for the last one
        figures["failed, broken version"][-1] += tally.wrong.total() - sum(
            figures["failed"] + figures["failed, broken version"]
        )
        figures["rate"] = [tally.answers.total() / taken]
    return figures


def _reload(
    place: Yard,
    tally: Tally,
    reload: Callable[[], bool],
    app: str,
    settled: Callable[[], object],
) -> tuple[float, float]:
    """Failed requests, and seconds, of one reload."""
    place.write("app.py", app)
    before, began = tally.wrong.total(), time.monotonic()
    if not reload():
        raise BenchError(f"a reload did not end as it should\n{app}")
    taken = time.monotonic() - began
    settled()
    return tally.wrong.total() - before, taken


def _columns(rows: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [row[0] for row in rows], [row[1] for row in rows]
