"""Massive hosting as ``examples/massive`` has it: routers and sites, all of them vassals."""

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.e2e.daemon import Daemon, eventually, reign, state_of
from tests.e2e.sites import free_port, town
from tests.support.uwsgi import Server

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

EXAMPLES = os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "examples"
)

#: The ports of the example; the tests take others.
SUBSCRIBED, CACHED = "127.0.0.1:8010", "127.0.0.1:8011"
FRONTS = (SUBSCRIBED, CACHED)

SITES = ("blog.ini", "shop.ini", "wiki.ini")
ROUTERS = ("router.ini", "cached-router.ini")

#: A request and the beginning of its answer, on the page.
CURL = re.compile(r"^curl -H 'Host: (\S+)' http://(127\.0\.0\.1:\d+)(/\S*) +# (.*)$", re.M)

#: What a router answers for a host that it does not know, or that does not answer.
NOTHING = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Massive:
    """The example at a place of its own, and the daemon that governs it."""

    root: str
    ports: dict[str, str]
    daemon: Daemon

    def vassal(self, name: str) -> str:
        """Where a vassal's file is."""
        return f"{self.root}/vassals/{name}"

    def ask(self, host: str, front: str = SUBSCRIBED, path: str = "/") -> str:
        """What a router answers for a host; NOTHING if it closes the connection instead."""
        connection = http.client.HTTPConnection(self.ports[front], timeout=10.0)
        try:
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            body = answer.read().decode()
        except (http.client.RemoteDisconnected, ConnectionError):
            return NOTHING
        finally:
            connection.close()
        assert answer.status == 200, (answer.status, body)
        return body.rstrip("\n")

    def answers(self, host: str, requests: int) -> Counter[str]:
        """Who answers so many requests, and how often."""
        return Counter(self.ask(host) for _ in range(requests))

    def serves(self, host: str, front: str, text: str) -> None:
        """Wait until a router's answer for a host has this text."""
        eventually(
            lambda: text in self.ask(host, front),
            complaint=lambda: f"no {text!r} from {host} by {front}\n{self.daemon}",
        )

    def forgets(self, host: str, front: str) -> None:
        """Wait until a router leads nowhere for a host."""
        eventually(
            lambda: self.ask(host, front) == NOTHING,
            complaint=lambda: f"{host} is served by {front}\n{self.daemon}",
        )

    def serves_all(self, *fronts: str) -> None:
        """Wait until these routers know every site."""
        for front in fronts:
            for name in SITES:
                site = name.removesuffix(".ini")
                self.serves(f"{site}.example", front, f"The {site}")

    def tell_cache(self, words: dict[str, str], value: bytes = b"") -> None:
        """Have the second router's cache changed, in the uwsgi protocol."""
        packet = b"".join(
            struct.pack("<H", len(text)) + text.encode()
            for pair in words.items()
            for text in pair
        )
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10.0)
            connection.connect(f"{self.root}/run/hosts.socket")
            connection.sendall(struct.pack("<BHB", 111, len(packet), 17) + packet + value)
            assert b"ok" in connection.recv(4096)


@contextlib.contextmanager
def copied(server: Server) -> Iterator[Massive]:
    """The example, with other ports, and everybody up; gone afterwards."""
    ports = {front: f"127.0.0.1:{free_port()}" for front in FRONTS}
    with town(server) as place:
        root = f"{place.root}/examples"
        # sockets are left in run/ where somebody has tried the example
        shutil.copytree(
            EXAMPLES, root, symlinks=True, ignore=shutil.ignore_patterns("*.socket")
        )
        emperor = f"{root}/massive/emperor.ini"
        with open(emperor, encoding="utf-8") as file:
            text = file.read()
        for front, port in ports.items():
            assert text.count(front) == 1
            text = text.replace(front, port)
        with open(emperor, "w", encoding="utf-8") as file:
            file.write(text)
        with reign(emperor, "--binary-path", server.path) as daemon:
            found = Massive(root=f"{root}/massive", ports=ports, daemon=daemon)
            for name in ROUTERS:
                daemon.spawned(name)
            for name in SITES:
                daemon.up(name)
            found.serves_all(*FRONTS)
            yield found


@pytest.fixture
def massive(each_server: Server) -> Iterator[Massive]:
    with copied(each_server) as found:
        yield found


def test_every_host_name_leads_to_its_site(massive: Massive) -> None:
    with open(f"{EXAMPLES}/massive/README.md", encoding="utf-8") as page:
        shown = CURL.findall(page.read().partition("## A new site")[0])
    assert {(host, front) for host, front, _, _ in shown} >= {
        *((f"{name.removesuffix('.ini')}.example", SUBSCRIBED) for name in SITES),
        ("shop.example", CACHED),
    }
    for host, front, path, text in shown:
        assert massive.ask(host, front, path) == text
    for front in FRONTS:
        assert massive.ask("nobody.example", front) == NOTHING
    for name in (*SITES, *ROUTERS):
        assert massive.daemon.said(name, "error") == []


