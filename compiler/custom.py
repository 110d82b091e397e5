"""``declare-option``: options of the user's own, made of templates.

Rules: uWSGI documentation "Defining new options for your instances"; details observed.
"""

from __future__ import annotations

from emperor.compiler.evaluation import Entry, Evaluation
from emperor.compiler.source import Origin


def declare(
    run: Evaluation, key: str, value: str | None, origin: Origin, entry: Entry | None
) -> None:
    """``declare-option = NAME=TEMPLATE``; options that exist and earlier declarations win."""
    name, equals, template = (value or "").partition("=")
    if not equals:
        raise run.diagnostics.stop(
            "invalid-declaration",
            f'"{key} = {value or ""}" has no equals sign',
            origin,
            f"write {key} = NAME=OPTION=VALUE",
        )
    run.custom.setdefault(name, template)


def use(
    run: Evaluation, key: str, value: str | None, origin: Origin, entry: Entry | None
) -> None:
    """Run each ``K=V`` of the template with ``$1``, ``$2``.. replaced by the arguments.

    They run directly: nothing is listed but what they append themselves.
    """
    arguments = _arguments(value or "")
    made = origin.made_by("custom")
    for part in run.custom[key].split(";"):
        if not part:
            continue
        name, equals, text = part.partition("=")
        if not equals:
            return
        _run(run, _fill(name, arguments), _fill(text, arguments), made)


def _arguments(value: str) -> list[str | None]:
    """The words; as many places as spaces make, the places of doubled spaces empty-handed."""
    if not value:
        return [""]
    words: list[str | None] = [word for word in value.split(" ") if word]
    return words + [None] * (value.count(" ") + 1 - len(words))


def _fill(text: str, arguments: list[str | None]) -> str:
    for number, argument in enumerate(arguments, 1):
        if argument is not None:
            text = text.replace(f"${number}", argument)
    return text


def _run(run: Evaluation, key: str, value: str, origin: Origin) -> None:
    facts = run.find(key, origin)
    if facts is not None:
        run.act(facts, key, value, origin, None)
