"""Commands and addresses that configurations name as sources. ``sh`` runs the commands."""

from __future__ import annotations

import http.client
import sys
import urllib.error
import urllib.request

import sh

from emperor.compiler.reader import Unreadable

#: How long a command may take before it is killed with its group.
COMMAND_SECONDS = 20.0


class _Bounded:
    """Collects a command's output up to a size, and kills the command beyond it."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.parts: list[bytes] = []
        self.size = 0

    @property
    def is_full(self) -> bool:
        """Whether there was more than wanted."""
        return self.size > self.most_bytes

    def collect(self, chunk: str, stdin: object, process: sh.RunningCommand) -> bool:
        """Take a chunk; ``True`` tells ``sh`` that this was enough."""
        data = chunk.encode("utf-8", "surrogateescape")
        self.size += len(data)
        if self.is_full:
            process.kill_group()
            return True
        self.parts.append(data)
        return False


def shell_output(
    command: str,
    *,
    cwd: str,
    most_bytes: int,
    seconds: float = COMMAND_SECONDS,
    must_succeed: bool = False,
    before: tuple[str, ...] = (),
) -> bytes:
    """What ``/bin/sh -c COMMAND`` prints; its exit code does not count, as in uWSGI, but with
    ``must_succeed``. The words ``before`` it are a command that becomes the shell.

    Raises ``Unreadable`` if it takes longer, prints more, or cannot be started.
    """
    output = _Bounded(most_bytes)
    try:
        words = (*before, "/bin/sh", "-c", command)
        sh.Command(words[0])(
            *words[1:],
            _bg=True,
            _cwd=cwd,
            _tty_in=False,
            _tty_out=False,
            _in="",
            _out=output.collect,
            _out_bufsize=65536,
            _err=sys.stderr.fileno(),
            _new_session=True,
            _ok_code=(0,) if must_succeed else tuple(range(256)),
            _timeout=seconds,
            _decode_errors="surrogateescape",
            _no_out=False,
            _internal_bufsize=0,
        ).wait()
    except sh.TimeoutException:
        raise Unreadable(
            "unreadable", f"the command took longer than {seconds:g} seconds"
        ) from None
    except (sh.CommandNotFound, sh.ForkException, OSError) as error:
        raise Unreadable("unreadable", f"the command cannot be started: {error}") from None
    except sh.ErrorReturnCode as error:
        if must_succeed:
            reason = f"the command failed (exit code {error.exit_code})"
            raise Unreadable("unreadable", reason) from None
        # killed by a signal: what it printed until then counts, as in uWSGI
    if output.is_full:
        raise Unreadable("too-large", f"the command prints more than {most_bytes:,} bytes")
    return b"".join(output.parts)


def http_body(url: str, *, most_bytes: int, seconds: float) -> bytes:
    """The body of an ``http://`` answer with a code of the 200s; raises ``Unreadable``."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:  # http:// only, see caller
            data: bytes = answer.read(most_bytes + 1)
    except (urllib.error.URLError, OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise Unreadable("unreadable", f"{url} does not answer: {reason}") from None
    if len(data) > most_bytes:
        raise Unreadable("too-large", f"{url} answers more than {most_bytes:,} bytes")
    return data
