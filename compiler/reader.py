"""The one door through which the compiler sees the world.

``runtime/`` implements it with real files and commands; tests may use a dictionary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Unreadable(Exception):
    """A source could not be read.

    ``code`` is a diagnostic code ("missing-file", "not-a-file", "too-large", "unreadable",
    "source-denied"); ``reason`` is a sentence part ("No such file or directory").
    """

    def __init__(self, code: str, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What magic variables say about the machine and the moment."""

    hostname: str
    cpu_count: int
    uid: int
    gid: int
    user: str
    group: str
    start_seconds: int
    start_microseconds: int


class Reader(Protocol):
    """Files, commands and facts of the machine. Paths may be relative to ``cwd``."""

    @property
    def cwd(self) -> str:
        """The working directory, absolute."""

    def host(self) -> Host:
        """Facts for ``%h``, ``%k``, ``%u`` and so on."""

    def read(self, path: str) -> bytes:
        """The content of a file; raises ``Unreadable``."""

    def read_descriptor(self, number: int) -> bytes:
        """What is left to read of an open descriptor; raises ``Unreadable``."""

    def run(self, command: str) -> bytes:
        """What a shell command prints; raises ``Unreadable``."""

    def fetch(self, url: str) -> bytes:
        """The body behind an ``http://`` address; raises ``Unreadable``."""

    def resolve(self, name: str) -> str:
        """The IPv4 address of a host name; raises ``Unreadable``."""

    def real_path(self, path: str) -> str:
        """The path without links; raises ``Unreadable`` where it does not exist."""

    def is_link(self, path: str) -> bool:
        """Whether the path itself is a symbolic link."""

    def inode(self, path: str) -> int | None:
        """The inode of the path itself, links not followed; nothing if it is not there."""

    def is_readable(self, path: str) -> bool:
        """Whether the path exists and may be read, links followed."""

    def is_executable(self, path: str) -> bool:
        """Whether the path is a regular file that may be executed, links followed."""

    def is_file(self, path: str) -> bool:
        """Whether the path is a regular file, links followed."""

    def is_directory(self, path: str) -> bool:
        """Whether the path is a directory, links followed."""

    def glob(self, pattern: str) -> list[str]:
        """What glob(3) finds, sorted by bytes, directories with a slash at the end."""

    def names(self, directory: str) -> list[str]:
        """The names in a directory; raises ``Unreadable``."""
