"""The examples of programs do what their page says, each with the real server."""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.e2e.daemon import Daemon, reign
from tests.e2e.programs import (
    A_TENANT,
    EXAMPLES,
    Yard,
    needed,
    needed_server,
    ready,
    real,
    until,
    yard,
)
from tests.e2e.sites import free_port, get
from tests.support.marks import needs_root

pytestmark = pytest.mark.process

#: A vassal's file and its address, in a row of the page's table.
ROW = re.compile(
    r"^\| `vassals/(\S+)` +\| (?:`http://(127\.0\.0\.1:\d+)/`|files)", re.MULTILINE
)

#: What each says; the script works on files.
GREETINGS = {
    "gunicorn.ini": "Hello from gunicorn, process ",
    "uvicorn.ini": "Hello from uvicorn, process ",
    "nginx.ini": "Hello from nginx\n",
    "node.ini": "Hello from Node, process ",
    "notify.ini": "Hello from a few lines of Python\n",
    "worker.ini": None,
}


def page() -> dict[str, str]:
    """The vassals that the page names, and where they answer."""
    with open(f"{EXAMPLES}/README.md", encoding="utf-8") as file:
        return dict(ROW.findall(file.read()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A copy of the examples in a yard; ``addresses`` are free ones."""

    place: Yard
    addresses: dict[str, str]

    def text(self, name: str) -> str:
        """What is in a file."""
        with open(f"{self.place.root}/{name}", encoding="utf-8") as file:
            return file.read()

    def is_up(self, name: str) -> bool:
        """Whether it answers: nginx opens its own socket, some time after its start."""
        try:
            return GREETINGS[name] is None or bool(get(self.addresses[name]))
        except ConnectionError:
            return False


@pytest.fixture
def copy() -> Iterator[Copy]:
    with yard() as place:
        shutil.copytree(EXAMPLES, place.root, dirs_exist_ok=True)
        found = Copy(
            place=place,
            addresses={
                name: f"127.0.0.1:{free_port()}" for name, where in page().items() if where
            },
        )
        for name, address in found.addresses.items():
            for file in ("nginx.conf", f"vassals/{name}"):
                place.write(file, found.text(file).replace(page()[name], address))
        yield found


def need_everything() -> None:
    for program in ("gunicorn", "uvicorn"):
        needed_server(program)
    needed("nginx", "Debian: nginx-light")
    needed("node", "Debian: nodejs")


def serve(copy: Copy, daemon: Daemon, name: str) -> None:
    """See that an example does what it is for."""
    until(lambda: copy.is_up(name), daemon)
    greeting = GREETINGS[name]
    if greeting is not None:
        assert get(copy.addresses[name]).startswith(greeting), f"{name}\n{daemon}"
        return
    copy.place.write("run/one.job", "hello\n")
    done = f"{copy.place.root}/run/one.done"
    until(lambda: os.path.exists(done), daemon)
    assert copy.text("run/one.done") == "HELLO\n"
    os.unlink(done)


def test_the_page_names_every_example() -> None:
    assert set(page()) == set(os.listdir(f"{EXAMPLES}/vassals")) == set(GREETINGS)
    for name, where in page().items():
        if where and name != "nginx.ini":
            with open(f"{EXAMPLES}/vassals/{name}", encoding="utf-8") as file:
                assert f"curl http://{where}/" in file.read()


def test_every_example_serves_and_reloads(copy: Copy) -> None:
    need_everything()
    place = copy.place
    with reign(*place.words, environment=real(place.root)) as daemon:
        pids = {name: ready(daemon, name) for name in GREETINGS}
        for name in GREETINGS:
            serve(copy, daemon, name)
        done = place.control("reload", "--wait", "--all")
        assert done.code == 0, f"{done}\n{daemon}"
        for name in GREETINGS:
            serve(copy, daemon, name)
            assert daemon.said(name, "warning", "error") == []
            pid = place.control.view(name)["pid"]
            assert (pid == pids[name]) is (name == "nginx.ini")
        assert daemon.stop() < 10
    assert "stopping" in copy.text("run/worker.log")


@needs_root
def test_nginx_as_an_ordinary_user(copy: Copy) -> None:
    needed("nginx", "Debian: nginx-light")
    place = copy.place
    os.chown(f"{place.root}/run", A_TENANT, A_TENANT)
    place.put(
        "nginx.ini",
        ("vassal-exec", "nginx -p run -c ../nginx.conf -e stderr -g 'daemon off;'"),
        ("chdir", place.root),
        ("uid", str(A_TENANT)),
        ("gid", str(A_TENANT)),
        ("vassal-stop-signal", "QUIT"),
    )
    for name in set(GREETINGS) - {"nginx.ini"}:
        os.unlink(place.path(name))
    with reign(*place.words, environment=real(place.root)) as daemon:
        ready(daemon, "nginx.ini")
        until(lambda: copy.is_up("nginx.ini"), daemon)
        assert os.stat(f"{place.root}/run/nginx.pid").st_uid == A_TENANT
        os.unlink(place.path("nginx.ini"))
        daemon.expect("is gone (exit code 0)", "nginx.ini")


def test_uvicorn_by_its_own_command(copy: Copy) -> None:
    needed_server("uvicorn")
    place = copy.place
    place.put(
        "plain.ini",
        ("vassal-exec", "uvicorn --fd 3 hello:asgi"),
        ("chdir", place.root),
        ("socket", place.socket("plain.ini")),
        ("vassal-ready-after", "0.1"),
    )
    path = place.path("plain.ini")
    with reign("--emperor", path, environment=real(place.root)) as daemon:
        ready(daemon, path)
        assert get(place.socket("plain.ini")).startswith("Hello from uvicorn")
