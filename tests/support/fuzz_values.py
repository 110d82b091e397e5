"""Random directives: keys and values that put every rule of the language to work."""

from functools import cache

from hypothesis import strategies as st

#: Unknown keys; a value refers only to keys further on in this list, and what comes from files
#: and variables to "last" alone, so hardly anything grows for ever.
KEYS = ("a", "b", "c", "foo", "bar", "Foo", "k-1", "x y", "é", "num", "z.9")
ENVIRONMENT_NAMES = ("HERE", "EMPTY", "NUMBER", "HOME", "NOPE", "WITH_PERCENT")
TEXT_FILES = ("text", "d/lines", "nope.txt")

Texts = st.SearchStrategy[str]
Pair = tuple[str, str]

words = st.sampled_from(
    ("1", "x", "last", "two words", "-3", "0x10", "007", "true", "a=b", "/d")
)
odd_characters = st.text(
    st.sampled_from(" \t=;#%$@()[]{}<>&\"'\\/:,.|!*?~^`-_+0aé€\udc80\udcff\f\r\n\x01\0"),
    max_size=4,
)
magic = st.sampled_from([f"%{letter}" for letter in "opsednc012xijOPSDENCXIJvhkuUgGVbzq% ["])
broken = st.sampled_from(
    ("%(", "$(", "@(", "%(last", ")", "()", "%()", "%%(last)", "%$(HERE)", "$%(last)")
)


@cache
def placeholders(names: tuple[str, ...]) -> Texts:
    """``%(name)``, alone, nested and computed."""
    known = st.sampled_from((*names, "undefined"))
    operators = st.sampled_from(("+", "-", "*", "/", "++", "--", "+ -", ""))
    numbers = st.sampled_from(("1", "3", "0", "10", "9223372036854775807", "-2", "07"))
    operands = known | numbers
    sums = st.builds("%({} {} {})".format, operands, operators, operands)
    longer = st.builds(
        "%({} {} {} {} {})".format, operands, operators, operands, operators, known
    )
    return st.one_of(
        known.map("%({})".format),
        known.map("%(%({}))".format),
        known.map("<%(%({}))>".format),
        sums,
        longer,
    )


@cache
def sources() -> Texts:
    """What comes from the environment and from files."""
    variables = st.sampled_from(ENVIRONMENT_NAMES).map("$({})".format)
    files = st.sampled_from(TEXT_FILES[:2]).map("@({})".format)
    return variables | files


@cache
def values(names: tuple[str, ...]) -> Texts:
    """Values that may refer to ``names``."""
    piece = st.one_of(
        words, placeholders(names), words, sources(), magic, broken, odd_characters
    )
    return st.lists(piece, max_size=4).map("".join)


def _later(key: str) -> tuple[str, ...]:
    return KEYS[KEYS.index(key) + 1 :] if key in KEYS else KEYS


@cache
def unknown_options() -> st.SearchStrategy[Pair]:
    """Keys of nobody, which are placeholders."""
    return st.one_of([st.tuples(st.just(key), values(_later(key))) for key in KEYS])


@cache
def real_options() -> st.SearchStrategy[Pair]:
    """Options of uWSGI that do nothing before the list is shown; some refuse their value."""
    numbers = st.sampled_from(("1", "4", "-1", "x", "", "99999999999", "4294967295", "%(num)"))
    names = KEYS[-3:]
    return st.one_of(
        st.tuples(st.sampled_from(("processes", "workers", "listen", "harakiri")), numbers),
        st.tuples(st.sampled_from(("master", "vacuum", "die-on-term")), words),
        st.tuples(st.just("socket"), st.sampled_from((":3031", "127.0.0.1:0", "/x/%(a).sock"))),
        st.tuples(st.sampled_from(("env", "static-map", "add-header")), values(names)),
        st.tuples(st.just("chmod-socket"), st.sampled_from(("664", "1", "9", "0664", ""))),
    )


@cache
def settings() -> st.SearchStrategy[Pair]:
    """``set`` and its kin."""
    pairs = st.one_of(unknown_options(), real_options(), logic(), block_ends())
    set_ = pairs.map(lambda pair: ("set", f"{pair[0]}={pair[1]}"))
    keep = unknown_options().map(lambda pair: ("set-placeholder", f"{pair[0]}={pair[1]}"))
    short = unknown_options().map(lambda pair: ("set-ph", f"{pair[0]}={pair[1]}"))
    return st.one_of(set_, set_, set_, keep, short)


