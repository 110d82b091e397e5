"""Magic variables: ``%d``, ``%n`` and their kin, replaced in the raw text of a file.

Rules: uWSGI documentation "Configuring uWSGI", section "Magic variables"; what it leaves open
was observed (any other byte after ``%`` vanishes with the sign, ``%%`` is ``%``).
"""

from __future__ import annotations

import re
import struct
from functools import cached_property

from emperor.compiler.reader import Reader
from emperor.compiler.source import Edit, from_bytes, to_bytes
from emperor.compiler.target import Target

_VARIABLE = re.compile(r"%(?!\()(.?)", re.DOTALL)
_OWN = frozenset("opsednc0123456789xij")


def djb33x(text: str) -> str:
    """The hash behind ``%j``: 32 bit, printed as its little-endian bytes in hexadecimal."""
    value = 5381
    for byte in to_bytes(text):
        value = (value * 33 & 0xFFFFFFFF) ^ byte
    return struct.pack("<I", value).hex().upper()


class FileNames:
    """The magic variables of one file; computed when one of them is asked for.

    ``given`` is the name as given, without its section. ``links`` are not followed where the
    file itself is one, so ``%p`` is then the name as given, made absolute.
    """

    def __init__(self, reader: Reader, given: str, section: str) -> None:
        self.reader = reader
        self.given = given
        self.section = section

    @cached_property
    def path(self) -> str:
        """``%p``; raises ``Unreadable`` for a file that is not there."""
        if self.reader.is_link(self.given):
            if self.given.startswith("/"):
                return self.given
            return f"{self.reader.cwd}/{self.given}"
        return self.reader.real_path(self.given)

    @cached_property
    def _parts(self) -> list[str]:
        return [part for part in self.path.rpartition("/")[0].split("/") if part]

    def value(self, letter: str) -> str:
        """The text of a lower-case variable of this file."""
        if letter == "x":
            return self.section
        if letter == "o":
            return self.given
        directory, _, name = self.path.rpartition("/")
        stem, dot, extension = name.rpartition(".")
        match letter:
            case "p":
                return self.path
            case "d":
                return directory + "/"
            case "s":
                return name
            case "n":
                return stem if dot else name
            case "e":
                return extension if dot else ""
            case "c":
                return self._parts[-1] if self._parts else ""
            case "i":
                inode = self.reader.inode(self.path)
                return "" if inode is None else str(inode)
            case "j":
                return djb33x(self.path)
            case _:
                index = int(letter)
                return self._parts[index] if index < len(self._parts) else ""


class MagicTable:
    """The variables of one run: facts of the machine, the file being read, the first file."""

    def __init__(self, reader: Reader, target: Target) -> None:
        self.reader = reader
        self.target = target
        self.names: FileNames | None = None
        self.given: str | None = None
        self.section = ""
        self.first: tuple[FileNames | None, str | None, str] | None = None
        self.is_first_fixed = False

    def enter_file(self, given: str, section: str) -> None:
        """A file is about to be read; the first one also gives the upper-case variables."""
        self.names = FileNames(self.reader, given, section)
        self.given = given
        self.section = section
        self._fix_first()

    def enter_section(self, section: str) -> None:
        """``:section``: the last file again; only ``%o`` (empty) and ``%x`` change."""
        self.given = ""
        self.section = section
        self._fix_first()

    def enter_source(self, given: str) -> None:
        """A URL or standard input: only ``%o`` changes."""
        self.given = given

    def _fix_first(self) -> None:
        if not self.is_first_fixed:
            self.first = (self.names, self.given, self.section)
            self.is_first_fixed = True

    def value(self, letter: str) -> str:
        """What stands for ``%`` and this letter; nothing for letters without a meaning."""
        if letter in _OWN:
            return self._of_file(letter, self.names, self.given, self.section)
        if letter.lower() in "opsdencxij" and letter.isupper():
            return self._of_file(letter.lower(), *self.first) if self.first else ""
        return self._of_machine(letter)

    @staticmethod
    def _of_file(letter: str, names: FileNames | None, given: str | None, section: str) -> str:
        if letter == "o":
            return given or ""
        if letter == "x":
            return section
        return names.value(letter) if names is not None else ""

    def _of_machine(self, letter: str) -> str:
        host = self.reader.host()
        match letter:
            case "b":
                return self.target.path if self.names is not None else ""
            case "v":
                return self.reader.cwd
            case "h":
                return host.hostname
            case "k":
                return str(host.cpu_count)
            case "u":
                return str(host.uid)
            case "U":
                return host.user
            case "g":
                return str(host.gid)
            case "G":
                return host.group
            case "t":
                return str(host.start_seconds)
            case "T":
                return str(host.start_microseconds)
            case "V":
                return self.target.version
            case _:
                return ""

    def substitute(self, text: str) -> tuple[str, tuple[Edit, ...]]:
        """The text with its variables replaced, and where it changed.

        Raises ``Unreadable`` if a variable needs the path of a file that does not exist.
        """
        if "%" not in text:
            return text, ()
        edits: list[Edit] = []
        grown = 0

        def replace(match: re.Match[str]) -> str:
            nonlocal grown
            new = self._replacement(match.group(1))
            start = match.start() + grown
            grown += len(new) - len(match.group())
            edits.append(
                Edit(
                    start=start,
                    end=start + len(new),
                    original_start=match.start(),
                    original_end=match.end(),
                )
            )
            return new

        replaced = _VARIABLE.sub(replace, text)
        return replaced, tuple(edits)

    def _replacement(self, found: str) -> str:
        if found in {"", "%"}:
            return found  # a lone sign at the very end vanishes
        if found == "[":
            return "\x1b"
        if ord(found) > 0x7F:
            # one byte vanishes, not one character
            return from_bytes(to_bytes(found)[1:])
        return self.value(found)
