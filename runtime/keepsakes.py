"""The last good config of every vassal on disk, so that it survives the daemon.

With ``emperor-state-directory`` a vassal whose file is broken when the daemon starts still
runs: with the config that compiled last. Files are written whole and renamed into place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, replace

from emperor.compiler.source import from_bytes
from emperor.runtime.launch import BadSpec, CompileAnswer, LaunchSpec, answer_from_data
from emperor.runtime.tenants.privileges import Owner


class Keepsakes:
    """Keeps launch specs below a directory that only the Emperor's user may read."""

    def __init__(self, directory: str) -> None:
        """Make the directory if it is not there; raises OSError."""
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self._directory = directory

    def keep(self, key: tuple[str, str], answer: CompileAnswer) -> None:
        """Keep what compiled; raises OSError (no space)."""
        if answer.spec is None:
            return
        path = self._path(key)
        text = json.dumps({"key": list(key), **_data(answer.spec)})
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(f"{path}.new", path)

    def recall(self, key: tuple[str, str], owner: Owner | None = None) -> LaunchSpec | None:
        """What was kept for that owner, if it is there and makes sense."""
        try:
            with open(self._path(key), encoding="utf-8") as file:
                data = json.load(file)
            whose = data.get("owner")
            if data.get("key") != list(key) or (whose and Owner.from_data(whose)) != owner:
                return None
            spec = answer_from_data(data).spec
            return None if spec is None else replace(spec, owner=owner)
        except (OSError, ValueError, AttributeError, KeyError, TypeError, BadSpec):
            return None

    def forget(self, key: tuple[str, str]) -> None:
        """The vassal's file is gone: so is what was kept of it."""
        with contextlib.suppress(OSError):
            os.unlink(self._path(key))

    def _path(self, key: tuple[str, str]) -> str:
        name = hashlib.sha256("\0".join(key).encode("utf-8", "surrogateescape")).hexdigest()
        return f"{self._directory}/{name[:32]}.json"


def _data(spec: LaunchSpec) -> dict[str, object]:
    return {
        "spec": {
            "argv": spec.argv,
            "cwd": spec.cwd,
            "set": spec.set,
            "unset": spec.unset,
            "delivered": [from_bytes(text) for text in spec.delivered],
            "digest": spec.digest,
            "has_master": spec.has_master,
            "has_workers": spec.has_workers,
            "reload_seconds": spec.reload_seconds,
            "socket": spec.socket,
            "sockets": [asdict(socket) for socket in spec.sockets],
            "program": None if spec.program is None else asdict(spec.program),
            "forks": spec.forks,
        },
        "owner": None if spec.owner is None else spec.owner.as_data(),
        "diagnostics": [],
        "dependencies": [],
    }
