"""What happens to a vassal, and what is to be done about it. Frozen values only."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from emperor.runtime.launch import LaunchSpec


class Cause(enum.Enum):
    """Why a vassal is compiled."""

    FILE = "its file has a new stamp"
    ATTRIBUTES = "owner or mode of its file changed"
    INCLUDE = "something that it reads changed"
    RESPAWN = "it is to be spawned again"
    ANSWER = "it asks for its config"


# -- events -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """A monitor saw the file, or saw that it changed."""

    cause: Cause = Cause.FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Vanished:
    """The file is gone for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A compile gave a spec. ``serial`` says which compile it was."""

    serial: int
    spec: LaunchSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCompiled:
    """A compile gave reasons instead of a spec; ``kept`` is a spec of an earlier daemon's."""

    serial: int
    kept: LaunchSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """Nothing that the last good compile looked at has changed since."""

    serial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawned:
    """The process runs."""

    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSpawned:
    """The process could not be started."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The vassal sent a byte."""

    byte: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """The main process is dead and its group empty; exit code or -signal."""

    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A deadline may have passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MayStart:
    """Its turn to start has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """Somebody has connected to its on-demand socket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Its on-demand socket is open, and the Emperor waits for a connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotListening:
    """Its on-demand socket could not be had."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """A program says, by systemd's protocol, that it is on its way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disowned:
    """Its file belongs to somebody else than what runs, or was compiled, belongs to."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """It is to run beside another process of the same vassal, and to take its place."""

    spec: LaunchSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """Another process has taken its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeirFailed:
    """What was to take its place will not; ``message`` is a sentence part."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """Somebody asks for a reload, or for another try if nothing runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """An operator wants it to rest until it is started again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """An operator wants it to run, whatever kept it from that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Its place on the blacklist is forgotten; if it waits for another try, it is tried now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """The Emperor goes: the vassal must go within so many seconds."""

    grace_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Die:
    """The Emperor goes, now."""


Event = (
    Noticed
    | Vanished
    | Compiled
    | NotCompiled
    | Fresh
    | Spawned
    | NotSpawned
    | Said
    | Exited
    | Tick
    | MayStart
    | Connected
    | Listening
    | NotListening
    | Stopping
    | Disowned
    | Begin
    | Superseded
    | HeirFailed
    | Reload
    | Halt
    | Start
    | Retry
    | Leave
    | Die
)


# -- effects ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Compile:
    """Compile the vassal. With ``if_stale`` only if something changed that the last good
    compile looked at, else answer ``Fresh``."""

    serial: int
    cause: Cause
    if_stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AskStart:
    """Have ``MayStart`` come when it is its turn; with ``is_urgent`` at once."""

    is_urgent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawn:
    """Start the process with its sockets, and send it its config."""

    spec: LaunchSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send the vassal a byte."""

    byte: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver:
    """Send the vassal its config."""

    spec: LaunchSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """Send a signal to the main process, or to its whole group."""

    signum: int
    is_for_group: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Hold the on-demand socket at that address and wait for a connection: ``Listening``, or
    ``NotListening`` if it cannot be had. A socket at another address is closed."""

    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlisten:
    """Close the on-demand socket, if there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """Run the Emperor's hooks for that moment: as-emperor, stop, as-on-demand, as-on-config."""

    moment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeed:
    """Start another process of this vassal beside it, to take its place: ``Begin`` for that
    one, and ``HeirFailed`` here if it comes to nothing. One that was started before goes."""

    spec: LaunchSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherit:
    """It is ready: it takes the place of the process beside which it was started, which hears
    ``Superseded``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renounce:
    """It will not take the place of the other one; ``message`` says why."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WantZerg:
    """It asks for another instance of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Tell people. ``level`` is debug, info, warning or error."""

    level: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Nothing is left of the vassal."""


Effect = (
    Compile
    | AskStart
    | Spawn
    | Send
    | Deliver
    | Signal
    | Listen
    | Unlisten
    | Hook
    | Succeed
    | Inherit
    | Renounce
    | WantZerg
    | Log
    | Forget
)
