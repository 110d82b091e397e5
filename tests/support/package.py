"""The package as it is installed: its modules and its data files."""

import json
import pkgutil
from pathlib import Path
from typing import Any

import emperor

#: The four top-level directories behind the links in ``src/emperor``.
PARTS = ("compiler", "runtime", "grammar", "schemas")

SOURCE = Path(emperor.__path__[0])


def data(path: str) -> bytes:
    """A data file of the package by its path inside it."""
    found = pkgutil.get_data("emperor", path)
    assert found is not None
    return found


def schema(name: str) -> Any:
    """A JSON file in ``schemas/``."""
    return json.loads(data(f"schemas/{name}"))


def python_files() -> list[Path]:
    """Every module of the package, through the links."""
    found = list(SOURCE.glob("*.py")) + list(SOURCE.glob("cli/**/*.py"))
    for part in PARTS:
        found += (SOURCE / part).glob("**/*.py")
    return sorted(found)
