"""Reading a configuration file or source, and appending what is in it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from emperor.compiler.directives import FORMATS, BadFormat, Directive, FormatReader
from emperor.compiler.reader import Unreadable
from emperor.compiler.source import Origin, Source, from_bytes, is_utf8

if TYPE_CHECKING:
    from emperor.compiler.evaluation import Entry, Evaluation

SCHEMES = ("emperor", "http", "data", "sym", "section", "fd", "exec", "call", "callint")
_OF_THE_BINARY = {
    "data": "data appended to the uWSGI binary",
    "sym": "symbols of the uWSGI binary",
    "section": "sections of the uWSGI binary",
    "call": "functions of the uWSGI binary",
    "callint": "functions of the uWSGI binary",
    "emperor": "what an Emperor sends over the config pipe",
}

#: The same file this often in one chain of includes is a cycle; no chain is this long.
MOST_REPEATS = 16
MOST_DEPTH = 90


def format_of(name: str) -> str | None:
    """The format that the ending of the whole name says."""
    for ending, kind in FORMATS.items():
        if name.endswith(ending):
            return kind
    return None


def scheme_of(name: str) -> str | None:
    """The scheme of a URL that uWSGI knows; nothing for a file."""
    scheme, separator, _ = name.partition("://")
    return scheme if separator and scheme in SCHEMES else None


def split_section(name: str) -> tuple[str, str | None]:
    """A name and the section asked for: the last colon splits, in a URL behind the last slash.

    ``a.ini`` gives (``a.ini``, ``None``), ``a.ini:`` gives (``a.ini``, "").
    """
    start = name.rfind("/") + 1 if scheme_of(name) else 0
    colon = name.rfind(":", start)
    return (name, None) if colon < 0 else (name[:colon], name[colon + 1 :])


def read_source(run: Evaluation, name: str) -> bytes:
    """The bytes of a file, of standard input (``-``) or of a URL; raises ``Unreadable``."""
    if name == "-":
        return run.reader.read_descriptor(0)
    scheme = scheme_of(name)
    if scheme is None:
        return run.reader.read(name)
    rest = name[len(scheme) + 3 :]
    if scheme == "exec":
        return run.reader.run(rest)
    if scheme in {"http", "emperor"}:
        return run.reader.fetch(name)
    if scheme == "fd":
        number = "".join(c for c in rest if c in "0123456789")
        return run.reader.read_descriptor(int(number or "0"))
    raise only_inside_uwsgi(scheme)


def only_inside_uwsgi(scheme: str) -> Unreadable:
    """Why a source cannot be read that only a running uWSGI has."""
    return Unreadable(
        "unknown-scheme",
        f"{scheme}:// reads {_OF_THE_BINARY[scheme]}, which only exist inside uWSGI",
        "put the content into a file",
    )


def load(
    run: Evaluation, kind: str, name: str, origin: Origin, entry: Entry | None = None
) -> None:
    """Read ``name`` as ``kind`` (ini, xml, yaml, json) and append its options.

    ``entry`` is the option that asked for it: while the file is read its value is cut at the
    section's colon, and json and xml leave it so (observed).
    """
    path, section = split_section(name)
    if entry is not None and section is not None:
        entry.value = path
    path = _enter(run, kind, path, section, name, origin)
    _check_cycle(run, path, section, origin)
    run.open_files.append((path, section))
    try:
        source = _source(run, path, kind, origin)
        if kind == "ini":
            run.last_ini = path
        _append_all(run, kind, source, section)
    finally:
        run.open_files.pop()
    if entry is not None and kind in {"ini", "yaml"}:
        entry.value = name


def _enter(
    run: Evaluation, kind: str, path: str, section: str | None, name: str, origin: Origin
) -> str:
    """Set the magic variables for the file; gives the path to open."""
    if scheme_of(name) or name == "-":
        run.magic.enter_source(path)
    elif path == "-":
        raise run.diagnostics.stop(
            "missing-file",
            f'there is no file "{path}"',
            origin,
            "standard input has no sections",
        )
    elif path or section is None:
        run.magic.enter_file(path, section or "")
    else:
        run.magic.enter_section(section)
        if kind == "ini":
            if run.last_ini is None:
                raise run.diagnostics.stop(
                    "missing-file",
                    f'"{name}" means another section of the ini file read last: there is none',
                    origin,
                    "name the file before the colon",
                )
            return run.last_ini
    return path


def _check_cycle(run: Evaluation, path: str, section: str | None, origin: Origin) -> None:
    again = run.open_files.count((path, section))
    if again < MOST_REPEATS and len(run.open_files) < MOST_DEPTH:
        return
    names = [name for name, _ in run.open_files]
    last = len(names) - 1 - names[::-1].index(path) if path in names else 0
    chain = " -> ".join([*names[last:], path])
    raise run.diagnostics.stop(
        "include-cycle",
        f"files include each other without an end: {chain}",
        origin,
        "take one of these includes out",
    )


def _source(run: Evaluation, path: str, kind: str, origin: Origin) -> Source:
    """The text of a source with injections around it and magic variables replaced."""
    try:
        text = from_bytes(read_source(run, path))
        before = "".join(from_bytes(read_source(run, name)) for name in run.inject_before)
        after = "".join(from_bytes(read_source(run, name)) for name in run.inject_after)
        whole = before + text + after
        parsed, edits = run.magic.substitute(whole)
    except Unreadable as error:
        at = origin
        if origin.how == "vassal":  # nobody wrote that line: the place is the file itself
            at = Origin(source=Source(name=path, text=""), line=1)
        raise run.diagnostics.stop(
            error.code, f'cannot read "{path}": {error.reason}', at, error.remedy
        ) from None
    source = Source(
        name=path if path != "-" else "<stdin>",
        text=whole,
        parent=origin,
        parsed=parsed,
        edits=edits,
        lines_before=before.count("\n"),
    )
    if kind != "json" and not is_utf8(text):
        _warn_not_utf8(run, source, whole)
    return source


def _warn_not_utf8(run: Evaluation, source: Source, text: str) -> None:
    index = next(i for i, c in enumerate(text) if 0xDC80 <= ord(c) <= 0xDCFF)
    line = text.count("\n", 0, index) + 1
    column = index - text.rfind("\n", 0, index)
    # the place is counted in the text itself, so it must not go through the edits
    plain = Source(name=source.name, text=text, parent=source.parent)
    run.diagnostics.warn(
        "not-utf8",
        f"the byte 0x{ord(text[index]) - 0xDC00:02x} is not UTF-8; it is kept as it is",
        Origin(source=plain, line=line, column=column),
        "save the file in UTF-8",
    )


def _reader(run: Evaluation, kind: str) -> FormatReader:
    """The reader of a format; imported when it is needed, for lxml and PyYAML cost time."""
    match kind:
        case "ini":
            from emperor.compiler.from_ini import read_ini

            return read_ini
        case "json":
            from emperor.compiler.from_json import read_json

            return read_json
        case "yaml":
            from emperor.compiler.from_yaml import read_yaml

            return read_yaml
        case _:
            from emperor.compiler.from_xml import read_xml

            return partial(read_xml, mode=run.mode)


def _append_all(run: Evaluation, kind: str, source: Source, section: str | None) -> None:
    def warn(code: str, message: str, line: int, column: int, remedy: str | None) -> None:
        at = Origin(source=source, line=line, column=column)
        run.diagnostics.warn(code, f"{message} ({source.name})", at, remedy)

    try:
        directive: Directive
        for directive in _reader(run, kind)(source.parsed, section, warn):
            key, value, line, column, width = directive
            run.append(key, value, Origin(source=source, line=line, column=column, width=width))
    except BadFormat as error:
        at = Origin(source=source, line=error.line, column=error.column)
        raise run.diagnostics.stop(error.code, error.message, at, error.remedy) from None
