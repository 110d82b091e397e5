"""``python -m bench``: run benches side by side with the peers, print and keep the figures."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table
from tests.support.tiny import NoCompilerError

from bench import (
    cold_start,
    compile_many,
    crash_loops,
    idle,
    on_demand,
    reload,
    rolling,
    start,
    tyrants,
)
from bench.figures import BenchError, Finding, Request
from bench.peers import limit_descriptors

BENCHES: dict[str, Callable[[Request], tuple[Finding, ...]]] = {
    "cold_start": cold_start.measure,
    "compile_many": compile_many.measure,
    "start": start.measure,
    "reload": reload.measure,
    "idle": idle.measure,
    "on_demand": on_demand.measure,
    "crash_loops": crash_loops.measure,
    "tyrants": tyrants.measure,
    "rolling": rolling.measure,
}
_RESULTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "results.json")
_MANY = 20  # from here on a 99th percentile says something
_WIDTH = 150  # of the table where there is no terminal to ask


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 0, or 111 if a contender failed."""
    asked = _parser().parse_args(arguments)
    people = Console(stderr=True)
    # A SystemExit unwinds the stack, so that the daemon that is being measured is stopped.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    machine: dict[str, object] = {
        "cpus": os.cpu_count(),
        "descriptors": limit_descriptors(),
        "python": sys.version.split()[0],
        "kernel": os.uname().release,
    }
    request = Request(vassals=asked.vassals, runs=asked.runs, say=people.print)
    people.print(", ".join(f"{name}: {value}" for name, value in machine.items()))
    findings: list[Finding] = []
    failed = False
    for name in asked.what or BENCHES:
        try:
            findings += BENCHES[name](request)
        except (BenchError, NoCompilerError) as error:
            people.print(f"{name}: {error}", style="red", markup=False)
            failed = True
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(_table(findings))
    _keep(asked.json, machine, findings)
    return 111 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("what", nargs="*", metavar="WHAT", help=f"of {', '.join(BENCHES)}; default all")
    add("--runs", type=_positive, help="measure so often; default: each bench's own number")
    add("--vassals", type=_positive, default=1000, help="how many vassals; default 1000")
    add("--json", default=_RESULTS, metavar="FILE", help="where to keep every value")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(title="Side by side")
    table.add_column("what")
    table.add_column("who")
    for heading in ("runs", "min", "median", "p99", "max"):
        table.add_column(heading, justify="right")
    table.add_column("ratio of medians")
    table.add_column("bar")
    for finding in findings:
        for row in _rows(finding):
            table.add_row(*row)
        table.add_section()
    return table


def _rows(finding: Finding) -> list[tuple[str, ...]]:
    ratio = finding.ratio_value()
    shown = f"{' / '.join(finding.ratio)}: {ratio:.1f}" if finding.ratio and ratio else ""
    rows: list[tuple[str, ...]] = []
    for one in finding.series:
        numbers = (
            min(one.values),
            one.median,
            one.p99 if len(one.values) >= _MANY else None,
            max(one.values),
        )
        cells = tuple(_number(value, finding.unit) for value in numbers)
        head = (f"{finding.what}",) if not rows else ("",)
        tail = (shown, finding.bar) if not rows else ("", "")
        rows.append((*head, one.who, str(len(one.values)), *cells, *tail))
    return rows


def _number(value: float | None, unit: str) -> str:
    return (
        ""
        if value is None
        else f"{value:,.3g} {unit}"
        if value < 100
        else f"{value:,.0f} {unit}"
    )


def _keep(path: str, machine: dict[str, object], findings: Sequence[Finding]) -> None:
    """Write every value; whole or not at all."""
    content = {"machine": machine, "findings": [finding.as_json() for finding in findings]}
    beside = f"{path}.new"
    with open(beside, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
    os.replace(beside, path)


if __name__ == "__main__":
    sys.exit(main())
