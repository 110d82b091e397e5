"""Options as XML and YAML, through jinja2 templates."""

from __future__ import annotations

from collections.abc import Sequence

import jinja2

_XML = """\
<uwsgi>
{% for key, value in options %}
  <{{ key }}>{{ value | e }}</{{ key }}>
{% endfor %}
</uwsgi>
"""

_YAML = """\
uwsgi:
{% for key, value in options %}
  {{ key | tojson_text }}: {{ value | tojson_text }}
{% endfor %}
"""

_TEMPLATES = {"xml": _XML, "yaml": _YAML}


def render(format_: str, options: Sequence[tuple[str, str]]) -> str:
    """The options as a text in ``format_`` (xml or yaml), repeated keys and order kept."""
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["tojson_text"] = _yaml_text
    return environment.from_string(_TEMPLATES[format_]).render(options=options)


def _yaml_text(text: str) -> str:
    """A plain scalar where YAML reads it back unchanged, else a double-quoted one."""
    import json

    plain = text.replace("-", "").replace("/", "").replace(".", "").replace("_", "")
    if plain.isalnum() and plain.isascii() and not text.startswith("-"):
        return text
    return json.dumps(text, ensure_ascii=False)
