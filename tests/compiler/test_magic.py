"""Magic variables, in the raw text, and the places that stay right behind them."""

import pytest
from tests.support.readers import DictReader

from emperor.compiler.magic import MagicTable, djb33x
from emperor.compiler.source import Source
from emperor.compiler.target import Target


def table(given: str = "app.ini", section: str = "", **links: str) -> MagicTable:
    reader = DictReader(files={"/srv/vassals/app.ini": b"", "/srv/t": b""}, links=links)
    made = MagicTable(reader, Target(version="2.0.31", path="/usr/bin/uwsgi"))
    made.enter_file(given, section)
    return made


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("%o %p", "app.ini /srv/vassals/app.ini"),
        ("%s|%n|%e", "app.ini|app|ini"),
        ("%d %c", "/srv/vassals/ vassals"),
        ("%0/%1/%2", "srv/vassals/"),
        ("%O%D%N", "app.ini/srv/vassals/app"),
        ("%h %k", "node7.example.org 4"),
        ("%u %U %g %G", "1000 erika 1001 staff"),
        ("%V %b %v", "2.0.31 /usr/bin/uwsgi /srv/vassals"),
        ("%t %T", "1700000000 1700000000123456"),
        ("%i", "42"),
        ("100%%", "100%"),
        ("%(name) %%(name)", "%(name) %(name)"),
        ("%[31m", "\x1b31m"),
        ("a%qb%", "ab"),
        ("end %\nnext", "end next"),
        ("%\u00e9", "\udca9"),
    ],
)
def test_a_text_is_replaced_in_one_run(text: str, wanted: str) -> None:
    assert table().substitute(text)[0] == wanted


def test_the_section_is_that_of_the_file_being_read() -> None:
    made = table(section="web")
    assert made.substitute("%x %X")[0] == "web web"
    made.enter_section("other")
    assert made.substitute("%x %X %o.")[0] == "other web ."


def test_a_source_changes_nothing_but_the_name_as_given() -> None:
    made = table()
    made.enter_source("fd://0")
    assert made.substitute("%o %n")[0] == "fd://0 app"


def test_a_link_is_not_followed_when_it_is_the_file_itself() -> None:
    made = table("now.ini", **{"/srv/vassals/now.ini": "/srv/t"})
    assert made.substitute("%p %n")[0] == "/srv/vassals/now.ini now"


def test_before_any_file_the_variables_of_files_are_empty() -> None:
    made = MagicTable(DictReader(), Target())
    assert made.substitute("<%o%p%d%n%x%i%j%0%N%b>")[0] == "<>"


@pytest.mark.parametrize(("path", "hash_"), [("", "05150000"), ("/tmp/vec/a.ini", "B22E5834")])
def test_the_hash_is_djb33x_in_memory_order(path: str, hash_: str) -> None:
    assert djb33x(path) == hash_


@pytest.mark.parametrize(
    ("text", "found", "place"),
    [
        ("a = 1\nb = %d%d x\n", "x", (2, 10)),
        ("a = 100%\nb = 2\nlast = 3\n", "last", (3, 1)),
        ("%%%%%% name = %n tail\n", "tail", (1, 18)),
        ("; %p\n; %p\nc = 1\n", "c", (3, 1)),
    ],
)
def test_a_place_behind_variables_is_that_of_the_original(
    text: str, found: str, place: tuple[int, int]
) -> None:
    parsed, edits = table().substitute(text)
    source = Source(name="app.ini", text=text, parsed=parsed, edits=edits)
    offset = parsed.index(found)
    line = parsed.count("\n", 0, offset) + 1
    column = offset - parsed.rfind("\n", 0, offset)
    assert source.place(line, column) == place
