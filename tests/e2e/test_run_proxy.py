"""A vassal that hands its place below the Emperor to others (``emperor-proxy-socket``)."""

import os
import socket

import pytest
from tests.e2e.daemon import eventually, reign
from tests.e2e.sites import Town

from emperor.runtime.protocol import Word

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]


def test_an_emperor_proxy_passes_the_emperors_sockets_on(each_town: Town) -> None:
    town = each_town
    path = f"{town.root}/proxy"
    options = (("master", "true"), ("emperor-proxy-socket", path))
    town.put("site.ini", "one", *options)
    with reign(*town.words) as daemon:
        daemon.up("site.ini")
        eventually(lambda: os.path.exists(path))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            message, passed, _, _ = socket.recv_fds(client, 64, 4)
        try:
            assert message.startswith(b"uwsgi-emperor")
            os.write(passed[0], bytes((Word.LEAVING,)))
            daemon.expect("leaves of its own will", "site.ini")
        finally:
            for descriptor in passed:
                os.close(descriptor)
