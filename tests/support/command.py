"""The ``emperor`` command as a user starts it."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEADLINE_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a finished command gave: exit code, machine output, people's text."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Standard output as JSON: fails where anything else was printed there."""
        return json.loads(self.out)


def emperor(
    *arguments: str,
    cwd: Path,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> Done:
    """Run ``emperor ARGUMENTS`` in a small environment, and wait for it."""
    done = subprocess.run(
        [sys.executable, "-m", "emperor", *arguments],
        cwd=cwd,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(cwd), **(environment or {})},
        input=stdin,
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    return Done(
        code=done.returncode,
        out=done.stdout.decode("utf-8", "surrogateescape"),
        err=done.stderr.decode("utf-8", "surrogateescape"),
    )
