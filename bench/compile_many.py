"""One compile of a directory against one ``uwsgi --show-config`` for each of its files."""

import json
import subprocess
from typing import Any

from bench.figures import BenchError, Finding, Request, gather
from bench.peers import EMPEROR, UWSGI, emperor_program, timed_ms, uwsgi_program
from bench.vassals import Place, place, write_vassals

_RUNS = 5


def measure(request: Request) -> tuple[Finding, ...]:
    """Seconds for all vassals, ours in one process, the peer's one after the other."""
    runs = request.runs_or(_RUNS)
    taken: dict[str, list[float]] = {EMPEROR: [], UWSGI: []}
    with place(request.vassals) as where:
        write_vassals(where)
        commands = _commands(where)
        _check_equal(where)
        for run in range(runs):
            for name, todo in commands.items():
                spent = sum(timed_ms(argv) for argv in todo) / 1e3
                taken[name].append(spent)
                request.say(f"compile_many {run + 1}/{runs} {name}: {spent:.3f} s")
    return (
        Finding(
            what=f"compile of {request.vassals:,} vassals",
            unit="s",
            series=gather(taken),
            ratio=(UWSGI, EMPEROR),
            bar="at least 10",
        ),
    )


def _commands(where: Place) -> dict[str, list[tuple[str, ...]]]:
    ours: list[tuple[str, ...]] = [(emperor_program(), "compile", where.vassals)]
    binary = uwsgi_program()
    if binary is None:
        return {EMPEROR: ours}
    return {EMPEROR: ours, UWSGI: [_show(binary, where.path(name)) for name in where.names]}


def _show(binary: str, path: str) -> tuple[str, ...]:
    return (binary, "--no-server", "--show-config", path)


def _check_equal(where: Place) -> None:
    """Both must do the same work: every file compiled, to the options that uWSGI shows."""
    command = (emperor_program(), "compile", "--format", "json", where.vassals)
    answers = {one["name"]: one["options"] for one in _objects(_output(command))}
    if set(answers) != set(where.names):
        raise BenchError(f"{len(answers)} of {len(where.names)} vassals were compiled")
    binary = uwsgi_program()
    if binary is not None:
        name = where.names[-1]
        ours = {(key, value) for key, value in answers[name]}
        missing = _shown(_output(_show(binary, where.path(name)))) - ours
        if missing:
            raise BenchError(f"{name}: uWSGI has {sorted(missing)}, emperor compile has not")


def _objects(text: str) -> list[dict[str, Any]]:
    """The vassals of a JSON answer: one list, or one object after the other."""
    found: list[dict[str, Any]] = []
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        found += value if isinstance(value, list) else [value]
        text = text[end:]
    return found


def _shown(text: str) -> set[tuple[str, str]]:
    """The entries of a ``--show-config`` that came from the file."""
    pairs = (line.split(" = ", 1) for line in text.splitlines() if " = " in line)
    return {(key, value) for key, value in pairs if key not in ("no-server", "show-config")}


def _output(argv: tuple[str, ...]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise BenchError(f"{' '.join(argv)}: {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout
