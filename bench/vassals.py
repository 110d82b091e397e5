"""The vassals that every bench uses: their files, the trivial program's log, and waiting."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory

from tests.support.tiny import compile_tiny, parse_events

from bench.figures import BenchError

# 26 lines, 2 sections, 20 entries, comments and bare keys: what a hosting panel writes.
# Nothing in it makes uWSGI open a file or need a plugin when it only shows the config.
_SAMPLE = """\
; the web shop of one customer
[uwsgi]
name = shop@
base = /srv/customers/%(name)
chdir2 = %(base)/current
module = shop.wsgi:application

# workers
master
processes = 4
threads = 2
harakiri = 30
max-requests = 5000
need-app
vacuum
die-on-term
socket = /run/shop/%n.sock
chmod-socket = 660
buffer-size = 16384
lazy-apps
log-format = %(addr) %(method) %(uri) => %(status)
listen = 100
[staging]
env = DJANGO_SETTINGS_MODULE=shop.settings.staging
touch-reload = /srv/customers/shop@/reload
; end of shop
"""
_POLL_SECONDS = 0.01
_AGE_SECONDS = 3600  # uWSGI compares whole seconds: a touch must be visibly newer


@dataclass(slots=True, kw_only=True)
class TinyLog:
    """The log that all vassals of one daemon append to, read as it grows.

    Only what has been added is read: looking on must not cost the contenders their CPU.
    """

    path: str
    _offset: int = 0
    _rest: bytes = b""
    _first: dict[str, dict[str, int]] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)

    def first(self, what: str) -> dict[str, int]:
        """When (ns, monotonic) each vassal did ``what`` first, for those that did so far."""
        self._read()
        return self._first.get(what, {})

    def count(self, what: str) -> int:
        """How often any vassal did ``what`` so far."""
        self._read()
        return self._counts[what]

    def _read(self) -> None:
        for event in parse_events(self._grown()):
            self._first.setdefault(event.what, {}).setdefault(event.vassal, event.at_ns)
            self._counts[event.what] += 1

    def _grown(self) -> str:
        """The whole lines that have been added since the last look."""
        try:
            with open(self.path, "rb") as log:
                log.seek(self._offset)
                grown = log.read()
        except FileNotFoundError:
            return ""
        self._offset += len(grown)
        whole, _, self._rest = (self._rest + grown).rpartition(b"\n")
        return whole.decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A directory that exists while a bench runs, with the trivial vassal and its files."""

    root: str
    tiny: str
    vassals: str  # the directory that the daemon watches
    names: tuple[str, ...]

    def path(self, name: str) -> str:
        """The file of one vassal."""
        return os.path.join(self.vassals, name)


@contextmanager
def place(count: int) -> Iterator[Place]:
    """``count`` vassal files and the compiled program, removed at the end."""
    with TemporaryDirectory(prefix="emperor-bench-") as root:
        directory = os.path.join(root, "vassals")
        os.mkdir(directory)
        names = tuple(f"shop{number:04}.ini" for number in range(count))
        yield Place(root=root, tiny=compile_tiny(root), vassals=directory, names=names)


def write_vassals(where: Place) -> None:
    """Write every vassal's file as it is at the start of a run, an hour old."""
    then = time.time() - _AGE_SECONDS
    for number, name in enumerate(where.names):
        with open(where.path(name), "w", encoding="utf-8") as file:
            file.write(_SAMPLE.replace("@", f"{number:04}"))
        os.utime(where.path(name), (then, then))


def wait_until(holds: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Return as soon as ``holds`` does; BenchError that names ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {seconds:g} s")
        time.sleep(_POLL_SECONDS)
