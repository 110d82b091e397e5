"""XML text to directives, through lxml: no network, no DTD files, no entity expansion.

Root ``<uwsgi>``, or a root with ``<uwsgi>`` as a direct child: the first whose ``id`` is the
asked one or that has none. Each child element is an option, its value the text of its first
child node. (uWSGI documentation, "Configuring uWSGI"; details observed with libxml2 builds.)
"""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from emperor.compiler.cdata import Cdata, direct_cdata
from emperor.compiler.directives import BadFormat, Directive, Warn, until_nul
from emperor.compiler.source import to_bytes


def read_xml(
    text: str, section: str | None, warn: Warn, *, mode: str | None = None
) -> Iterator[Directive]:
    """The options of the asked ``<uwsgi>``; raises ``BadFormat``. ``warn`` is not used.

    ``mode`` is the value of the option ``mode``, if that has acted already: an element whose
    attribute ``mode`` differs is skipped.
    """
    if section == "":
        raise BadFormat("syntax", "an empty id is asked for", remedy="take the colon away")
    root = _parse(text)
    lines = text.split("\n")
    element = _stanza(root, section)
    evals = direct_cdata(etree.tostring(element, with_tail=False), element.sourceline or 1)
    yield from _evals(evals, 0)
    children = (node for node in element.iterchildren() if isinstance(node.tag, str))
    for number, node in enumerate(children, 1):
        if _is_asked(node, section) and (mode is None or node.get("mode", mode) == mode):
            yield from _option(node, lines)
        yield from _evals(evals, number)


def _evals(sections: list[Cdata], before: int) -> Iterator[Directive]:
    """CDATA directly in ``<uwsgi>`` is the option ``eval``."""
    for found in sections:
        if found.before == before:
            yield Directive("eval", until_nul(found.text), found.line, 1, 1)


def _parse(text: str) -> etree._Element:
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        strip_cdata=False,
        huge_tree=False,
    )
    try:
        root: etree._Element = etree.fromstring(to_bytes(text), parser)
    except etree.XMLSyntaxError as error:
        line, column = error.position if error.position[0] else (1, 1)
        code = (
            "xml-entity" if "ntity" in error.msg and "reference loop" in error.msg else "syntax"
        )
        raise BadFormat(
            code,
            f"this is not valid XML: {_short(error.msg)}",
            line,
            max(1, column),
            _remedy(text),
        ) from None
    return root


def _short(message: str | None) -> str:
    return (message or "no element found").partition(", line ")[0]


def _remedy(text: str) -> str:
    if "&" in text:
        return "write & as &amp; and < as &lt; in values"
    return "write one <uwsgi> element in UTF-8, and close every element under its own name"


def _local(node: etree._Element) -> str:
    """The name without its namespace: uWSGI drops prefixes."""
    name: str = etree.QName(node).localname
    return name


def _stanza(root: etree._Element, section: str | None) -> etree._Element:
    if _local(root) == "uwsgi":
        return root
    for node in root.iterchildren():
        if isinstance(node.tag, str) and _local(node) == "uwsgi" and _is_asked(node, section):
            return node
    raise BadFormat(
        "missing-section",
        "there is no <uwsgi> element to read",
        root.sourceline or 1,
        1,
        "make <uwsgi> the root, or a direct child of it",
    )


def _is_asked(node: etree._Element, section: str | None) -> bool:
    own = node.get("id")
    return section is None or own is None or own == section


def _option(node: etree._Element, lines: list[str]) -> Iterator[Directive]:
    name = _local(node)
    line = node.sourceline or 1
    column = _column(lines, line, name)
    if name == "app":
        yield from _app(node, line, column)
        return
    value = _first_child(node, line, column)
    yield Directive(name, "1" if value is None else value, line, column, len(name) + 1)


def _column(lines: list[str], line: int, name: str) -> int:
    """Where the element's tag stands in its line; libxml2 keeps lines only."""
    text = lines[line - 1] if line <= len(lines) else ""
    return max(text.find(f"<{name}"), 0) + 1


def _first_child(node: etree._Element, line: int, column: int) -> str | None:
    """The text of the first child node; nothing if there is none."""
    if node.text is None and len(node) and isinstance(node[0], etree._Entity):
        return _entity_text(node[0], line, column)  # XPath does not see these
    texts = node.xpath("node()[1]")
    if not texts:
        return None
    first = texts[0]
    if isinstance(first, str):
        return until_nul(str(first))
    if isinstance(first, etree._Comment | etree._ProcessingInstruction):
        return until_nul(first.text or "")
    raise BadFormat(
        "syntax",
        f"<{_local(first)}> stands where a value should be: uWSGI crashes on it",
        line,
        column,
        "put the text of the value first",
    )


def _entity_text(entity: etree._Entity, line: int, column: int) -> str:
    """The replacement text of an entity that the document itself declares."""
    dtd = entity.getroottree().docinfo.internalDTD
    for declared in dtd.iterentities() if dtd is not None else ():
        if declared.name == entity.name and declared.content is not None:
            content = str(declared.content)
            if "&" not in content:
                return until_nul(content)
    raise BadFormat(
        "xml-entity",
        f"the entity &{entity.name}; is external or stands for other entities",
        line,
        column,
        "write the value out",
    )


def _app(node: etree._Element, line: int, column: int) -> Iterator[Directive]:
    """``<app mountpoint=..>`` and ``<app domain=..>``, the old way to mount an app."""
    text = _app_text(node)
    if text is None:
        if len(node) == 0 and node.text is None:
            yield Directive("app", "", line, column, 4)
        return
    mount_point, domain = node.get("mountpoint"), node.get("domain")
    if mount_point is not None:
        text = f"{mount_point}={text}"
    elif domain is not None:
        text = f"{domain}|={text}"
    yield Directive("mount", text, line, column, 4)
    yield Directive("app", "", line, column, 4)


def _app_text(node: etree._Element) -> str | None:
    """The app's text: its only child, or that of the element after the first white space."""
    children = node.xpath("node()")
    if len(children) == 1 and isinstance(children[0], str):
        return until_nul(str(children[0]))
    if len(children) > 1 and not isinstance(children[1], str):
        inner = children[1].xpath("node()[1]")
        if inner and isinstance(inner[0], str):
            return until_nul(str(inner[0]))
    return None
