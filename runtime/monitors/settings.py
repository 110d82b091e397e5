"""How the monitors behave: the times they wait and what they look at."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All times in seconds."""

    settle_seconds: float = 0.25  # a file missing for so long is removed
    writing_seconds: float = 30.0  # a file that somebody writes is waited for so long
    rescan_seconds: float = 60.0  # everything is looked at again so often
    frequency_seconds: float = 3.0  # the same, where events cannot be trusted
    nofollow: bool = False  # a symbolic link is looked at itself
    extra_extensions: tuple[str, ...] = ()
    slice_size: int = 64  # looks before the event loop has its turn
