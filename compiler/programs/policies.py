"""How a program is treated: the keys of ours that begin with ``vassal-``."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable

from emperor.compiler.catalogue import own_option
from emperor.compiler.programs.settings import Settings
from emperor.compiler.programs.values import Program

#: Every key of ours for a vassal that is a program.
OWN_KEYS = (
    "vassal-exec",
    "vassal-heartbeat",
    "vassal-kill-after",
    "vassal-log",
    "vassal-log-keep",
    "vassal-log-size",
    "vassal-oom-score",
    "vassal-ready",
    "vassal-ready-after",
    "vassal-ready-timeout",
    "vassal-reload",
    "vassal-reload-signal",
    "vassal-stop-signal",
)

OWN_OPTIONS = tuple(own_option(key) for key in OWN_KEYS)

#: Linux's signals by name; the compiler knows no machine that it could ask.
SIGNALS = {
    name: number
    for number, name in enumerate(
        "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD"
        " CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS".split(),
        start=1,
    )
}
_MOST_SIGNALS = 64

#: How long a new generation must have run before a rolling reload takes it for ready.
ROLLING_SECONDS = 3.0

_SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
_MOST_SECONDS = 86_400.0

_USUAL = Program()


def policies(settings: Settings, directory: str) -> Program:
    """What the vassal says of its treatment; ``directory`` is what its log is relative to.

    A value that cannot be meant is an error, and the usual one takes its place.
    """
    reload = _choice(settings, "vassal-reload", ("signal", "restart", "rolling"), _USUAL.reload)
    ready = _choice(settings, "vassal-ready", ("running", "notify", "emperor"), _USUAL.ready)
    reload_signal = _signal(settings, "vassal-reload-signal", _USUAL.reload_signal)
    if reload != "signal":
        settings.idle(
            ["vassal-reload-signal"],
            f'a reload is a "{reload}"',
            "write vassal-reload = signal",
        )
    waits = ROLLING_SECONDS if reload == "rolling" and ready == "running" else 0.0
    if ready != "running":
        settings.idle(
            ["vassal-ready-after"], "the program says when it is ready", "take it out"
        )
    return Program(
        stop_signal=_signal(settings, "vassal-stop-signal", _USUAL.stop_signal),
        stop_seconds=_seconds(settings, "vassal-kill-after", None),
        reload=reload,
        reload_signal=reload_signal,
        ready=ready,
        ready_after_seconds=_seconds(settings, "vassal-ready-after", waits) or 0.0,
        ready_timeout_seconds=_seconds(settings, "vassal-ready-timeout", None)
        or _USUAL.ready_timeout_seconds,
        watchdog_seconds=_seconds(settings, "vassal-heartbeat", None) or None,
        log=_log(settings, directory),
        log_bytes=_bytes(settings, "vassal-log-size", _USUAL.log_bytes),
        log_keep=_count(settings, "vassal-log-keep", _USUAL.log_keep),
    )


def _choice(settings: Settings, name: str, choices: Iterable[str], usual: str) -> str:
    option = settings.last(name)
    if option is None:
        return usual
    if option.value in choices:
        return option.value
    settings.wrong(option, "there is no such way", f"write one of {', '.join(choices)}")
    return usual


def _signal(settings: Settings, name: str, usual: int) -> int:
    option = settings.last(name)
    if option is None:
        return usual
    word = option.value.strip()
    number = SIGNALS.get(word.upper().removeprefix("SIG"))
    if number is None and re.fullmatch("[0-9]{1,2}", word) and 0 < int(word) <= _MOST_SIGNALS:
        number = int(word)
    if number is None:
        settings.wrong(option, "there is no such signal", "write its name (TERM) or number")
    return usual if number is None else number


def _seconds(settings: Settings, name: str, usual: float | None) -> float | None:
    option = settings.last(name)
    if option is None:
        return usual
    if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", option.value):
        seconds = float(option.value)
        if seconds <= _MOST_SECONDS:
            return seconds
    settings.wrong(option, "it is no time", "write seconds, such as 30 or 0.5, up to a day")
    return usual


def _count(settings: Settings, name: str, usual: int) -> int:
    option = settings.last(name)
    if option is None:
        return usual
    if re.fullmatch("[0-9]{1,4}", option.value):
        return int(option.value)
    settings.wrong(option, "it is no number of files", "write a number, such as 5")
    return usual


def _bytes(settings: Settings, name: str, usual: int) -> int:
    option = settings.last(name)
    if option is None:
        return usual
    found = re.fullmatch("([1-9][0-9]{0,14})([KMG]?)", option.value.upper())
    if found:
        return int(found[1]) * _SIZES[found[2]]
    settings.wrong(option, "it is no size", "write bytes, or 10M, 512K, 1G")
    return usual


def _log(settings: Settings, directory: str) -> str | None:
    option = settings.last("vassal-log")
    if option is None:
        settings.idle(
            ("vassal-log-size", "vassal-log-keep"), "there is no log", "add vassal-log"
        )
        return None
    if not option.value:
        settings.wrong(option, "it names no file", "write a path, or journal")
        return None
    if option.value == "journal":
        return "journal"
    return os.path.join(directory, option.value)
