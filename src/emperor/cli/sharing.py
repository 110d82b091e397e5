"""Work on many items, shared between processes; the results come in the order of the items."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, NoReturn, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _Child(NamedTuple):
    pid: int
    results: BinaryIO


def shared(work: Callable[[T], R], items: Sequence[T], processes: int) -> Iterator[R]:
    """``work`` of every item; the results must be picklable.

    Forks at once, so call it while there is one thread and nothing is left to flush. Raises
    ``ChildProcessError`` in the place of a result if the process that owes it has died; a
    mistake in ``work`` is then on standard error.
    """
    # each child takes every n-th item, so no result waits long for those before it
    children = [_start(work, items[first::processes]) for first in range(processes)]
    return _collected(children, len(items))


def _start(work: Callable[[T], R], items: Sequence[T]) -> _Child:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _serve(work, items, writing)
    os.close(writing)
    return _Child(pid, open(reading, "rb"))


def _serve(work: Callable[[T], R], items: Sequence[T], writing: int) -> NoReturn:
    """All that a child does; it never returns into the code of its parent."""
    try:
        with open(writing, "wb") as results:
            for item in items:
                pickle.dump(work(item), results)
    except (BrokenPipeError, KeyboardInterrupt):
        pass  # the parent has left, or says it itself
    finally:
        if sys.exc_info()[0] is not None:
            sys.excepthook(*sys.exc_info())
        os._exit(0)


def _collected(children: list[_Child], count: int) -> Iterator[R]:
    try:
        for number in range(count):
            yield _next(children[number % len(children)])
    finally:
        # One that still works gets a broken pipe, but only when all are closed: each child
        # also has the pipes of those that were started before it.
        for child in children:
            child.results.close()
        for child in children:
            os.waitpid(child.pid, 0)


def _next(child: _Child) -> Any:
    try:
        return pickle.load(child.results)
    except (EOFError, pickle.UnpicklingError):
        raise ChildProcessError("a process that shared the work has died") from None
