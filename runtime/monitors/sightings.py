"""What a monitor sees of a vassal, and what it tells the controller about it."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Tells one content of a vassal from another: a new stamp means compile and reload."""

    mtime_ns: int
    size: int
    inode: int  # of a text: a hash of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What may change while the content stays: a new value means compile, and then decide."""

    ctime_ns: int
    uid: int
    gid: int
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One vassal at one moment: its file, or the text that a plugin gives instead."""

    monitor: str  # the monitor's id, as the user wrote it
    name: str  # relative to a dir's directory, a glob's path, or as a plugin calls it
    path: str  # absolute; "" if there is a text and no file
    directory: str | None  # where the vassal starts; None: where the daemon is
    stamp: Stamp
    attributes: Attributes
    file: str | None = None  # what is to be compiled, where that is not the name
    text: str | None = None  # the config, where there is no file
    socket: str | None = None  # the address of its on-demand socket, where a plugin gives it
    extra: tuple[tuple[str, str], ...] = ()  # what else a plugin says of it, sorted
    has_given_owner: bool = False  # a plugin says whose it is, whoever owns the file

    @property
    def compiled_as(self) -> str:
        """What a compile is asked for: the name, or the file that a plugin gave to it."""
        return self.name if self.file is None else self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A look found a usable file. ``held``: somebody has it open for writing; None: unknown."""

    sighting: Sighting
    linked: bool  # a symbolic link led there
    held: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A look found nothing that could be a vassal; ``problem`` if something is in its place."""

    linked: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclear:
    """A look failed in a way that says nothing about the file: what runs is kept."""

    problem: str
    path: str  # what is to blame: the file, or the directory that it is in
    linked: bool = False


Finding = Seen | Missing | Unclear


@dataclass(frozen=True, slots=True, kw_only=True)
class Appeared:
    """There is a vassal that was not there before."""

    sighting: Sighting


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A vassal's file has another stamp (or is reached under another path)."""

    sighting: Sighting


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributesChanged:
    """Only ctime, owner, group or mode of a vassal's file differ, or a plugin's words on it."""

    sighting: Sighting


@dataclass(frozen=True, slots=True, kw_only=True)
class Vanished:
    """A vassal's file is gone, and has been for the settle time."""

    monitor: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something a person should know. The message names the path and says what to do."""

    monitor: str
    path: str
    message: str


Event = Appeared | Changed | AttributesChanged | Vanished | Problem


def stamp_of(status: os.stat_result) -> Stamp:
    """Give the stamp in a stat result."""
    return Stamp(mtime_ns=status.st_mtime_ns, size=status.st_size, inode=status.st_ino)


def attributes_of(status: os.stat_result) -> Attributes:
    """Give the attributes in a stat result."""
    return Attributes(
        ctime_ns=status.st_ctime_ns,
        uid=status.st_uid,
        gid=status.st_gid,
        mode=status.st_mode,
    )
