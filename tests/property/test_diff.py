"""Doing what the diff says turns what runs into what is wanted, and touches nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from emperor.compiler.plan import Launch, Policies, VassalPlan
from emperor.runtime.diff import Action, Wanted, diff

names = st.sampled_from(("a.ini", "b.ini", "c.xml", "d.json"))
specs = st.builds(
    lambda monitor, name, section, text, cwd, has_master: VassalPlan(
        monitor=monitor,
        name=name,
        section=section,
        delivered=(text,),
        launch=Launch(argv=("/usr/bin/uwsgi",), cwd=cwd),
        policies=Policies(has_master=has_master),
    ),
    st.sampled_from(("/v", "glob:///w/*.ini")),
    names,
    st.none() | st.sampled_from(("web", "jobs")),
    st.sampled_from(("x", "y")),
    st.sampled_from(("/v", "/w")),
    st.booleans(),
)
states = st.lists(
    st.builds(lambda s, t: Wanted(spec=s, stamp=(t, 1, 1)), specs, st.integers(0, 2)),
    max_size=8,
    unique_by=lambda item: item.spec.key,
).map(tuple)

Key = tuple[str, str, str]


def applied(running: tuple[Wanted, ...], wanted: tuple[Wanted, ...]) -> dict[Key, VassalPlan]:
    """What runs once the changes were made."""
    now = {item.spec.key: item.spec for item in running}
    for change in diff(running, wanted):
        if change.action is Action.STOP:
            assert change.old is not None
            del now[change.old.key]
            continue
        assert change.new is not None
        assert (change.new.key in now) == (change.action is not Action.SPAWN)
        now[change.new.key] = change.new
    return now


@given(running=states, wanted=states)
def test_applying_a_diff_gives_what_is_wanted(
    running: tuple[Wanted, ...], wanted: tuple[Wanted, ...]
) -> None:
    now = applied(running, wanted)
    assert {k: spec.digest for k, spec in now.items()} == {
        item.spec.key: item.spec.digest for item in wanted
    }


@given(state=states)
def test_what_is_as_wanted_is_never_touched(state: tuple[Wanted, ...]) -> None:
    assert diff(state, tuple(reversed(state))) == ()


@given(running=states, wanted=states)
def test_no_vassal_is_changed_twice(
    running: tuple[Wanted, ...], wanted: tuple[Wanted, ...]
) -> None:
    keys = [(change.new or change.old) for change in diff(running, wanted)]
    assert len({spec.key for spec in keys if spec}) == len(keys)
