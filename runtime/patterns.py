"""File name patterns with the meaning that glob(3) gives them, one path component each."""

import re
from dataclasses import dataclass

_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": r"\x21-\x7e",
    "lower": "a-z",
    "print": r"\x20-\x7e",
    "punct": r"!-/:-@\[-`{-~",
    "space": r" \t\n\r\f\v",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}
_MAGIC = re.compile(r"\\.|([*?\[])", re.DOTALL)
_NOTHING = r"(?!)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One part of a path: a fixed name, a pattern, or (neither given) any name at all."""

    literal: str | None = None
    pattern: re.Pattern[str] | None = None

    def matches(self, name: str) -> bool:
        """Say whether a directory entry of that name is meant."""
        if self.literal is not None:
            return name == self.literal
        return self.pattern is None or self.pattern.fullmatch(name) is not None


ANY = Component()


def has_magic(text: str) -> bool:
    """Say whether the text holds a wildcard that no backslash takes away."""
    return any(match[1] for match in _MAGIC.finditer(text))


def unescape(text: str) -> str:
    """Take away the backslashes that protect a character."""
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def component(text: str) -> Component:
    """Read one path component of a pattern; it must not hold a slash."""
    if not has_magic(text):
        return Component(literal=unescape(text))
    # A wildcard never stands for the dot of a hidden file.
    hidden = "" if text.startswith((".", "\\.")) else r"(?!\.)"
    return Component(pattern=re.compile(hidden + _translate(text), re.DOTALL))


def _translate(text: str) -> str:
    parts: list[str] = []
    at = 0
    while at < len(text):
        match text[at]:
            case "*":
                part, at = ".*", at + 1
            case "?":
                part, at = ".", at + 1
            case "[":
                part, at = _bracket(text, at)
            case "\\" if at + 1 < len(text):
                part, at = re.escape(text[at + 1]), at + 2
            case other:
                part, at = re.escape(other), at + 1
        parts.append(part)
    return "".join(parts)


def _bracket(text: str, start: int) -> tuple[str, int]:
    """Translate the set that opens at ``start``; one that never closes is a plain bracket."""
    at = start + 1
    negated = text[at : at + 1] in ("!", "^")
    at += negated
    items: list[str] = []
    first = at
    while at < len(text) and (text[at] != "]" or at == first):
        item, at = _item(text, at)
        items.append(item)
    if at >= len(text):
        return re.escape("["), start + 1
    inside = "".join(items)
    if not inside:
        return ("." if negated else _NOTHING), at + 1
    return f"[{'^' if negated else ''}{inside}]", at + 1


def _item(text: str, at: int) -> tuple[str, int]:
    """Translate one member of a set: a class, a range or a character."""
    if text.startswith("[:", at) and (end := text.find(":]", at + 2)) >= 0:
        return _CLASSES.get(text[at + 2 : end], ""), end + 2
    low, at = _character(text, at)
    if text[at : at + 1] != "-" or text[at + 1 : at + 2] in ("", "]"):
        return re.escape(low), at
    high, at = _character(text, at + 1)
    return (f"{re.escape(low)}-{re.escape(high)}" if low <= high else ""), at


def _character(text: str, at: int) -> tuple[str, int]:
    if text[at] == "\\" and at + 1 < len(text):
        return text[at + 1], at + 2
    return text[at], at + 1
