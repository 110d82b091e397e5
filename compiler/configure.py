"""The last stage: every option that has not acted yet is applied, in list order."""

from __future__ import annotations

from collections.abc import Callable

from emperor.compiler.evaluation import Entry, Evaluation, leading_number
from emperor.compiler.immediate import HANDLERS

#: Setters that append when they are applied: after them the walk begins again.
_APPENDING = frozenset({"uwsgi_opt_load", "uwsgi_opt_add_custom_option"})

#: An endless chain of inherits; uWSGI would never finish.
MOST_INHERITS = 1_000


def configure(run: Evaluation) -> None:
    """Apply the list as uWSGI was observed to: from the top again after each append."""
    inherits = 0
    position = 0
    while position < len(run.entries):
        entry = run.entries[position]
        position += 1
        if entry.done:
            continue
        run.is_dirty = False
        _apply(run, entry)
        if run.is_dirty:
            position = 0
            inherits += entry.key == "inherit"
            if inherits > MOST_INHERITS:
                raise run.diagnostics.stop(
                    "include-cycle",
                    f'files inherit each other without an end, through "{entry.value}"',
                    entry.origin,
                    "take one of these inherits out",
                )
    _refuse_get(run)


def _apply(run: Evaluation, entry: Entry) -> None:
    facts = run.find(entry.key, entry.origin)
    if facts is None:
        return
    if entry.key == "mode":
        run.mode = entry.value
    if facts["setter"] == "custom":
        acted, run.acted = run.acted, []
        run.act(facts, entry.key, entry.value, entry.origin, entry)
        entry.runs, run.acted = run.acted, acted
    elif facts["setter"] in _APPENDING:
        HANDLERS[facts["setter"]](run, entry.key, entry.value, entry.origin, entry)
    else:
        _check_value(run, entry, facts["setter"])
        if entry.key == "cron2":
            _cut_cron(entry)
    entry.done = True


def _cut_cron(entry: Entry) -> None:
    """uWSGI's reader of ``cron2`` cuts the very text that it lists, before the command."""
    settings, space, _ = (entry.value or "").partition(" ")
    if space and "=" in settings:
        entry.whole, entry.value = entry.value, settings


def _check_value(run: Evaluation, entry: Entry, setter: str) -> None:
    """Refuse what uWSGI's own setter would refuse."""
    check = REFUSALS.get(setter)
    wanted = check(entry.value) if check is not None else None
    if wanted is not None:
        raise run.diagnostics.stop(
            "invalid-value",
            f'"{entry.key} = {entry.value or ""}" is refused: uWSGI wants {wanted}',
            entry.origin,
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


def _refuse_get(run: Evaluation) -> None:
    for name in ("get", "dump-options", "version"):
        entry = run.first.get(name)
        if entry is not None and run.known(name) is not None:
            HANDLERS["uwsgi_opt_exit"](run, name, entry.value, entry.origin, entry)
