"""The examples do what their page says, with every uWSGI of this machine."""

import os
import re
import socket

import pytest
from tests.e2e.daemon import reign
from tests.e2e.sites import get
from tests.support.uwsgi import a_server, do_without, servers

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

#: A vassal's file and its address, in a row of the page's table.
ROW = re.compile(r"^\| `vassals/(\S+)` +\| `http://(127\.0\.0\.1:\d+)/`", re.MULTILINE)

#: What is on the pages.
PAGES = (
    ("hello.ini", "/", "Hello from hello.ini\n"),
    ("clock.xml", "/", '"worker": '),
    ("counter.yaml", "/", "You are visitor 1."),
    ("counter.yaml", "/", "You are visitor 2."),
    ("request.json", "/a?b", "QUERY_STRING = b\n"),
    ("request.json", "/page", "# Examples\n"),
    ("request.json", "/source", "def application"),
    ("blog.ini", "/links", "This site&#x27;s file is a link"),
    ("shop.ini", "/?tea=2&cake=1", "Shop total: 8.90\n"),
)
NAMES = {name for name, _, _ in PAGES}


def addresses() -> dict[str, str]:
    """The vassals that the page names, and where they answer."""
    with open(f"{HOME}/examples/README.md", encoding="utf-8") as page:
        return dict(ROW.findall(page.read()))


def take_ports() -> None:
    """Go without the test if somebody else has one of the ports."""
    for address in addresses().values():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", int(address.rpartition(":")[2])))
            except OSError:
                do_without(f"{address} is taken")


def test_the_page_names_every_example() -> None:
    assert set(addresses()) == set(os.listdir(f"{HOME}/examples/vassals")) == NAMES
    assert {name.rpartition(".")[2] for name in NAMES} == {"ini", "xml", "yaml", "json"}
    assert len(set(addresses().values())) == len(NAMES)


def test_every_example_serves_its_page() -> None:
    # one after the other, as the ports are what they are
    for server in servers() or (a_server(),):
        take_ports()
        words = ("--emperor", "examples/vassals", "--binary-path", server.path)
        with reign(*words, cwd=HOME) as daemon:
            for name in NAMES:
                daemon.up(name)
            for name, path, text in PAGES:
                assert text in get(addresses()[name], path), (server, name)
            for name in NAMES:
                assert daemon.said(name, "warning", "error") == []
