"""What the compiler tells its user: values, collected, never exceptions."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from emperor.compiler.source import Origin, Span

#: Every code with what it stands for. Codes are stable: tools and tests match on them.
CODES: dict[str, str] = {
    "syntax": "the text is not valid in its format",
    "unreadable": "a file or source could not be read",
    "missing-file": "a file that is read does not exist",
    "not-a-file": "a directory, pipe or device stands where a file should be",
    "too-large": "a file, a value or the number of options is beyond what anyone means",
    "include-cycle": "files include each other without an end",
    "placeholder-cycle": "a value grows without an end while it is expanded",
    "unknown-format": "the ending of a name says no format",
    "unknown-scheme": "a source that the compiler cannot read for the vassal",
    "source-denied": "a source that was not allowed for this compile",
    "xml-entity": "an xml entity that is external or nests others",
    "nested-logic": "a for or if inside a for or if",
    "flag-in-block": "a flag without a value inside a block that substitutes",
    "invalid-set": "set without an equals sign",
    "placeholder-is-option": "set-placeholder on the name of an option",
    "invalid-declaration": "declare-option without an equals sign",
    "forbidden-option": "an option that a blacklist or whitelist forbids",
    "unknown-directive": "an unknown key under strict",
    "missing-plugin": "a needed plugin that is not there",
    "command-line": "an argument that uWSGI does not take",
    "invalid-value": "a value that the option refuses",
    "exits": "an option that makes uWSGI act and exit instead of serve",
    "arithmetic": "a computation that crashes uWSGI",
    "unresolved": "a host name that does not resolve",
    "missing-section": "the section asked for is not in the file",
    "not-utf8": "bytes that are not UTF-8",
    "yaml-unsupported": "yaml that uWSGI drops silently",
    "json-duplicate": "a key that stands more than once in an object",
    "emperor-option": "an option that the Emperor does not obey, or not as written",
    "no-effect": "an option of a vassal that changes nothing as it is run",
    "only-uwsgi": "an option that only a uWSGI could honour, in another program",
    "no-uwsgi": "a vassal that runs in uWSGI, where there is none",
    "tyrant": "a vassal's file, or the way to it, that tyrant mode refuses",
    "bad-hook": "a hook that is none, or that only uWSGI's own process could run",
    "undeliverable": "a value that cannot be handed to the vassal unchanged",
}


class Severity(enum.Enum):
    """An error is what uWSGI refuses; what it accepts is at most a warning."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One finding. ``code`` is stable (see ``CODES``); ``source_line`` is the line meant."""

    code: str
    message: str
    span: Span | None = None
    severity: Severity = Severity.ERROR
    help: str | None = None
    included_from: tuple[Span, ...] = ()
    source_line: str = ""


class Stop(Exception):
    """Ends the reading where uWSGI would have exited; the reason was recorded before."""


class Diagnostics:
    """Collects findings, so that one run reports every problem."""

    def __init__(self) -> None:
        self.items: list[Diagnostic] = []

    @property
    def has_errors(self) -> bool:
        """Whether uWSGI would refuse the configuration."""
        return any(item.severity is Severity.ERROR for item in self.items)

    def warn(
        self, code: str, message: str, at: Origin | None, remedy: str | None = None
    ) -> None:
        """Record what uWSGI accepts but nobody means; once for each place."""
        found = make(code, message, at, remedy, Severity.WARNING)
        if found not in self.items:
            self.items.append(found)

    def stop(
        self, code: str, message: str, at: Origin | None, remedy: str | None = None
    ) -> Stop:
        """Record an error and give what the caller raises."""
        self.items.append(make(code, message, at, remedy, Severity.ERROR))
        return Stop(code)


def make(
    code: str, message: str, at: Origin | None, remedy: str | None, severity: Severity
) -> Diagnostic:
    """A diagnostic for the place ``at``."""
    assert code in CODES, code
    if at is None:
        return Diagnostic(code=code, message=message, help=remedy, severity=severity)
    span = at.span()
    return Diagnostic(
        code=code,
        message=message,
        span=span,
        severity=severity,
        help=remedy,
        included_from=at.included_from(),
        source_line=at.source.line(span.line),
    )
