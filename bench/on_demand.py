"""On-demand sockets: how soon all are there, and how soon a first request is answered."""

import os
import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import replace

from bench.figures import BenchError, Finding, Request, gather
from bench.peers import EMPEROR, UWSGI, Contender, alternated, contenders, started
from bench.processes import below, program
from bench.vassals import Place, place, write_vassals

_RUNS = 5
_REQUESTS = 20
_ANSWER_SECONDS = 10.0
_QUESTION = b"GET / HTTP/1.0\r\n\r\n"


def measure(request: Request) -> tuple[Finding, ...]:
    """Seconds until all sockets are there, milliseconds until the first answer of some of
    them. BenchError if anything is spawned before that."""
    runs = request.runs_or(_RUNS)
    up: dict[str, list[float]] = {}
    answers: dict[str, list[float]] = {}
    with place(request.vassals) as where:
        write_vassals(where)
        for run, rival in alternated(contenders(where), runs):
            seconds, milliseconds = _one_run(rival, where)
            up.setdefault(rival.name, []).append(seconds)
            answers.setdefault(rival.name, []).extend(milliseconds)
            request.say(f"on_demand {run + 1}/{runs} {rival.name}: {seconds:.3f} s")
    many = f"{request.vassals:,} on-demand sockets"
    return (
        Finding(
            what=f"start until {many} are there",
            unit="s",
            series=gather(up),
            ratio=(UWSGI, EMPEROR),
            bar="under 2 s",
        ),
        Finding(
            what=f"first answer of one of {many}",
            unit="ms",
            series=gather(answers),
            ratio=(UWSGI, EMPEROR),
        ),
    )


def _one_run(rival: Contender, where: Place) -> tuple[float, list[float]]:
    """Seconds until the sockets are there, and what the first requests took."""
    directory = os.path.join(where.root, "sockets")
    os.mkdir(directory)
    eager = replace(rival, argv=(*rival.argv, "--emperor-on-demand-directory", directory))
    stems = [name.removesuffix(".ini") for name in where.names]
    paths = [os.path.join(directory, f"{stem}.socket") for stem in stems]
    try:
        with started(eager, where) as daemon:
            daemon.wait_until(
                lambda: len(os.listdir(directory)) >= len(paths), what=f"{len(paths)} sockets"
            )
            seconds = (time.monotonic_ns() - daemon.since_ns) / 1e9
            _check_idle(daemon.process.pid, where, paths)
            return seconds, [_first_answer_ms(path) for path in paths[:_REQUESTS]]
    finally:
        shutil.rmtree(directory)


def _check_idle(daemon: int, where: Place, paths: Sequence[str]) -> None:
    """No process was spawned, and every socket is one that connections can be made to."""
    tiny = os.path.realpath(where.tiny)
    if any(program(one.pid) == tiny for one in below(daemon)):
        raise BenchError("vassals were spawned that nobody has asked for")
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        raise BenchError(f"there is no {missing[0]}")


def _first_answer_ms(path: str) -> float:
    since = time.perf_counter_ns()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_ANSWER_SECONDS)
        client.connect(path)
        client.sendall(_QUESTION)
        answer = client.recv(4096)
    if not answer.startswith(b"HTTP/1.0 200"):
        raise BenchError(f"{path} answers {answer!r}")
    return (time.perf_counter_ns() - since) / 1e6
