"""Builds the trivial vassal for tests and benches, and reads the log that it writes."""

import os
import shutil
import subprocess
from dataclasses import dataclass

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tiny_vassal.c")


class NoCompilerError(RuntimeError):
    """There is no C compiler on PATH, so the trivial vassal cannot be built."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyEvent:
    """One line of the log: what a vassal did, on the clock of ``time.monotonic_ns``."""

    at_ns: int
    what: str  # as tiny_vassal.c names it
    vassal: str


def compile_tiny(directory: str) -> str:
    """The path of the program, built into ``directory`` unless it is there already.

    Raises NoCompilerError without a compiler, CalledProcessError if the compiler refuses.
    """
    program = os.path.join(directory, "tiny")
    if not os.path.exists(program):
        compile_program(SOURCE, program)
    return program


def compile_program(source: str, program: str) -> None:
    """Build a program of one C file. Raises as ``compile_tiny``."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NoCompilerError(
            "no C compiler (cc, gcc or clang) on PATH: the trivial vassal cannot be built"
        )
    subprocess.run(
        [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True
    )


def parse_events(text: str) -> tuple[TinyEvent, ...]:
    """The events in whole lines of a log, in the order in which they were written."""
    fields = (line.split(" ", 2) for line in text.splitlines())
    return tuple(TinyEvent(at_ns=int(at), what=what, vassal=name) for at, what, name in fields)


def read_events(path: str) -> tuple[TinyEvent, ...]:
    """The events of a log so far; none if nothing has been written yet."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as log:
            return parse_events(log.read())
    except FileNotFoundError:
        return ()
