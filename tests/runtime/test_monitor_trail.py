"""Which directory entries decide where a path leads."""

import os
from pathlib import Path

from emperor.runtime.monitors.trail import EVERY_NAME, Steps, trail


def real(path: Path) -> str:
    return os.path.realpath(path)


def test_a_plain_file_is_its_own_only_step(tmp_path: Path) -> None:
    (tmp_path / "a.ini").touch()
    assert trail(str(tmp_path / "a.ini")) == ((real(tmp_path), "a.ini"),)
    assert trail("a.ini", start=str(tmp_path)) == ((str(tmp_path), "a.ini"),)


def test_every_link_on_the_way_is_a_step(tmp_path: Path) -> None:
    base = real(tmp_path)
    for name in ("vassals", "releases", "releases/2", "releases/2/conf"):
        os.mkdir(f"{base}/{name}")
    Path(f"{base}/releases/2/conf/app.ini").touch()
    os.symlink("releases/2", f"{base}/current")
    os.symlink("../current/conf/app.ini", f"{base}/vassals/a.ini")
    assert trail("a.ini", start=f"{base}/vassals") == (
        (f"{base}/vassals", "a.ini"),
        (base, "current"),
        (f"{base}/releases/2/conf", "app.ini"),
    )


def test_what_is_missing_ends_the_trail(tmp_path: Path) -> None:
    base = real(tmp_path)
    assert trail(f"{base}/no/such/file") == ((base, "no"),)
    os.symlink("gone/x", f"{base}/link")
    assert trail(f"{base}/link") == ((base, "link"), (base, "gone"))


def test_a_file_where_a_directory_is_wanted_ends_it_too(tmp_path: Path) -> None:
    base = real(tmp_path)
    Path(f"{base}/file").touch()
    assert trail(f"{base}/file/below") == ((base, "file"),)


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    base = real(tmp_path)
    os.symlink("b", f"{base}/a")
    os.symlink("a", f"{base}/b")
    assert trail(f"{base}/a") == ((base, "a"), (base, "b"))


def test_the_root_has_no_steps() -> None:
    assert trail("/") == ()


def test_a_directory_is_watched_as_long_as_somebody_cares() -> None:
    steps = Steps()
    assert steps.put("one", [("/d", "a"), ("/e", "x")]).added == ("/d", "/e")
    assert steps.put("two", [("/d", "a")]).added == ()
    assert steps.keys("/d", "a") == ("one", "two")
    assert steps.put("one", [("/d", "b")]).dropped == ("/e",)
    assert steps.keys("/d", "a") == ("two",)
    assert steps.put("two", ()).dropped == ()
    assert steps.put("one", ()).dropped == ("/d",)
    assert steps.directories() == ()


def test_one_key_may_move_within_a_directory() -> None:
    steps = Steps()
    steps.put("one", [("/d", "a")])
    turnover = steps.put("one", [("/d", "b")])
    assert (turnover.added, turnover.dropped) == ((), ())


def test_a_step_may_stand_for_every_name() -> None:
    steps = Steps()
    steps.put("one", [("/d", EVERY_NAME)])
    steps.put("two", [("/d", "a")])
    assert steps.keys("/d", "a") == ("two", "one")
    assert steps.keys("/d", "b") == ("one",)


def test_a_lost_directory_is_new_when_it_is_needed_again() -> None:
    steps = Steps()
    steps.put("one", [("/d", "a"), ("/e", "x")])
    assert steps.lose("/d") == ("one",)
    assert "/d" not in steps
    assert steps.put("one", [("/d", "a"), ("/e", "x")]).added == ("/d",)
    assert steps.lose("/nowhere") == ()
