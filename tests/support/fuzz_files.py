"""Random files: directives written down in the four formats, in every odd way they allow."""

import json
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from hypothesis import strategies as st
from tests.support.fuzz_values import Pair, directives, option_for, unknown_options

Draw = st.DrawFn
Bytes = st.SearchStrategy[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Files of one directory, and how uWSGI is called in it."""

    files: dict[str, bytes]
    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)


#: Keys that refuse values without an equals sign; an odd shape would end most files early.
PICKY = frozenset({"set", "set-ph", "set-placeholder", "declare-option", "declare-option2"})


def _index(key: str, plain: int, count: int) -> st.SearchStrategy[int]:
    """Which shape an entry gets. The plain ones stand first and are drawn most, or nothing much
    would be read."""
    if key in PICKY:
        return st.integers(0, 1)
    return st.integers(0, plain) | st.integers(0, count - 1)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# -- the four formats ------------------------------------------------------------------------

_HEADERS = (
    "[uwsgi]",
    "[uwsgi]",
    "[uwsgi]",
    "[uwsgi)",
    " [uwsgi]\t",
    "[sec]",
    "[uwsgi",
    "[x y]",
)
_NOISE = (
    "",
    "",
    "",
    "; comment %n\n",
    "# c\n",
    "\n",
    " \t\n",
    "other line\n",
    "[sec]\n",
    "= x\n",
)


@st.composite
def ini(draw: Draw, pairs: list[Pair]) -> str:
    header, end = draw(st.sampled_from(_HEADERS)), draw(st.sampled_from(("\n", "\n", "\r\n")))
    text = draw(st.sampled_from(_NOISE)) + header + end
    for key, value in pairs:
        between = draw(st.sampled_from(("=", " = ", "\t=", "=  ")))
        text += draw(st.sampled_from(_NOISE)) + f"{key}{between}{value}{end}"
    return text if draw(st.booleans()) else text.removesuffix(end)


@st.composite
def json_text(draw: Draw, pairs: list[Pair]) -> str:
    items = [
        f"{_json_string(draw, key)}: {_json_value(draw, key, value)}" for key, value in pairs
    ]
    separator = draw(st.sampled_from((", ", ",\n ", ",/* c */", ",// d\n")))
    name = draw(st.sampled_from((*["uwsgi"] * 7, "sec")))
    body = f'"{name}": {{{separator.join(items)}}}'
    before = draw(st.sampled_from(("", "", '"sec": {"s": 1},', '"n": [{}],', '"uwsgi": {},')))
    return "{" + before + body + "}" + draw(st.sampled_from(("", "\n", "// end", "\n\n")))


def _json_string(draw: Draw, text: str) -> str:
    return json.dumps(text, ensure_ascii=draw(st.booleans()) and text.isprintable())


def _json_value(draw: Draw, key: str, value: str) -> str:
    text = _json_string(draw, value)
    if key in PICKY:
        return text
    plain = st.sampled_from(
        ("1", "-0.5e3", "true", "false", "null", "1E400", "12345678901", "0")
    )
    other = draw(plain)
    shapes = (text, text, text, other, f"[{text}, {other}]", f'[[1], {text}, {{"a": 1}}]')
    return draw(st.sampled_from((*shapes, f'{{"in": {text}}}', "[]")))


@st.composite
def yaml_text(draw: Draw, pairs: list[Pair]) -> str:
    lines = [
        draw(st.sampled_from(("", "---\n", "# c\n", "sec:\n  s: 1\n", "%YAML 1.1\n---\n")))
    ]
    lines.append(draw(st.sampled_from(("uwsgi:\n", "uwsgi:\n", "sec:\n", "deep:\n uwsgi:\n"))))
    for key, value in pairs:
        lines.append(_yaml_entry(draw, key, value))
    return "".join(lines) + draw(st.sampled_from(("", "", "...\n", "after: x\n", "  - x\n")))


def _yaml_entry(draw: Draw, key: str, value: str) -> str:
    scalar = _yaml_scalar(draw, value)
    name = key if draw(st.booleans()) else _yaml_scalar(draw, key)
    shapes = (
        f"  {name}: {scalar}\n",
        f"  {name}: {scalar}\n",
        f"  {name}: {scalar}   # comment\n",
        f"  {name}:\n    - {scalar}\n    - x\n",
        f"  {name}:\n  - {scalar}\n",
        f"  {name}: [{scalar}, y]\n",
        f"  {name}: |\n    {value}\n    more\n",
        f"  {name}: >-\n    {value}\n    more\n",
        f"  {name}:\n    inner: {scalar}\n",
        f"  {name}:\n",
        f"  ? {name}\n  : {scalar}\n",
        f"  {name}: &x {scalar}\n",
        f"  {name}: !!str {scalar}\n",
        f"  {name}: *x\n",
        f"  {name}: {{q: {scalar}}}\n",
        f"  {name}:\n    - [{scalar}]\n    - z\n",
    )
    index = draw(_index(key, 5, len(shapes)))
    return shapes[index]


def _yaml_scalar(draw: Draw, value: str) -> str:
    match draw(st.sampled_from(("double", "double", "single", "plain"))):
        case "double":
            return json.dumps(value, ensure_ascii=False)
        case "single":
            return "'" + value.replace("'", "''") + "'"
        case _:
            return value


@st.composite
def xml_text(draw: Draw, pairs: list[Pair]) -> str:
    attribute = draw(st.sampled_from(("", "", ' id="sec"', ' id="uwsgi"')))
    body = "".join(_xml_entry(draw, key, value) for key, value in pairs)
    text = f"<uwsgi{attribute}>{body}</uwsgi>\n"
    if draw(st.booleans()):
        before = draw(st.sampled_from(("", "<!-- c -->", "<uwsgi id='sec'><s>1</s></uwsgi>")))
        text = f"<root>{before}{text}</root>"
    head = ("", "", '<?xml version="1.0"?>\n', '<!DOCTYPE uwsgi [<!ENTITY e "ent">]>\n')
    return draw(st.sampled_from(head)) + text


def _xml_entry(draw: Draw, key: str, value: str) -> str:
    name = key.replace(" ", "-")
    text = escape(value)
    shapes = (
        f"\n  <{name}>{text}</{name}>",
        f"<{name}>{text}</{name}>",
        f"<{name}> {text}\n</{name}>",
        f"<{name}/>",
        f"<{name}><![CDATA[{value}]]></{name}>",
        f"<{name}><!-- {text} -->x</{name}>",
        f'<{name} id="sec">{text}</{name}>',
        f'<{name} mode="x">{text}</{name}>',
        f"<{name}>&#65;&amp;{text}&lt;</{name}>",
        f"<{name}>{text}<b>c</b></{name}>",
        f"<!-- {text} -->",
        f"<?pi {text}?>",
        f'<app mountpoint="/m">{text}</app>',
        f"<app domain='d'>\n <script>{text}</script></app>",
        f"<n:{name} xmlns:n='urn:n'>{text}</n:{name}>",
        text,
        f"<![CDATA[{value}]]>",
    )
    index = draw(_index(key, 4, len(shapes)))
    return shapes[index]


_FORMATS = {"ini": ini, "json": json_text, "js": json_text, "yml": yaml_text, "xml": xml_text}


# -- whole cases -----------------------------------------------------------------------------


@st.composite
def cases(draw: Draw, first: str) -> Case:
    """A directory whose first file is of the format with the ending ``first``."""
    endings = [first, *draw(st.lists(st.sampled_from(sorted(_FORMATS)), max_size=2))]
    names = [
        f"{draw(st.sampled_from(('', 'd/')))}f{index}.{ending}"
        for index, ending in enumerate(endings)
    ]
    files = {
        "text": b"text %(last) @(d/lines)\n",
        "d/lines": b"one\n\n two %(_)\r\n# c",
        "inj": b"\n",
    }
    for index, (name, ending) in enumerate(zip(names, endings, strict=True)):
        pairs = draw(directives(tuple(names[index + 1 :])))
        files[name] = draw(mutated(_encode(draw(_FORMATS[ending](pairs)))))
    return Case(
        files=files,
        arguments=draw(arguments(names)),
        environment=draw(environments()),
    )


@st.composite
def mutated(draw: Draw, data: bytes) -> bytes:
    """Mostly the data itself; now and then with a few bytes changed."""
    if draw(st.integers(0, 9)):
        return data
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(data)))
        new = draw(
            st.sampled_from((b"", b"%", b"\n", b'"', b" ", b"=", b"(", b"\xff", b"<", b":"))
        )
        data = data[:at] + new + data[at + draw(st.integers(0, 2)) :]
    return data


@st.composite
def arguments(draw: Draw, names: list[str]) -> list[str]:
    """A command line that reads the first file, by position or by an option."""
    name = names[0]
    section = draw(st.sampled_from(("", "", "", ":uwsgi", ":sec")))
    by_option = [f"--{option_for(name)}", name + section]
    own = draw(st.sampled_from(([name], [name], by_option, ["--include", name])))
    further = st.one_of(
        unknown_options().map(lambda pair: ["--set", f"{pair[0]}={pair[1]}"]),
        st.sampled_from(
            (["--master"], ["-p", "3"], ["-p2"], ["--socket=:1"], ["--master=1"], ["-M"])
        ),
        st.sampled_from(
            (["--vacu"], ["--chmod-socket"], ["-C666"], ["--nope"], ["[x"], ["--max-re=1"])
        ),
        st.sampled_from(names).map(lambda name: [name]),
        st.sampled_from(names).map(lambda name: ["--inherit", name]),
    )
    words = [own, *draw(st.lists(further, max_size=2))]
    flat = [word for group in draw(st.permutations(words)) for word in group]
    return [word.replace("\0", "") for word in flat]


def environments() -> st.SearchStrategy[dict[str, str]]:
    """Variables that placeholders ask for, and now and then some that are options."""
    plain = {"HERE": "here", "EMPTY": "", "NUMBER": "12", "WITH_PERCENT": "%(last)"}
    more = st.dictionaries(
        st.sampled_from(("UWSGI_FOO", "UWSGI_BAR_X", "UWSGI_SET", "UWSGI_", "UWSGI_RELOADS")),
        st.sampled_from(("1", "a=b", "", "%(num)x")),
        max_size=1,
    )
    return st.just(plain) | more.map(lambda added: {**plain, **added})
