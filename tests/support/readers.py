"""A world in a dictionary, for compiles that need no files."""

import fnmatch
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field

from emperor.compiler.pipeline import Compiled, compile_arguments
from emperor.compiler.reader import Host, Reader, Unreadable
from emperor.compiler.target import Target

HOST = Host(
    hostname="node7.example.org",
    cpu_count=4,
    uid=1000,
    gid=1001,
    user="erika",
    group="staff",
    start_seconds=1_700_000_000,
    start_microseconds=1_700_000_000_123_456,
)


@dataclass(slots=True, kw_only=True)
class DictReader:
    """Files and programs by their absolute path; directories are what lies above the files.
    Commands print what ``outputs`` has for them."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    programs: frozenset[str] = frozenset()
    outputs: Mapping[str, bytes] = field(default_factory=dict)
    cwd: str = "/srv/vassals"

    def _at(self, path: str) -> str:
        return posixpath.normpath(posixpath.join(self.cwd, path))

    def host(self) -> Host:
        return HOST

    def read(self, path: str) -> bytes:
        full = self.links.get(self._at(path), self._at(path))
        if full not in self.files:
            raise Unreadable("missing-file", "No such file or directory", "create the file")
        return self.files[full]

    def read_descriptor(self, number: int) -> bytes:
        raise Unreadable("source-denied", "no descriptors here")

    def run(self, command: str) -> bytes:
        if command in self.outputs:
            return self.outputs[command]
        raise Unreadable("source-denied", "no commands here")

    def fetch(self, url: str) -> bytes:
        raise Unreadable("source-denied", "no network here")

    def resolve(self, name: str) -> str:
        if name == "localhost":
            return "127.0.0.1"
        raise Unreadable("unresolved", "Name or service not known")

    def real_path(self, path: str) -> str:
        self.read(path)
        return self._at(path)

    def is_link(self, path: str) -> bool:
        return self._at(path) in self.links

    def inode(self, path: str) -> int | None:
        return 42 if self.is_readable(path) else None

    def is_readable(self, path: str) -> bool:
        return self.is_file(path) or self.is_directory(path)

    def is_executable(self, path: str) -> bool:
        return self._at(path) in self.programs

    def is_file(self, path: str) -> bool:
        return self.links.get(self._at(path), self._at(path)) in self.files

    def is_directory(self, path: str) -> bool:
        return any(name.startswith(self._at(path) + "/") for name in self.files)

    def glob(self, pattern: str) -> list[str]:
        names = [name.removeprefix(f"{self.cwd}/") for name in self.files]
        return sorted(fnmatch.filter(names, pattern))

    def names(self, directory: str) -> list[str]:
        start = self._at(directory) + "/"
        return sorted(n[len(start) :] for n in self.files if n.startswith(start))


def compile_text(
    text: str,
    *arguments: str,
    others: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    target: Target | None = None,
) -> Compiled:
    """Compile an ini text (and other files, by name) without touching the disk."""
    files = {"app.ini": text, **(others or {})}
    reader: Reader = DictReader(
        files={
            f"/srv/vassals/{name}": content.encode("utf-8", "surrogateescape")
            for name, content in files.items()
        }
    )
    return compile_arguments(
        [*arguments, "app.ini"],
        environment=environment or {},
        reader=reader,
        target=target or Target(),
    )


def codes(compiled: Compiled) -> list[str]:
    """The codes of what was found, in order."""
    return [diagnostic.code for diagnostic in compiled.diagnostics]
