"""What has to happen so that what runs becomes what is wanted. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from emperor.compiler.plan import Plan, VassalPlan

Stamp = tuple[int, int, int]


class Action(enum.Enum):
    """What is done to one vassal; the value is the sign that people are shown."""

    SPAWN = "+"
    RELOAD = "~"
    RESTART = "!"
    STOP = "-"


class Reason(enum.Enum):
    """Why it is done."""

    NEW = "new"
    CHANGED = "changed"
    TOUCHED = "touched"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A vassal and the stamp (mtime in ns, size, inode) of the file it came from."""

    spec: VassalPlan
    stamp: Stamp = (0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing to do."""

    action: Action
    reason: Reason
    old: VassalPlan | None = None
    new: VassalPlan | None = None


def diff(running: tuple[Wanted, ...], wanted: tuple[Wanted, ...]) -> tuple[Change, ...]:
    """The changes, in the order of the vassals' keys, those to stop first.

    A vassal whose launch differs (program, directory, environment) must be restarted: a reload
    keeps all of these. One whose stamp differs alone was touched.
    """
    before = {item.spec.key: item for item in running}
    after = {item.spec.key: item for item in wanted}
    stops = [
        Change(action=Action.STOP, reason=Reason.REMOVED, old=before[key].spec)
        for key in sorted(before.keys() - after.keys())
    ]
    others = [_change(before.get(key), after[key]) for key in sorted(after)]
    return (*stops, *(change for change in others if change is not None))


def _change(old: Wanted | None, new: Wanted) -> Change | None:
    if old is None:
        return Change(action=Action.SPAWN, reason=Reason.NEW, new=new.spec)
    if old.spec.digest != new.spec.digest:
        kept = old.spec.launch == new.spec.launch and new.spec.policies.has_master
        action = Action.RELOAD if kept and old.spec.policies.has_master else Action.RESTART
        return Change(action=action, reason=Reason.CHANGED, old=old.spec, new=new.spec)
    if old.stamp != new.stamp:
        action = Action.RELOAD if new.spec.policies.has_master else Action.RESTART
        return Change(action=action, reason=Reason.TOUCHED, old=old.spec, new=new.spec)
    return None


def plan_diff(running: Plan, wanted: Plan) -> tuple[Change, ...]:
    """``diff`` for plans alone, where no stamps are known."""
    return diff(
        tuple(Wanted(spec=spec) for spec in running.vassals),
        tuple(Wanted(spec=spec) for spec in wanted.vassals),
    )