@cache
def logic() -> st.SearchStrategy[Pair]:
    """The opening lines of blocks."""
    names = st.sampled_from([*KEYS, "processes", *ENVIRONMENT_NAMES])
    asked = names | st.builds("{}={}".format, names, words)
    paths = st.sampled_from((*TEXT_FILES, "d", "d/", "link", "%d", "."))
    nots = st.sampled_from(("if-", "if-not-"))

    def pair(ending: str, argument: Texts) -> st.SearchStrategy[Pair]:
        return st.tuples(nots.map(lambda start: start + ending), argument)

    return st.one_of(
        st.tuples(st.just("for"), st.lists(words, max_size=3).map(" ".join)),
        st.tuples(st.just("for-times"), st.sampled_from(("2", "3", "0", "x", "-1", "2x"))),
        st.tuples(st.just("for-glob"), st.sampled_from(("d/*", "*.none", "[df]*", "d", "?"))),
        st.tuples(st.just("for-readline"), st.sampled_from(TEXT_FILES)),
        pair("opt", asked),
        pair("env", asked),
        pair("exists", paths),
        pair("file", paths),
        pair("dir", paths),
        pair("plugin", st.sampled_from(("echo", "nope", "python"))),
        pair("hostname", st.sampled_from(("nope", "%h"))),
        pair("reload", words),
        st.tuples(st.sampled_from(("ifenv", "ifexists", "ifdir", "if-directory")), asked),
    )


@cache
def block_ends() -> st.SearchStrategy[Pair]:
    """What closes a block; ``else`` is no logic in 2.0."""
    ends = st.sampled_from(("endif", "endfor", "end", "end-if", "end-for", "else"))
    return st.tuples(ends, st.sampled_from(("", "x")))


@cache
def in_bodies() -> st.SearchStrategy[Pair]:
    """Lines that use the item of the block that they stand in."""
    texts = st.sampled_from(("%(_)", "x%(_)y%(_)", "%(_ + 1)", "%(num)%(_)", "<%(%(_))>"))
    return st.tuples(st.sampled_from((*KEYS[:4], "socket", "processes")), texts)


@cache
def rules() -> st.SearchStrategy[Pair]:
    """Options that change how the rest is read."""
    templates = st.sampled_from(
        (
            "set=$1=$2",
            "a=$1;set=b=$1-$3",
            "env=X=$1;nothing;set=c=1",
            "set=$1$10=%(a)",
            "for=$1 z",
        )
    )
    own = st.sampled_from(("mine", "a", "socket"))
    declared = st.tuples(
        st.sampled_from(("declare-option", "declare-option", "declare-option2")),
        st.builds("{}={}".format, own, templates),
    )
    lists = st.sampled_from(("a b", "FOO socket", "for set end", ""))
    return st.one_of(
        declared,
        st.tuples(st.just("mine"), st.sampled_from(("1", "c 2", "a  b c", "", "%(a) x"))),
        st.tuples(st.just("strict"), st.sampled_from(("true", "false", "", "0"))),
        st.tuples(st.sampled_from(("blacklist", "end-blacklist")), lists),
        st.tuples(
            st.sampled_from(("inject-before", "inject-after")), st.sampled_from(("inj",))
        ),
        st.tuples(st.just("mode"), words),
        st.tuples(st.just("last"), words),
        st.just(("loop", "<%(loop)>")),
    )


@cache
def directives(files: tuple[str, ...]) -> st.SearchStrategy[list[Pair]]:
    """Some directives of one file, which may read ``files``."""
    kinds = [
        unknown_options(),
        unknown_options(),
        unknown_options(),
        unknown_options(),
        real_options(),
        settings(),
        logic(),
        in_bodies(),
        in_bodies(),
        block_ends(),
        block_ends(),
        block_ends(),
        rules(),
    ]
    if files:
        kinds += [reading(files), reading(files)]
    return st.lists(st.one_of(kinds), min_size=3, max_size=14)


@cache
def reading(files: tuple[str, ...]) -> st.SearchStrategy[Pair]:
    """Options that read another file, by its ending or by a forced format."""
    names = st.sampled_from(files)
    sections = st.sampled_from(("", "", ":sec", ":nope", ":"))
    by_ending = st.tuples(st.sampled_from(("include", "inherit", "include")), names)
    forced = names.flatmap(
        lambda name: st.tuples(st.just(option_for(name)), sections.map(lambda s: name + s))
    )
    return st.one_of(by_ending, forced, st.just(("ini", ":sec")))


def option_for(name: str) -> str:
    """The option that reads a file of that name: ``yaml`` for ``x.yml``."""
    ending = name.rpartition(".")[2]
    return {"yml": "yaml", "js": "json"}.get(ending, ending)
