"""What a running Emperor shows of itself: its stats, and the ``emperor`` command."""

import json
import os
import shutil
import socket
import subprocess
import sysconfig
from dataclasses import dataclass
from typing import Any

#: How long an answer may take, in seconds.
PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bureau:
    """Where an Emperor's stats and its control socket are; ``words`` have it open them."""

    root: str

    @property
    def words(self) -> tuple[str, ...]:
        """The Emperor's words for this bureau."""
        control = f"{self.root}/control"
        return ("--emperor-stats", f"{self.root}/stats", "--emperor-control", control)

    def stats(self) -> dict[str, Any]:
        """The whole document."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_SECONDS)
            connection.connect(f"{self.root}/stats")
            text = b""
            while data := connection.recv(1 << 20):
                text += data
        document: dict[str, Any] = json.loads(text)
        return document

    def vassals(self, id_: str) -> list[dict[str, Any]]:
        """All vassals of that id: one, or several zergs."""
        return [found for found in self.stats()["vassals"] if found["id"] == id_]

    def vassal(self, id_: str) -> dict[str, Any]:
        """The vassal of that id."""
        (found,) = self.vassals(id_)
        return found

    def states(self) -> dict[str, str]:
        """The phase of every vassal, by its name."""
        return {found["name"]: found["state"] for found in self.stats()["vassals"]}

    def blacklist(self) -> dict[str, tuple[int, int]]:
        """Attempts and throttle (milliseconds) of all that are on the blacklist, by id."""
        return {
            entry["id"]: (entry["attempt"], entry["throttle_level"])
            for entry in self.stats()["blacklist"]
        }

    def emperor(self, *words: str) -> tuple[int, str]:
        """Exit code and output of an ``emperor`` command that asks this Emperor."""
        program = shutil.which("emperor", path=sysconfig.get_path("scripts"))
        assert program is not None, "install the package first"
        done = subprocess.run(
            [program, words[0], "--socket", f"{self.root}/control", *words[1:]],
            env=os.environ | {"LANG": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert done.stderr == "", done.stderr
        return done.returncode, done.stdout
