"""``emperor run``: the daemon. Nothing is imported here that the daemon does not need."""

from __future__ import annotations

import os
import sys

HELP = """\
Usage: emperor run [EMPEROR.ini] [--emperor DIR|dir://DIR|glob://PATTERN]... [OPTION]...

Keep a uWSGI instance running for each vassal file that the monitors find.

EMPEROR.ini holds uWSGI's emperor options in a section [uwsgi], [emperor] or both; any of them
may be given on the command line as well (--vassal-set K=V, --uid www-data, ...).

  --emperor MONITOR        where the vassals are; may be given many times
  --binary-path PROGRAM    the uWSGI to run (uwsgi or uwsgi-core on PATH, or pyuwsgi's)
  --log-level LEVEL        debug, info, warning or error
  --log-format text|json   how the daemon's own log looks
  -h, --help               this text

Signals: TERM, INT, QUIT bring everything down (twice: at once), HUP reloads all vassals.
"""


class _Usage(ValueError):
    """A word that makes no sense; the text says why."""


def main(words: list[str]) -> int:
    """Run the daemon with these words; gives the exit code."""
    try:
        rest, level, is_json = _own_options(words)
    except _Usage as error:
        sys.stderr.write(f"emperor run: {error}\n")
        return 2
    if rest is None:
        sys.stdout.write(HELP)
        return 0
    from emperor.runtime.commission import Commission, NoConfig
    from emperor.runtime.compiling.start import ask_first, for_others, start_server
    from emperor.runtime.guardian.descriptors import keep_private

    commission = Commission.of(os.environ)
    try:
        texts = {} if commission is None else commission.texts(rest)
    except (NoConfig, OSError) as error:
        sys.stderr.write(f"emperor run: no config from the Emperor above: {error}\n")
        return 1
    keep_private()
    server = start_server()
    question = {
        "op": "emperor",
        "arguments": rest,
        "environment": for_others(os.environ),
        "texts": texts,
    }
    first = ask_first(server, question)
    # asyncio would load OpenSSL, 4 MB that a daemon without TLS does not need
    sys.modules.setdefault("ssl", None)  # type: ignore[arg-type]
    from emperor.runtime.daemon import run

    return run(server, first, commission=commission, log_level=level, log_json=is_json)


def _own_options(words: list[str]) -> tuple[list[str] | None, str | None, bool]:
    """The words that are uWSGI's, our log level, whether the log is JSON."""
    rest: list[str] = []
    level, is_json = None, False
    queue = list(words)
    while queue:
        word = queue.pop(0)
        name, equals, value = word.partition("=")
        if word in {"-h", "--help"}:
            return None, None, False
        if name not in {"--log-level", "--log-format"}:
            rest.append(word)
            continue
        if not equals:
            if not queue:
                raise _Usage(f"{name} wants a value")
            value = queue.pop(0)
        if name == "--log-level":
            level = _one_of(name, value, ("debug", "info", "warning", "error"))
        else:
            is_json = _one_of(name, value, ("text", "json")) == "json"
    return rest, level, is_json


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise _Usage(f"{name} is one of {', '.join(known)}, not {value}")
    return value
