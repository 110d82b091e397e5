"""What has to happen so that what runs becomes what is wanted."""

import pytest

from emperor.compiler.plan import Launch, Plan, Policies, VassalPlan
from emperor.runtime.diff import Action, Reason, Wanted, diff, plan_diff


def vassal(
    name: str = "a.ini", *, text: str = "x", cwd: str = "/v", has_master: bool = True
) -> VassalPlan:
    return VassalPlan(
        monitor="/v",
        name=name,
        delivered=(text,),
        launch=Launch(argv=("/usr/bin/uwsgi",), cwd=cwd),
        policies=Policies(has_master=has_master),
    )


def wanted(spec: VassalPlan, mtime: int = 0) -> Wanted:
    return Wanted(spec=spec, stamp=(mtime, 1, 1))


PLAIN = wanted(vassal())


@pytest.mark.parametrize(
    ("before", "after", "action", "reason"),
    [
        (None, PLAIN, Action.SPAWN, Reason.NEW),
        (PLAIN, None, Action.STOP, Reason.REMOVED),
        (PLAIN, wanted(vassal(text="y")), Action.RELOAD, Reason.CHANGED),
        (PLAIN, wanted(vassal(), 9), Action.RELOAD, Reason.TOUCHED),
        (PLAIN, wanted(vassal(text="y"), 9), Action.RELOAD, Reason.CHANGED),
        (PLAIN, wanted(vassal(cwd="/w")), Action.RESTART, Reason.CHANGED),
        (PLAIN, wanted(vassal(has_master=False)), Action.RESTART, Reason.CHANGED),
        (
            wanted(vassal(has_master=False)),
            wanted(vassal(has_master=False), 9),
            Action.RESTART,
            Reason.TOUCHED,
        ),
    ],
)
def test_one_vassal(
    before: Wanted | None, after: Wanted | None, action: Action, reason: Reason
) -> None:
    (change,) = diff((before,) if before else (), (after,) if after else ())
    assert (change.action, change.reason) == (action, reason)
    assert change.old == (before.spec if before else None)
    assert change.new == (after.spec if after else None)


def test_nothing_changes_nothing() -> None:
    assert diff((PLAIN,), (PLAIN,)) == ()
    assert diff((), ()) == ()


def test_stops_come_first_and_all_in_the_order_of_their_keys() -> None:
    before = tuple(wanted(vassal(name)) for name in ("z.ini", "b.ini", "c.ini"))
    after = tuple(wanted(vassal(name)) for name in ("y.ini", "a.ini", "c.ini"))
    changes = [(c.action.value, (c.new or c.old or vassal()).name) for c in diff(before, after)]
    assert changes == [("-", "b.ini"), ("-", "z.ini"), ("+", "a.ini"), ("+", "y.ini")]


def test_the_same_name_of_another_monitor_is_another_vassal() -> None:
    other = VassalPlan(monitor="/w", name="a.ini", launch=Launch(argv=("/u",), cwd="/w"))
    assert [c.action for c in diff((PLAIN,), (PLAIN, wanted(other)))] == [Action.SPAWN]


def test_plans_are_compared_without_stamps() -> None:
    before, after = Plan(vassals=(vassal(),)), Plan(vassals=(vassal(text="y"),))
    assert [change.reason for change in plan_diff(before, after)] == [Reason.CHANGED]
    assert plan_diff(before, before) == ()
