"""The vectors: configurations with the answer of the real uWSGI, and how they are laid out."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.uwsgi import ENVIRONMENT, as_listed

from emperor.compiler.pipeline import Compiled, compile_arguments
from emperor.compiler.target import Target
from emperor.runtime.reader import FileReader

HERE = Path(__file__).parents[1]

#: Where the vectors were made. Answers that hold a name or a hash of it only hold there.
EXACT_ROOT = "/tmp/vec"
_NAMES_ROOT = re.compile(r"\bvec\b|\b[0-9A-F]{8}\b")

#: (key, value) as the vectors have them; a flag without a value is "true".
Pairs = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """One vector; ``data`` is what the file of vectors says of it."""

    name: str
    data: Mapping[str, Any]

    @property
    def expect(self) -> Pairs | None:
        """The list that uWSGI shows; nothing if it refuses."""
        found: Pairs | None = self.data.get("expect")
        return found

    @property
    def before_exit(self) -> Pairs | None:
        """What had been read when uWSGI gave up, where that is known."""
        found: Pairs | None = self.data.get("before_exit")
        return found

    @property
    def needs_exact_root(self) -> bool:
        """Whether the answer depends on the very name of the directory."""
        texts = json.dumps([self.data.get("expect"), self.data["files"], self.data["args"]])
        return _NAMES_ROOT.search(texts.replace("{ROOT}", "")) is not None


def vectors(file: str = "vectors.json") -> list[Vector]:
    """All vectors of a file, in its order."""
    data = json.loads((HERE / file).read_text(encoding="utf-8"))
    return [Vector(name=item["name"], data=item) for item in data["vectors"]]


class RootTakenError(Exception):
    """``EXACT_ROOT`` belongs to somebody else."""


@contextlib.contextmanager
def root_for(vector: Vector) -> Iterator[str]:
    """An empty directory of two components without links, gone afterwards.

    Most vectors get one of their own, so tests may run side by side. The few that need
    ``EXACT_ROOT`` take turns at a lock. Raises ``RootTakenError``.
    """
    if not vector.needs_exact_root:
        root = tempfile.mkdtemp(prefix="emperor-", dir="/tmp")
        try:
            yield root
        finally:
            shutil.rmtree(root)
        return
    with open(__file__, "rb") as lock:  # any file that all processes of one run see
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            os.mkdir(EXACT_ROOT)
        except FileExistsError:
            raise RootTakenError(f"{EXACT_ROOT} is there already, and is not ours") from None
        try:
            yield EXACT_ROOT
        finally:
            shutil.rmtree(EXACT_ROOT)


@contextlib.contextmanager
def private_root() -> Iterator[str]:
    """An empty directory with the name of ``EXACT_ROOT``, deeper than that, gone afterwards:
    for tests that do not compare with the vector's answer."""
    with tempfile.TemporaryDirectory(prefix="emperor-") as directory:
        root = os.path.join(os.path.realpath(directory), os.path.basename(EXACT_ROOT))
        os.mkdir(root)
        yield root


def lay_out(vector: Vector, root: str) -> str:
    """Write the vector's files below ``root``; gives its working directory."""
    for name in vector.data.get("dirs", ()):
        os.makedirs(os.path.join(root, name), exist_ok=True)
    for name, text in vector.data["files"].items():
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.replace("{ROOT}", root).encode("utf-8", "surrogateescape"))
    for name, goal in vector.data.get("links", {}).items():
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(goal.replace("{ROOT}", root))
    return os.path.join(root, vector.data.get("cwd") or "").rstrip("/")


def arguments_of(vector: Vector, root: str) -> list[str]:
    """The vector's command line for ``root``."""
    return [word.replace("{ROOT}", root) for word in vector.data["args"]]


def environment_of(vector: Vector, root: str) -> dict[str, str]:
    """The environment that the vector was made in, and its own variables."""
    own = {name: text.replace("{ROOT}", root) for name, text in vector.data["env"].items()}
    return {**ENVIRONMENT, **own}


def compile_vector(vector: Vector, root: str, cwd: str, target: Target) -> Compiled:
    """What we make of a vector that is laid out."""
    with _standard_input(vector.data.get("stdin")):
        return compile_arguments(
            arguments_of(vector, root),
            environment=environment_of(vector, root),
            reader=FileReader(cwd=cwd, allowed=frozenset({"fd", "exec", "http"})),
            target=target,
        )


@contextlib.contextmanager
def _standard_input(text: str | None) -> Iterator[None]:
    """Put ``text`` (or nothing) into descriptor 0, which is what vectors read."""
    kept = os.dup(0)
    with tempfile.TemporaryFile() as file:
        file.write((text or "").encode())
        file.seek(0)
        os.dup2(file.fileno(), 0)
    try:
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def matches(wanted: Pairs, options: Sequence[tuple[str, str | None]], root: str) -> bool:
    """Whether the options are the wanted ones, tokens such as ``{HOSTNAME}`` filled in."""
    pattern = "".join(_line(key, value, root) for key, value in wanted)
    return re.fullmatch(pattern, as_listed(options), re.DOTALL) is not None


def _line(key: str, value: str | None, root: str) -> str:
    text = f"{key} = {'true' if value is None else value}\n"
    parts = re.split(r"(\{[A-Z]+(?::[^}]*)?\})", text)
    return "".join(_token(part, root) for part in parts)


def _token(part: str, root: str) -> str:
    if part.startswith("{INODE:"):
        return str(os.lstat(os.path.join(root, part[7:-1])).st_ino)
    patterns = {
        "{ROOT}": re.escape(root),
        "{HOSTNAME}": re.escape(socket.gethostname()),
        "{CPUS}": str(os.sysconf("SC_NPROCESSORS_ONLN")),
        "{UID}": str(os.getuid()),
        "{GID}": str(os.getgid()),
        "{TIME}": r"\d{10}",
        "{MICROS}": r"\d{16}",
        "{VERSION}": r"2\.\d+[\w.-]*",
        "{BINARY}": r"/[\w/.-]+",
    }
    return patterns.get(part, re.escape(part))
