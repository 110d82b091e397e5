"""Values that uWSGI's own setters refuse: what is wrong with them, as what it wants instead."""

from __future__ import annotations

from collections.abc import Callable

from emperor.compiler.evaluation import Evaluation, leading_number
from emperor.compiler.source import Origin


def check_value(
    run: Evaluation, key: str, value: str | None, origin: Origin, setter: str
) -> None:
    """Refuse what the setter would refuse; raises ``Stop``."""
    check = REFUSALS.get(setter)
    wanted = check(value) if check is not None else None
    if wanted is not None:
        raise run.diagnostics.stop(
            "invalid-value",
            f'"{key} = {value or ""}" is refused: uWSGI wants {wanted}',
            origin,
            f"write {wanted}",
        )


def _number(value: str | None) -> str | None:
    # uWSGI keeps the number in 32 bits
    number = 1 if value is None else (leading_number(value) + 2**31) % 2**32 - 2**31
    return "a number that is not negative" if number < 0 else None


def _mode(value: str | None) -> str | None:
    if value is None or value == "1" or (len(value) == 3 and set(value) <= set("01234567")):
        return None
    return "three octal digits, such as 664"


def _pair(separator: str, wanted: str) -> Callable[[str | None], str | None]:
    return lambda value: None if separator in (value or "") else wanted


_LEGION = _pair(" ", "the name of a legion, a space, and the rest")

#: Setter -> what is wrong with a value, as what uWSGI wants instead; nothing if all is well.
REFUSALS: dict[str, Callable[[str | None], str | None]] = {
    "uwsgi_opt_set_int": _number,
    "uwsgi_opt_chmod_socket": _mode,
    "uwsgi_opt_logfile_chmod": _mode,
    "uwsgi_opt_static_map": _pair("=", "MOUNTPOINT=DIRECTORY"),
    "uwsgi_opt_add_dyn_dict": _pair("=", "KEY=VALUE"),
    "uwsgi_opt_add_regexp_dyn_dict": _pair(" ", "PATTERN VALUE"),
    "uwsgi_opt_add_regexp_custom_list": _pair(" ", "NAME PATTERN"),
    "uwsgi_opt_add_ssl_socket": lambda value: (
        None if (value or "").count(",") >= 2 else "SOCKET,CERTIFICATE,KEY"
    ),
    "uwsgi_opt_sni": _pair(" ", "NAME CERTIFICATE,KEY"),
    "uwsgi_opt_scd": _pair(":", "DIGEST:DIRECTORY"),
    "uwsgi_opt_legion": lambda value: (
        None if (value or "").count(" ") >= 3 else "NAME ADDRESS VALOR ALGORITHM:SECRET"
    ),
    "uwsgi_opt_legion_node": _LEGION,
    "uwsgi_opt_legion_quorum": _LEGION,
    "uwsgi_opt_legion_scroll": _LEGION,
    "uwsgi_opt_legion_hook": _LEGION,
    "uwsgi_opt_add_legion_cron": _LEGION,
    "uwsgi_opt_add_unique_legion_cron": _LEGION,
}
