"""The last stage: every option that has not acted yet is applied, in list order."""

from __future__ import annotations

from emperor.compiler.evaluation import Entry, Evaluation
from emperor.compiler.immediate import HANDLERS
from emperor.compiler.refusals import check_value

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
        check_value(run, entry.key, entry.value, entry.origin, facts["setter"])
        if entry.key == "cron2":
            _cut_cron(entry)
    entry.done = True


def _cut_cron(entry: Entry) -> None:
    """uWSGI's reader of ``cron2`` cuts the very text that it lists, before the command."""
    settings, space, _ = (entry.value or "").partition(" ")
    if space and "=" in settings:
        entry.whole, entry.value = entry.value, settings


def _refuse_get(run: Evaluation) -> None:
    for name in ("get", "dump-options", "version"):
        entry = run.first.get(name)
        if entry is not None and run.known(name) is not None:
            HANDLERS["uwsgi_opt_exit"](run, name, entry.value, entry.origin, entry)
