"""The cold start of ``emperor compile ONE.ini`` against an interpreter that does nothing."""

import sys

from bench.figures import Finding, Request, gather
from bench.peers import EMPEROR, emperor_program, timed_ms
from bench.vassals import place, write_vassals

_RUNS = 25
_WARM = 3  # so that byte code and page cache are warm
_PYTHON = "python -c pass"


def measure(request: Request) -> tuple[Finding, ...]:
    """Milliseconds of each command, one after the other, in turns."""
    runs = request.runs_or(_RUNS)
    with place(1) as where:
        write_vassals(where)
        commands = {
            EMPEROR: (emperor_program(), "compile", where.path(where.names[0])),
            _PYTHON: (sys.executable, "-c", "pass"),
        }
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for run in range(-_WARM, runs):
            for name, argv in commands.items():
                spent = timed_ms(argv)
                if run >= 0:
                    taken[name].append(spent)
    request.say(f"cold_start: {runs} runs")
    return (
        Finding(
            what="compile of one vassal, cold",
            unit="ms",
            series=gather(taken),
            ratio=(EMPEROR, _PYTHON),
            bar="at most 10, aim 8",
        ),
    )