def test_a_new_site_is_an_empty_file_and_then_a_link(massive: Massive) -> None:
    shutil.copytree(f"{massive.root}/sites/wiki", f"{massive.root}/sites/news")
    with open(massive.vassal("news.ini"), "x", encoding="utf-8"):
        pass
    massive.daemon.up("news.ini")
    for front in FRONTS:
        massive.serves("news.example", front, "workers: 1")
    os.symlink("../templates/large.ini", massive.vassal(".news.ini.new"))
    os.rename(massive.vassal(".news.ini.new"), massive.vassal("news.ini"))
    massive.daemon.reloaded("news.ini", "changed")
    for front in FRONTS:
        massive.serves("news.example", front, "workers: 2")


def test_a_touched_template_reloads_the_sites_that_are_links_to_it(
    massive: Massive,
) -> None:
    os.utime(f"{massive.root}/templates/large.ini")
    massive.daemon.reloaded("wiki.ini", "touched")
    massive.serves_all(*FRONTS)
    for name in ("blog.ini", "shop.ini"):
        assert massive.daemon.since(name) == []


def test_a_second_instance_shares_the_load_while_it_is_there(massive: Massive) -> None:
    assert massive.answers("blog.example", 20) == {"The blog, by blog": 20}
    with open(massive.vassal("blog-2.ini"), "w", encoding="utf-8") as file:
        file.write("[uwsgi]\nsite = blog\n")
    massive.daemon.up("blog-2.ini")
    massive.serves("blog.example", SUBSCRIBED, "by blog-2")
    assert massive.answers("blog.example", 20) == {
        "The blog, by blog": 10,
        "The blog, by blog-2": 10,
    }
    os.unlink(massive.vassal("blog-2.ini"))
    # its farewell comes before its end, and no request is lost on the way
    seen: Counter[str] = Counter()

    def is_alone() -> bool:
        answer = massive.answers("blog.example", 2)
        seen.update(answer)
        return answer == {"The blog, by blog": 2}

    eventually(is_alone)
    massive.daemon.gone("blog-2.ini")
    assert massive.answers("blog.example", 20) == {"The blog, by blog": 20}
    assert seen[NOTHING] == 0


def test_a_removed_site_gets_no_requests(massive: Massive) -> None:
    os.unlink(massive.vassal("shop.ini"))
    massive.daemon.expect("stopping", "shop.ini")
    for front in FRONTS:
        massive.forgets("shop.example", front)
    massive.daemon.gone("shop.ini")
    for front in FRONTS:
        assert massive.ask("shop.example", front) == NOTHING
        assert massive.ask("blog.example", front) == "The blog, by blog"
    with open(massive.vassal("shop.ini"), "x", encoding="utf-8"):
        pass
    massive.daemon.up("shop.ini")
    massive.serves_all(*FRONTS)


def test_anybody_may_write_into_the_cache(massive: Massive) -> None:
    alias = {"key": "alias.example", "cache": "hosts"}
    address = f"{massive.root}/run/blog.socket".encode()
    massive.tell_cache({"cmd": "set", "size": str(len(address)), **alias}, address)
    massive.serves("alias.example", CACHED, "The blog, by blog")
    assert massive.ask("alias.example", SUBSCRIBED) == NOTHING
    massive.tell_cache({"cmd": "del", **alias})
    massive.forgets("alias.example", CACHED)


def test_no_request_is_lost_while_a_site_reloads(massive: Massive) -> None:
    os.utime(massive.vassal("blog.ini"))
    seen: Counter[str] = Counter()

    def is_over() -> bool:
        seen.update(massive.ask("blog.example", front) for front in FRONTS)
        said = [line.message for line in massive.daemon.since("blog.ini")]
        return "accepts requests" in said

    eventually(is_over)
    assert set(seen) == {"The blog, by blog"}


def test_a_killed_site_is_served_again(massive: Massive) -> None:
    os.kill(spawned(massive, "shop.ini"), signal.SIGKILL)
    massive.daemon.up("shop.ini")
    massive.serves_all(*FRONTS)


@pytest.mark.parametrize(
    ("router", "front"), [("router.ini", SUBSCRIBED), ("cached-router.ini", CACHED)]
)
def test_a_killed_router_learns_its_sites_again(
    massive: Massive, router: str, front: str
) -> None:
    os.kill(spawned(massive, router), signal.SIGKILL)
    massive.daemon.spawned(router)
    massive.serves_all(*FRONTS)
    for name in SITES:
        assert massive.daemon.since(name) == []


def test_an_edited_router_is_reloaded(massive: Massive) -> None:
    pid = spawned(massive, "router.ini")
    gateways = [
        found for found in massive.daemon.family() if os.getpgid(found) == pid and found != pid
    ]
    assert len(gateways) == 2
    with open(massive.vassal("router.ini"), "a", encoding="utf-8") as file:
        file.write("http-timeout = 20\n")
    massive.daemon.expect("changed: reloading", "router.ini")
    eventually(lambda: not any(map(state_of, gateways)))
    massive.serves_all(*FRONTS)
    assert state_of(pid) != ""
    assert massive.daemon.said("router.ini", "warning", "error") == []


def spawned(massive: Massive, name: str) -> int:
    """The pid of the vassal's last process."""
    said = [text for text in massive.daemon.said(name) if text.startswith("spawned (pid ")]
    return int(said[-1].removeprefix("spawned (pid ").removesuffix(")"))
