"""Real files and real change events: what a watchtower tells, and what it does not."""

import asyncio
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO

import pytest

from emperor.runtime.monitors import watch
from emperor.runtime.monitors.scan import is_held
from emperor.runtime.monitors.settings import Settings
from emperor.runtime.monitors.sightings import (
    Appeared,
    AttributesChanged,
    Changed,
    Event,
    Problem,
    Vanished,
)
from emperor.runtime.monitors.sources import parse_source
from emperor.runtime.monitors.watchtower import Watchtower

pytestmark = pytest.mark.process
DEADLINE_SECONDS = 20


class Post:
    """A watchtower, what it has told, and a way to wait for more."""

    def __init__(self, sources: tuple[str, ...], settings: Settings) -> None:
        self.events: list[Event] = []
        self.touched: list[str] = []
        self._news = asyncio.Event()
        self.tower = Watchtower(
            loop=asyncio.get_running_loop(),
            sources=[
                parse_source(text, cwd=os.getcwd(), is_directory=os.path.isdir)
                for text in sources
            ],
            settings=settings,
            on_event=self._on_event,
            on_touched=self._on_touched,
        )

    def _on_event(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    def _on_touched(self, key: str) -> None:
        self.touched.append(key)
        self._news.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def hears(self, *expected: str) -> None:
        """Wait for these events, and see that there were no others before them."""
        await self.until(lambda: len(self.events) >= len(expected))
        assert self.told() == list(expected)
        self.events.clear()

    def told(self) -> list[str]:
        return [brief(event) for event in self.events]


def brief(event: Event) -> str:
    match event:
        case Appeared(sighting=sighting):
            return f"+{sighting.name}"
        case Changed(sighting=sighting):
            return f"~{sighting.name}"
        case AttributesChanged(sighting=sighting):
            return f"%{sighting.name}"
        case Vanished(name=name):
            return f"-{name}"
        case Problem(path=path):
            return f"!{os.path.basename(path)}"


@asynccontextmanager
async def watching(*sources: str, settings: Settings | None = None) -> AsyncIterator[Post]:
    post = Post(sources, settings or Settings(settle_seconds=0.1))
    try:
        post.tower.start()
        yield post
    finally:
        post.tower.close()


@pytest.fixture
def base(tmp_path: Path) -> str:
    return os.path.realpath(tmp_path)


def write(path: str, text: str = "[uwsgi]\n") -> None:
    Path(path).write_text(text)


@contextmanager
def being_written(path: str, text: str, mode: str = "w") -> Iterator[IO[str]]:
    with open(path, mode) as opened:
        opened.write(text)
        opened.flush()
        yield opened


def replace_by_rename(path: str, text: str) -> None:
    write(f"{path}.new", text)
    os.rename(f"{path}.new", path)


def vassals(base: str, *names: str) -> str:
    directory = f"{base}/vassals"
    os.makedirs(directory, exist_ok=True)
    for name in names:
        write(f"{directory}/{name}")
    return directory


def test_a_start_tells_of_everything_in_order(base: str) -> None:
    async def story() -> None:
        directory = vassals(base, "b.ini", "a.xml", "B.yml", "x.skel", "y.conf", ".h.json")
        os.mkdir(f"{directory}/d.ini")
        os.mkfifo(f"{directory}/f.ini")
        os.symlink("nowhere.ini", f"{directory}/dangling.ini")
        write(f"{directory}/{'n' * 251}.ini")
        settings = Settings(extra_extensions=(".conf",))
        async with watching(directory, settings=settings) as post:
            problems = [e for e in post.events if isinstance(e, Problem)]
            assert sorted(os.path.basename(p.path)[:5] for p in problems) == [
                "d.ini",
                "f.ini",
                "nnnnn",
            ]
            assert all(p.path in p.message for p in problems)
            names = [e.sighting for e in post.events if isinstance(e, Appeared)]
            assert [s.name for s in names] == [".h.json", "B.yml", "a.xml", "b.ini", "y.conf"]
            status = os.stat(f"{directory}/b.ini")
            assert (names[3].path, names[3].directory) == (f"{directory}/b.ini", directory)
            assert names[3].stamp.mtime_ns == status.st_mtime_ns
            post.events.clear()
            post.tower.rescan()
            write(f"{directory}/z.ini")
            await post.hears("+z.ini")

    asyncio.run(story())


def test_each_way_to_change_a_file_is_one_event(base: str) -> None:
    async def story() -> None:
        directory = vassals(base, "a.ini")
        path = f"{directory}/a.ini"
        async with watching(f"dir://{directory}") as post:
            await post.hears("+a.ini")
            os.utime(path)
            await post.hears("~a.ini")
            os.utime(path, (1, 1))
            await post.hears("~a.ini")
            write(path, "longer than before")
            await post.hears("~a.ini")
            with being_written(path, "more", "a"):
                pass
            await post.hears("~a.ini")
            replace_by_rename(path, "again")
            await post.hears("~a.ini")
            os.chmod(path, 0o600)
            await post.hears("%a.ini")
            os.unlink(path)
            write(path, "an editor, or git checkout")
            await post.hears("~a.ini")
            os.unlink(path)
            await post.hears("-a.ini")
            write(f"{base}/spare")
            os.rename(f"{base}/spare", path)
            await post.hears("+a.ini")

    asyncio.run(story())


def test_what_somebody_still_writes_is_waited_for(base: str) -> None:
    async def story() -> None:
        directory = vassals(base)
        with being_written(f"{directory}/before.ini", "half") as before:
            async with watching(directory) as post:
                write(f"{directory}/other.ini")
                await post.hears("+other.ini")
                with being_written(f"{directory}/after.ini", "half") as after:
                    os.utime(f"{directory}/other.ini")
                    await post.hears("~other.ini")
                    after.write("whole")
                await post.hears("+after.ini")
                before.write("whole")
                before.close()
                await post.until(lambda: post.events)
                (event,) = post.events
                assert isinstance(event, Appeared)
                assert event.sighting.stamp.size == len("halfwhole")

    asyncio.run(story())


def test_a_writer_that_never_ends_is_not_waited_for_for_ever(base: str) -> None:
    async def story() -> None:
        directory = vassals(base)
        settings = Settings(settle_seconds=0.05, writing_seconds=0.3)
        async with watching(directory, settings=settings) as post:
            with being_written(f"{directory}/a.ini", "for ever"):
                await post.hears("+a.ini")

    asyncio.run(story())


def test_a_hard_link_comes_into_being_whole(base: str) -> None:
    async def story() -> None:
        directory = vassals(base)
        write(f"{base}/source")
        # Were it taken for a file that is written, it would come after the settle time only.
        async with watching(directory, settings=Settings(settle_seconds=3600)) as post:
            os.link(f"{base}/source", f"{directory}/a.ini")
            await post.hears("+a.ini")

    asyncio.run(story())


def test_a_probe_sees_writers_and_touches_nothing_else(base: str) -> None:
    write(f"{base}/a")
    os.mkfifo(f"{base}/fifo")
    assert is_held(f"{base}/a") is False
    with open(f"{base}/a"):
        assert is_held(f"{base}/a") is False
    with open(f"{base}/a", "a"):
        assert is_held(f"{base}/a") is True
    assert is_held(f"{base}/fifo") is None
    assert is_held("/dev/null") is None
    assert is_held(f"{base}/missing") is None


def test_changes_behind_links_are_noticed(base: str) -> None:
    async def story() -> None:
        directory = vassals(base)
        for release in ("1", "2"):
            os.makedirs(f"{base}/releases/{release}")
            write(f"{base}/releases/{release}/app.txt", f"release {release}")
        os.symlink("releases/1", f"{base}/current")
        os.symlink("../current/app.txt", f"{directory}/a.ini")
        async with watching(directory) as post:
            await post.hears("+a.ini")
            write(f"{base}/releases/1/app.txt", "written through")
            await post.hears("~a.ini")
            replace_by_rename(f"{base}/releases/1/app.txt", "renamed over")
            await post.hears("~a.ini")
            os.utime(f"{directory}/a.ini")
            await post.hears("~a.ini")
            os.symlink("releases/2", f"{base}/next")
            os.rename(f"{base}/next", f"{base}/current")
            await post.hears("~a.ini")
            # The old release is of no interest any more, the new one is.
            write(f"{base}/releases/1/app.txt", "nobody reads this")
            os.utime(f"{base}/releases/2/app.txt")
            await post.hears("~a.ini")
            os.symlink(f"{base}/releases/1/app.txt", f"{directory}/b")
            os.rename(f"{directory}/b", f"{directory}/a.ini")
            await post.hears("~a.ini")
            os.unlink(f"{base}/releases/1/app.txt")
            await post.hears("-a.ini")
            write(f"{base}/releases/1/app.txt", "a dangling link finds its target")
            await post.hears("+a.ini")
            shutil.rmtree(f"{base}/releases/1")
            await post.hears("-a.ini")
            os.mkdir(f"{base}/releases/1")
            write(f"{base}/releases/1/app.txt")
            await post.hears("+a.ini")

    asyncio.run(story())


def test_a_directory_behind_a_link_may_be_replaced(base: str) -> None:
    async def story() -> None:
        directory = vassals(base)
        os.mkdir(f"{base}/conf")
        os.mkdir(f"{base}/conf.new")
        write(f"{base}/conf/app.txt")
        write(f"{base}/conf.new/app.txt", "another file")
        os.symlink("../conf/app.txt", f"{directory}/a.ini")
        async with watching(directory) as post:
            await post.hears("+a.ini")
            os.rename(f"{base}/conf", f"{base}/conf.old")
            os.rename(f"{base}/conf.new", f"{base}/conf")
            await post.hears("~a.ini")
            os.utime(f"{base}/conf/app.txt")
            await post.hears("~a.ini")

    asyncio.run(story())


def test_one_skeleton_reloads_all_its_links(base: str) -> None:
    async def story() -> None:
        directory = vassals(base, "skeleton.skel")
        names = [f"v{number}.ini" for number in range(3)]
        for name in names:
            os.symlink("skeleton.skel", f"{directory}/{name}")
        async with watching(directory) as post:
            await post.hears(*(f"+{name}" for name in names))
            os.utime(f"{directory}/skeleton.skel")
            await post.hears(*(f"~{name}" for name in names))

    asyncio.run(story())


def test_nofollow_looks_at_the_link_alone(base: str) -> None:
    async def story() -> None:
        directory = vassals(base, "skeleton.skel")
        for name in ("a.ini", "b.ini"):
            os.symlink("skeleton.skel", f"{directory}/{name}")
        async with watching(directory, settings=Settings(nofollow=True)) as post:
            await post.hears("+a.ini", "+b.ini")
            os.utime(f"{directory}/skeleton.skel")
            os.utime(f"{directory}/b.ini", follow_symlinks=False)
            await post.hears("~b.ini")

    asyncio.run(story())


def test_nofollow_takes_a_link_for_the_vassal_wherever_it_leads(base: str) -> None:
    async def story() -> None:
        directory = vassals(base, "skeleton.skel")
        link, target = f"{directory}/a.ini", f"{directory}/skeleton.skel"
        os.symlink("skeleton.skel", link)
        settings = Settings(settle_seconds=0.02, nofollow=True)
        async with watching(directory, f"{directory}/*.ini", settings=settings) as post:
            await post.hears("+a.ini", f"+{link}")
            os.unlink(target)
            os.mkdir(target)
            post.tower.rescan()
            os.utime(link, follow_symlinks=False)
            await post.hears("~a.ini", f"~{link}")
            os.symlink("nowhere", f"{directory}/new")
            os.rename(f"{directory}/new", link)
            await post.hears("~a.ini", f"~{link}")
            os.lchown(link, os.getuid(), os.getgid())
            await post.hears("%a.ini", f"%{link}")
            os.unlink(link)
            await post.hears("-a.ini", f"-{link}")

    asyncio.run(story())


def test_the_directory_may_go_and_come(base: str) -> None:
    async def story() -> None:
        directory = vassals(base, "a.ini")
        async with watching(directory) as post:
            await post.hears("+a.ini")
            os.rename(directory, f"{base}/elsewhere")
            await post.hears("!vassals", "-a.ini")
            os.rename(f"{base}/elsewhere", directory)
            await post.hears("+a.ini")
            shutil.rmtree(directory)
            await post.hears("!vassals", "-a.ini")
            vassals(base, "b.ini")
            await post.hears("+b.ini")
            os.utime(f"{directory}/b.ini")
            await post.hears("~b.ini")

    asyncio.run(story())


def test_the_directory_may_be_away_for_a_moment_or_be_replaced(base: str) -> None:
    async def story() -> None:
        directory = vassals(base, "a.ini")
        async with watching(directory) as post:
            await post.hears("+a.ini")
            os.rename(directory, f"{base}/elsewhere")
            os.rename(f"{base}/elsewhere", directory)
            write(f"{directory}/b.ini")
            await post.hears("+b.ini")
            shutil.copytree(directory, f"{base}/copy")
            os.rename(directory, f"{base}/elsewhere")
            os.rename(f"{base}/copy", directory)
            await post.until(lambda: len(post.events) == 2)
            assert sorted(post.told()) == ["~a.ini", "~b.ini"]
            post.events.clear()
            os.utime(f"{directory}/a.ini")
            await post.hears("~a.ini")

    asyncio.run(story())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("mode", [0o000, 0o311, 0o600])
def test_what_cannot_be_read_is_kept(base: str, mode: int) -> None:
    async def story() -> None:
        directory = vassals(base, "a.ini", "b.ini")
        settings = Settings(settle_seconds=0.05, frequency_seconds=0.05)
        async with watching(directory, settings=settings) as post:
            await post.hears("+a.ini", "+b.ini")
            os.chmod(directory, mode)
            await post.until(lambda: post.events)
            os.chmod(directory, 0o755)
            write(f"{directory}/c.ini")
            await post.until(lambda: "+c.ini" in post.told())
            assert set(post.told()) <= {"!vassals", "+c.ini"}

    asyncio.run(story())


def test_a_directory_that_a_link_chooses_may_be_switched(base: str) -> None:
    async def story() -> None:
        for name in ("one", "two"):
            os.mkdir(f"{base}/{name}")
            write(f"{base}/{name}/a.ini")
        os.symlink("one", f"{base}/chosen")
        async with watching(f"dir://{base}/chosen") as post:
            (event,) = post.events
            assert isinstance(event, Appeared)
            assert event.sighting.directory == f"{base}/one"
            os.symlink("two", f"{base}/next")
            os.rename(f"{base}/next", f"{base}/chosen")
            await post.until(lambda: len(post.events) == 2)
            assert isinstance(changed := post.events[1], Changed)
            assert changed.sighting.path == f"{base}/two/a.ini"

    asyncio.run(story())


def test_a_directory_whose_parents_are_missing_is_waited_for(base: str) -> None:
    async def story() -> None:
        async with watching(f"dir://{base}/not/yet/there") as post:
            await post.hears("!there")
            os.makedirs(f"{base}/not/yet/there")
            write(f"{base}/not/yet/there/a.ini")
            await post.hears("+a.ini")

    asyncio.run(story())


def test_a_glob_follows_directories_that_come_and_go(base: str) -> None:
    async def story() -> None:
        os.mkdir(f"{base}/app1")
        write(f"{base}/app1/x.ini")
        one, two = f"{base}/app1/x.ini", f"{base}/app2/x.ini"
        async with watching(f"glob://{base}/app*/*.ini") as post:
            (event,) = post.events
            assert isinstance(event, Appeared)
            assert (event.sighting.name, event.sighting.directory) == (one, None)
            post.events.clear()
            os.mkdir(f"{base}/app2")
            write(two)
            await post.hears(f"+{two}")
            os.utime(two)
            await post.hears(f"~{two}")
            write(f"{base}/app2/.hidden.ini")
            shutil.rmtree(f"{base}/app1")
            await post.hears(f"-{one}")
            os.rename(f"{base}/app2", f"{base}/other")
            await post.hears(f"-{two}")

    asyncio.run(story())


def test_a_glob_reaches_through_links_and_fixed_names(base: str) -> None:
    async def story() -> None:
        os.makedirs(f"{base}/v1")
        os.makedirs(f"{base}/v2/conf")
        os.mkdir(f"{base}/sites")
        write(f"{base}/v2/conf/x.ini")
        os.symlink("../v1", f"{base}/sites/s")
        name = f"{base}/sites/s/conf/x.ini"
        async with watching(f"{base}/sites/*/conf/x.ini") as post:
            await post.hears()
            os.mkdir(f"{base}/v1/conf")
            write(f"{base}/v1/conf/x.ini")
            await post.hears(f"+{name}")
            os.symlink("../v2", f"{base}/sites/new")
            os.rename(f"{base}/sites/new", f"{base}/sites/s")
            await post.hears(f"~{name}")
            os.utime(f"{base}/v2/conf/x.ini")
            await post.hears(f"~{name}")

    asyncio.run(story())


def test_relative_globs_name_vassals_as_they_are_written(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        vassals(base, "a.ini")
        async with watching("vassals/a.*") as post:
            (event,) = post.events
            assert isinstance(event, Appeared)
            assert event.sighting.name == "vassals/a.ini"
            assert event.sighting.path == f"{base}/vassals/a.ini"

    monkeypatch.chdir(base)
    asyncio.run(story())


def test_a_bare_path_that_is_nothing_yet_is_explained(base: str) -> None:
    async def story() -> None:
        async with watching(f"{base}/vassals") as post:
            await post.hears("!vassals")

    asyncio.run(story())


def queue_limit() -> int:
    return int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


def test_lost_events_are_made_up_for(base: str) -> None:
    async def story() -> None:
        directory = vassals(base, "a.ini", "b.ini")
        limit = queue_limit()
        async with watching(directory) as post:
            await post.hears("+a.ini", "+b.ini")
            for _ in range(limit // 2 + 1):  # equal events in a row would be one
                os.utime(f"{directory}/a.ini")
                os.utime(f"{directory}/b.ini")
            write(f"{directory}/unheard.ini")
            await post.until(lambda: "+unheard.ini" in post.told())
            post.events.clear()
            write(f"{directory}/heard.ini")
            await post.hears("+heard.ini")

    asyncio.run(story())


@contextmanager
def no_new_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open("/dev/null") as lowest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno(), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_events_everything_is_looked_at_often(base: str) -> None:
    async def story() -> None:
        directory = vassals(base)
        settings = Settings(settle_seconds=0.02, frequency_seconds=0.05)
        with no_new_descriptors():
            post = Post((directory,), settings)
        try:
            post.tower.start()
            await post.hears("!vassals")
            os.mkdir(f"{base}/skel")
            write(f"{base}/skel/x.skel")
            os.symlink("../skel/x.skel", f"{directory}/a.ini")
            await post.hears("+a.ini")
            replace_by_rename(f"{base}/skel/x.skel", "something else")
            await post.hears("~a.ini")
            os.unlink(f"{directory}/a.ini")
            await post.hears("-a.ini")
            post.tower.watch_paths("key", [f"{base}/part"])
            write(f"{base}/part")
            await post.until(lambda: post.touched)
        finally:
            post.tower.close()

    asyncio.run(story())


def test_where_other_hosts_may_write_everything_is_looked_at_often(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        directory = vassals(base, "a.ini")
        os.link(f"{directory}/a.ini", f"{base}/same")
        settings = Settings(settle_seconds=0.02, frequency_seconds=0.05)
        # There is no such file system here. A write through another name of the file sends no
        # events either.
        monkeypatch.setattr(watch, "remote_file_system", lambda path: "nfs")
        async with watching(directory, settings=settings) as post:
            await post.hears("+a.ini", "!vassals")
            write(f"{base}/same", "by another host")
            await post.hears("~a.ini")

    asyncio.run(story())


#: A watchtower that may watch no more than so many directories.
FEW_WATCHES = """
import asyncio, os, sys
from tests.processes.test_monitor_watch import *

async def story(base):
    with open("/proc/sys/user/max_inotify_watches", "w") as limit:
        limit.write("3")
    settings = Settings(settle_seconds=0.02, frequency_seconds=0.05)
    os.makedirs(f"{base}/sites/a")
    write(f"{base}/sites/a/x.ini")
    async with watching(f"{base}/sites/*/x.ini", settings=settings) as post:
        await post.hears(f"+{base}/sites/a/x.ini")
        for site in "bcd":
            os.mkdir(f"{base}/sites/{site}")
            write(f"{base}/sites/{site}/x.ini")
        await post.until(lambda: len(post.events) == 4)
        assert sorted(told[0] for told in post.told()) == ["!", "+", "+", "+"], post.told()
        (problem,) = (e for e in post.events if isinstance(e, Problem))
        assert "raise fs.inotify.max_user_watches; looked at every 0.05 sec" in problem.message
        for site in "abcd":
            path = f"{base}/sites/{site}/x.ini"
            post.events.clear()
            os.utime(path)
            await post.hears(f"~{path}")
        os.unlink(f"{base}/sites/d/x.ini")
        await post.hears(f"-{base}/sites/d/x.ini")

asyncio.run(story(sys.argv[1]))
"""


def test_at_the_limit_of_watches_the_rest_is_looked_at_often(base: str) -> None:
    # The limit of a user namespace is its own.
    alone = ["unshare", "--user", "--map-root-user", "--"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("user namespaces are not to be had")
    done = subprocess.run(
        [*alone, sys.executable, "-c", FEW_WATCHES, base],
        capture_output=True,
        check=False,
        cwd=Path(__file__).parents[2],
        timeout=2 * DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_paths_of_the_controller_are_watched(base: str) -> None:
    async def story() -> None:
        directory = vassals(base)
        write(f"{base}/there")
        os.mkdir(f"{base}/many")
        async with watching(directory) as post:

            async def touches(*keys: str) -> None:
                await post.until(lambda: len(post.touched) >= len(keys))
                assert post.touched == list(keys)
                post.touched.clear()

            watch = post.tower.watch_paths
            watch("one", [f"{base}/there", f"{base}/not/yet"])
            watch("two", [f"{base}/there"])
            watch("three", [f"{base}/many"])
            write(f"{base}/unrelated")
            os.utime(f"{base}/there")
            await touches("one", "two")
            os.mkdir(f"{base}/not")
            write(f"{base}/not/yet")
            await touches("one")
            os.unlink(f"{base}/not/yet")
            await touches("one")
            write(f"{base}/many/new")
            await touches("three")
            post.tower.unwatch_paths("one")
            write(f"{base}/not/yet")
            replace_by_rename(f"{base}/there", "moved over")
            await touches("two")

    asyncio.run(story())


def test_two_monitors_may_share_a_directory_and_nothing_stays_open(base: str) -> None:
    async def story() -> None:
        directory = vassals(base, "a.ini")
        before = len(os.listdir("/proc/self/fd"))
        async with watching(directory, f"{directory}/*.ini", directory) as post:
            await post.hears("+a.ini", f"+{directory}/a.ini")
            os.utime(f"{directory}/a.ini")
            await post.until(lambda: len(post.events) == 2)
            assert {
                event.sighting.monitor for event in post.events if isinstance(event, Changed)
            } == {
                directory,
                f"{directory}/*.ini",
            }
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(story())
