"""Options as XML and YAML, through the jinja2 templates beside this module."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import jinja2

#: Scalars that YAML reads back unchanged without quotes.
_PLAIN = re.compile(r"[A-Za-z0-9_/.][A-Za-z0-9_/.-]*")


def render(format_: str, options: Sequence[tuple[str, str]]) -> str:
    """The options as a text in ``format_`` (xml or yaml), repeated keys and order kept."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("emperor.cli", "."),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["scalar"] = _scalar
    return environment.get_template(f"options.{format_}.j2").render(options=options)


def _scalar(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
