"""Our glob finds what glob(3) of the C library finds, with directories marked."""

import ctypes
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emperor.runtime.globbing import glob3

GLOB_MARK = 0x2
NO_MATCH = 3


class Found(ctypes.Structure):
    """``glob_t`` of glibc and musl: count, names, and room that only C looks at."""

    _fields_ = (
        ("count", ctypes.c_size_t),
        ("names", ctypes.POINTER(ctypes.c_char_p)),
        ("rest", ctypes.c_void_p * 16),
    )


def real_glob(pattern: str) -> list[str]:
    library = ctypes.CDLL(None)
    found = Found()
    code = library.glob(os.fsencode(pattern), GLOB_MARK, None, ctypes.byref(found))
    assert code in {0, NO_MATCH}
    try:
        return [os.fsdecode(found.names[i] or b"") for i in range(found.count)]
    finally:
        library.globfree(ctypes.byref(found))


segments = st.text(st.sampled_from("ab.-_1"), min_size=1, max_size=3).filter(
    lambda name: name not in {".", ".."}
)
PIECES = """
* ? ** a b . 1 - _ ~ [ab] [!a] [^b] [a-b] []a] [!]] [1-] [ ] [a \\* \\a {a,b}
""".split()
parts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("".join)
patterns = st.builds(
    lambda names, end, start: start + "/".join(names) + end,
    st.lists(parts, min_size=1, max_size=3),
    st.just(""),  # with a slash at the end glibc marks directories now once, now twice
    st.sampled_from(("", "", "./", "../tree/")),
)
trees = st.lists(st.lists(segments, min_size=1, max_size=3).map("/".join), max_size=6)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("globbing")


def plant(root: Path, tree: list[str]) -> None:
    for name in tree:
        path = root / name
        if any(p.exists() and not p.is_dir() for p in (path, *path.parents)) or path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (root / "link").symlink_to("nowhere")
    (root / "b-link").symlink_to(".")


@given(tree=trees, pattern=patterns)
def test_a_pattern_finds_what_it_finds_in_c(
    tree: list[str], pattern: str, scratch: Path
) -> None:
    root = scratch / "tree"
    root.mkdir()
    before = os.getcwd()
    try:
        plant(root, tree)
        os.chdir(root)  # glob(3) has no other way to begin somewhere
        wanted = real_glob(pattern)
        assert sorted(glob3(pattern)[0]) == sorted(wanted)
        assert sorted(glob3(pattern, str(root))[0]) == sorted(wanted)
        absolute = f"{root}/{pattern}"
        assert sorted(glob3(absolute)[0]) == sorted(real_glob(absolute))
    finally:
        os.chdir(before)
        shutil.rmtree(root)
