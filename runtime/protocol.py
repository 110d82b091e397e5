"""The Emperor protocol: one byte a message, and configs in small packets. Pure."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable

#: The most that one packet of the config pipe holds, in bytes.
MOST_CONFIG_BYTES = 65_535

_CONFIG_MODIFIER = 115


class Order(enum.IntEnum):
    """What the Emperor says."""

    STOP = 0
    RELOAD = 1
    GRACEFUL_STOP = 2


class Word(enum.IntEnum):
    """What a vassal says."""

    SPAWNED = 1
    WANTS_CONFIG = 2
    ACCEPTING = 5
    LOYAL = 17
    LEAVING = 22
    HEARTBEAT = 26
    WANTS_ZERG = 30


def frames(texts: Iterable[bytes]) -> bytes:
    """Configs as they go over the pipe: each behind its header (modifier, length, 0).

    Raises ValueError for a text that does not fit one packet.
    """
    parts = []
    for text in texts:
        if not 0 < len(text) <= MOST_CONFIG_BYTES:
            raise ValueError(f"a config of {len(text)} bytes cannot be sent")
        parts += [struct.pack("<BHB", _CONFIG_MODIFIER, len(text), 0), text]
    return b"".join(parts)
