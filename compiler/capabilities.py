"""The names of Linux capabilities: as uWSGI spells them, as numbers, and for setpriv(1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: Every name and its number. Up to ``wake_alarm`` they are uWSGI's, in its order; the others
#: came to Linux later.
NAMES: Final[dict[str, int]] = {
    name: number
    for number, name in enumerate(
        "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap"
        " linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner"
        " sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice"
        " sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap"
        " mac_override mac_admin syslog wake_alarm"
        " block_suspend audit_read perfmon bpf checkpoint_restore".split()
    )
}

#: The kernel keeps a set of capabilities in as many bits.
_MOST = 64

_BY_NUMBER = {number: name for name, number in NAMES.items()}


class UnknownCapability(ValueError):
    """A word that names no capability; the text names it."""


def parse_capabilities(text: str) -> tuple[int, ...]:
    """The numbers in a list as uWSGI's ``cap`` takes it: names or numbers and commas between.

    Each once, in the order of the text; blanks and empty words do not count. Raises
    UnknownCapability, where uWSGI would go on without the word.
    """
    words = (word.strip() for word in text.split(","))
    return tuple(dict.fromkeys(_number(word) for word in words if word))


def _number(word: str) -> int:
    if word.isascii() and word.isdecimal() and int(word) < _MOST:
        return int(word)
    if word not in NAMES:
        raise UnknownCapability(f'there is no capability "{word}"')
    return NAMES[word]


def setpriv_names(numbers: Iterable[int]) -> list[str]:
    """The capabilities in setpriv(1)'s words, in their order, without the sign in front."""
    return [_BY_NUMBER.get(number, f"cap_{number}") for number in numbers]
