"""The option catalogue: what uWSGI knows about each of its options, as facts."""

from __future__ import annotations

import json
import os
from functools import cache
from typing import TypedDict

PATH = os.path.join(os.path.dirname(__file__), os.pardir, "schemas", "uwsgi-options.json")


class Facts(TypedDict, total=False):
    """One option as ``schemas/uwsgi-options.json`` has it; the file explains the fields."""

    name: str
    shortcut: str
    argument: str
    kind: str
    repeatable: bool | None
    flags: list[str]
    plugin: str
    setter: str
    alias_of: str


@cache
def _all() -> list[tuple[Facts, list[str]]]:
    with open(PATH, "rb") as file:
        return [(option, option["in"]) for option in json.loads(file.read())["options"]]


@cache
def everything() -> dict[str, Facts]:
    """Every option of every version by name, the core's before a plugin's."""
    found: dict[str, Facts] = {}
    for option, _ in _all():
        found.setdefault(option["name"], option)
    return found


@cache
def by_plugin(version: str) -> dict[str, dict[str, Facts]]:
    """The options of one catalogue version: plugin ("core" is one) -> name -> facts."""
    found: dict[str, dict[str, Facts]] = {}
    for option, versions in _all():
        if version in versions:
            found.setdefault(option["plugin"], {}).setdefault(option["name"], option)
    return found


def plugin_of(name: str) -> str:
    """The catalogue's name of a plugin: ``python311`` and ``python3`` are ``python``."""
    known = {option["plugin"] for option in everything().values()}
    if name in known:
        return name
    bare = name.rstrip("0123456789")
    return bare if bare in known else name


#: The setter of options that are ours and not uWSGI's.
OWN_SETTER = "ours"


def own_option(name: str, argument: str = "required") -> Facts:
    """The facts of an option of ours; ``argument`` is "required" or "none"."""
    return {
        "name": name,
        "argument": argument,
        "kind": "string" if argument == "required" else "bool",
        "repeatable": False,
        "plugin": "core",
        "setter": OWN_SETTER,
    }


def canonical(name: str) -> str:
    """The name under which an option and its aliases override one another."""
    facts = everything().get(name)
    return facts.get("alias_of", name) if facts else name


def is_repeatable(name: str) -> bool:
    """Whether each occurrence of an option adds to the others."""
    facts = everything().get(name)
    return facts is None or facts["repeatable"] is not False
