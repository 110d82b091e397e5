"""The ``emperor`` command: which part of it is asked for.

``run`` goes its own way: the daemon must not carry the libraries that the other commands need.
"""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    if sys.argv[1:2] == ["run"]:
        from emperor.cli.run import main as run

        raise SystemExit(run(sys.argv[2:]))
    # These commands are over before a collection would pay, the one at the end included.
    gc.disable()
    from emperor.cli.commands import cli

    try:
        cli(prog_name="emperor")
    finally:
        gc.freeze()
