"""The effective view: what is left when every option has had its say."""

from __future__ import annotations

from collections.abc import Iterable

from emperor.compiler.catalogue import canonical, everything, is_repeatable

#: Options that only steer the reading: they have no effect of their own.
STEERING_SETTERS = frozenset(
    """
    uwsgi_opt_load uwsgi_opt_load_ini uwsgi_opt_load_xml uwsgi_opt_load_yml
    uwsgi_opt_load_json uwsgi_opt_load_config uwsgi_opt_set_placeholder uwsgi_opt_resolve
    uwsgi_opt_logic uwsgi_opt_add_custom_option custom
    """.split()
)
STEERING_NAMES = frozenset(
    """
    end endfor endif end-for end-if blacklist whitelist end-blacklist end-whitelist
    inject-before inject-after strict show-config
    """.split()
)


def is_steering(key: str) -> bool:
    """Whether an option only says how the configuration is read."""
    facts = everything().get(key)
    return key in STEERING_NAMES or (facts is not None and facts["setter"] in STEERING_SETTERS)


def effective(
    options: Iterable[tuple[str, str | None]],
) -> dict[str, str | list[str | None] | None]:
    """Option -> its value, or all its values in order where each occurrence counts.

    Aliases go by the name that the catalogue puts first. Unknown keys are placeholders and are
    left out.
    """
    found: dict[str, str | list[str | None] | None] = {}
    for key, value in options:
        if key not in everything() or is_steering(key):
            continue
        name = canonical(key)
        if is_repeatable(key):
            values = found.setdefault(name, [])
            assert isinstance(values, list)
            values.append(value)
        else:
            found.pop(name, None)
            found[name] = value
    return found
