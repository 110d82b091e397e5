"""``--emperor lines:///run/vassals.sock``: vassals from a unix socket that sends lines of JSON.

A line is all the vassals that there are, ``{"vassals": [{"name": "a.ini", "text": ...}]}``, or
what has changed since the line before: ``{"present": {"name": ...}}``, ``{"absent": NAME}``.
"""

import asyncio
import json
from collections.abc import AsyncGenerator

from emperor.runtime.monitors.plugins import (
    Absent,
    Change,
    Context,
    Found,
    Present,
    Snapshot,
)

#: The longest line that is read, in bytes.
MOST_BYTES = 64 * 1024 * 1024


class LinesMonitor:
    """Follows one socket. When the other side hangs up, the Emperor starts it again."""

    def __init__(self, url: str, context: Context) -> None:
        self._path = url.removeprefix("lines://")

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Tell what each line says."""
        reader, writer = await asyncio.open_unix_connection(self._path, limit=MOST_BYTES)
        try:
            while line := await reader.readline():
                yield change_in(line)
        finally:
            writer.close()
        raise ConnectionError(f"{self._path} hung up")


def change_in(line: bytes) -> Change:
    """Read one line; raises ValueError, KeyError or TypeError for what is none."""
    match json.loads(line):
        case {"vassals": list(vassals)}:
            return Snapshot(vassals=tuple(Found(**vassal) for vassal in vassals))
        case {"present": dict(vassal)}:
            return Present(vassal=Found(**vassal))
        case {"absent": str(name)}:
            return Absent(name=name)
        case other:
            raise ValueError(f"neither vassals nor present nor absent: {other}")
