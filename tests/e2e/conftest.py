"""What the daemon's tests are given: a town for each uWSGI, or for the one there is."""

from collections.abc import Iterator

import pytest
from tests.e2e.sites import Town, town
from tests.support.stage import Stage, stage
from tests.support.uwsgi import Server, a_server, do_without, servers


@pytest.fixture(params=servers() or [None], ids=lambda server: server and server.label)
def each_server(request: pytest.FixtureRequest) -> Server:
    """Every uWSGI of this machine, one after the other."""
    server: Server | None = request.param
    return server or a_server()


@pytest.fixture
def each_town(each_server: Server) -> Iterator[Town]:
    with town(each_server) as found:
        yield found


@pytest.fixture
def one_town() -> Iterator[Town]:
    with town(a_server()) as found:
        yield found


@pytest.fixture
def wheel_town() -> Iterator[Town]:
    found = [server for server in servers() if server.is_wheel]
    if not found:
        do_without("the PyPI wheel is not installed (pip: pyuwsgi)")
    with town(found[0]) as place:
        yield place


@pytest.fixture
def theatre(one_town: Town) -> Iterator[Stage]:
    """Where the test plays the vassals of ``one_town``."""
    with stage(one_town.root) as found:
        yield found
