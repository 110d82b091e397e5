"""YAML text to directives, by walking libyaml's tokens as uWSGI walks them.

It is no document that is read but a stream of tokens: the section begins at the first block
mapping that follows a key of its name, at any depth, and ends with that mapping; inner keys of
nested mappings become options themselves; a scalar after an anchor or a tag ends the reading
without an error. (Observed with uWSGI 2.0.21 and 2.0.31 built with libyaml.)
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import yaml

from emperor.compiler.directives import (
    DEFAULT_SECTION,
    BadFormat,
    Directive,
    Warn,
    until_nul,
)
from emperor.compiler.source import to_bytes


class _After(enum.Enum):
    """What the token before says about the next scalar."""

    NOTHING = enum.auto()
    KEY = enum.auto()
    VALUE = enum.auto()
    ITEM = enum.auto()


def read_yaml(text: str, section: str | None, warn: Warn) -> Iterator[Directive]:
    """The scalars of the asked section; raises ``BadFormat`` where libyaml gives up."""
    asked = section or DEFAULT_SECTION
    after = _After.NOTHING
    key: str | None = None
    depth = 0
    is_found = False
    for token in _tokens(text):
        match token:
            case yaml.KeyToken():
                after = _After.KEY
            case yaml.ValueToken():
                after = _After.VALUE
            case yaml.FlowSequenceStartToken() | yaml.BlockSequenceStartToken():
                depth += depth > 0
                after = _After.ITEM
            case yaml.FlowEntryToken() | yaml.BlockEntryToken():
                after = _After.ITEM
            case yaml.BlockMappingStartToken():
                if depth or key == asked:
                    depth += 1
                    is_found = True
            case yaml.BlockEndToken() | yaml.FlowSequenceEndToken():
                key, after = None, _After.NOTHING
                if depth:
                    depth -= 1
                    if not depth:
                        return
            case yaml.ScalarToken() if after is _After.NOTHING:
                _warn_of_the_end(token, warn)
                return
            case yaml.ScalarToken() if after is _After.KEY:
                key = until_nul(token.value)
            case yaml.ScalarToken():
                if depth and key is not None:
                    mark = token.start_mark
                    value = until_nul(token.value)
                    yield Directive(key, value, mark.line + 1, mark.column + 1, _width(token))
                if after is _After.VALUE:
                    key, after = None, _After.NOTHING
            case yaml.StreamEndToken():
                break
            case _:
                if depth and isinstance(token, yaml.AnchorToken | yaml.AliasToken):
                    _warn_of_sharing(token, warn)
                after = _After.NOTHING
    if not is_found:
        warn(
            "missing-section",
            f'nothing to read: there is no block mapping under a key "{asked}"',
            1,
            1,
            f"start the file with a line {asked}: and indent the options below it",
        )


def _tokens(text: str) -> Iterator[yaml.Token]:
    loader = yaml.CLoader(to_bytes(text))
    try:
        while True:
            token = loader.get_token()
            if token is None:
                return
            yield token
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise BadFormat(
            "syntax",
            f"this is not valid YAML: {error.problem}",
            line,
            column,
            _remedy(error.problem or ""),
        ) from None
    except yaml.reader.ReaderError as error:
        before = to_bytes(text)[: error.position]
        raise BadFormat(
            "syntax",
            f"this is not valid YAML: {error.reason}",
            before.count(b"\n") + 1,
            len(before) - before.rfind(b"\n"),
            "YAML is UTF-8 without control characters",
        ) from None
    finally:
        loader.dispose()


def _remedy(problem: str) -> str:
    if "cannot start any token" in problem:
        return "indent with spaces, and quote a value that starts with % or @"
    if "mapping values are not allowed" in problem:
        return 'quote a value that holds ": ", and check the indentation'
    if "tab" in problem:
        return "indent with spaces"
    return "check the indentation, and quote values with special characters"


def _width(token: yaml.ScalarToken) -> int:
    start, end = token.start_mark, token.end_mark
    return end.column - start.column if start.line == end.line else 1


def _warn_of_the_end(token: yaml.ScalarToken, warn: Warn) -> None:
    mark = token.start_mark
    warn(
        "yaml-unsupported",
        "uWSGI stops reading here without an error: the rest of the section is lost",
        mark.line + 1,
        mark.column + 1,
        "write plain keys and values: no anchors, no tags, no flow mappings",
    )


def _warn_of_sharing(token: yaml.Token, warn: Warn) -> None:
    mark = token.start_mark
    warn(
        "yaml-unsupported",
        "uWSGI knows neither anchors nor aliases: what they stand for is lost",
        mark.line + 1,
        mark.column + 1,
        "write the values out",
    )
