"""A daemon whose vassals come from a plugin: texts and files, changed, broken and gone."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.e2e.daemon import Daemon, reign
from tests.e2e.sites import Town, in_format
from tests.plugins.install import install

pytestmark = [pytest.mark.process, pytest.mark.uwsgi]

DEADLINE_SECONDS = 20.0


class Registry:
    """The other side of the plugin's socket."""

    def __init__(self, path: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.settimeout(DEADLINE_SECONDS)
        self._listener.bind(path)
        self._listener.listen()
        self._peer: socket.socket | None = None

    def answer(self) -> None:
        """Take the next connection."""
        self._peer, _ = self._listener.accept()

    def say(self, line: dict[str, Any]) -> None:
        assert self._peer is not None
        self._peer.sendall(json.dumps(line).encode() + b"\n")

    def hang_up(self) -> None:
        if self._peer is not None:
            self._peer.close()

    def close(self) -> None:
        self.hang_up()
        self._listener.close()


@contextmanager
def plugged(town: Town, *words: str) -> Iterator[tuple[Daemon, Registry, str]]:
    """A daemon that asks a registry and watches the town, and the monitor's name."""
    packages = f"{town.root}/packages"
    os.mkdir(packages)
    install("emperor-lines", packages)
    registry = Registry(f"{town.root}/registry")
    monitor = f"lines://{town.root}/registry"
    try:
        with reign(
            *("--emperor", monitor, *town.words, *words),
            environment={"PYTHONPATH": packages},
            cwd=town.root,
        ) as daemon:
            registry.answer()
            yield daemon, registry, monitor
    finally:
        registry.close()


def text(town: Town, name: str, greeting: str, *more: tuple[str, str]) -> str:
    return in_format(name.rpartition(".")[2], town.options(name, greeting, *more))


def test_texts_live_as_files_do(one_town: Town) -> None:
    town = one_town
    town.put("file.ini", "from a file")
    with plugged(town) as (daemon, registry, _):
        daemon.up("file.ini")
        names = ("shop.ini", "blog.yaml")
        vassals = [
            {"name": name, "text": text(town, name, "one", ("address", "%o")), "mtime": 1}
            for name in names
        ]
        registry.say({"vassals": vassals})
        for name in names:
            daemon.up(name)
            assert (town.get(name), town.get(name, "/cwd")) == ("one", town.root)
            assert town.get(name, "/opt?address") == f"emperor://{name}"

        changed = {"name": "shop.ini", "text": text(town, "shop.ini", "two"), "mtime": 1}
        registry.say({"present": changed})
        daemon.reloaded("shop.ini", "changed")
        assert town.get("shop.ini") == "two"
        registry.say({"present": changed | {"mtime": 2}})
        daemon.reloaded("shop.ini", "touched")

        registry.say({"present": changed | {"text": "[uwsgi]\nini = missing.ini\n"}})
        assert "emperor://shop.ini:2" in daemon.expect("does not compile", "shop.ini")
        assert town.get("shop.ini") == "two"

        registry.hang_up()
        assert "hung up" in daemon.expect("its monitor failed", level="warning")
        registry.answer()
        assert [town.get(name) for name in names] == ["two", "one"]
        registry.say({"vassals": [vassals[0]]})
        daemon.gone("blog.yaml")
        daemon.reloaded("shop.ini", "changed")
        assert (town.get("shop.ini"), town.is_down("blog.yaml")) == ("one", True)
        registry.say({"absent": "shop.ini"})
        daemon.gone("shop.ini")
        assert daemon.since("file.ini") == []


def test_a_file_may_have_another_name_and_share_it_with_a_directory(one_town: Town) -> None:
    town = one_town
    town.put("site.ini", "in the directory")
    elsewhere = f"{town.root}/elsewhere.yaml"
    with open(elsewhere, "w", encoding="utf-8") as file:
        file.write(in_format("yaml", town.options("other", "elsewhere")))
    with plugged(town) as (daemon, registry, monitor):
        daemon.up("site.ini")
        registry.say({"vassals": [{"name": "site.ini", "path": elsewhere}]})
        daemon.up(f"{monitor}//site.ini")
        assert (town.get("other"), town.get("other", "/cwd")) == ("elsewhere", town.root)
        assert town.get("site.ini") == "in the directory"
        registry.say({"vassals": []})
        daemon.gone(f"{monitor}//site.ini")
        assert town.get("site.ini") == "in the directory"
