"""What a command may import: start time is a promise, and a library is easily dragged in."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

#: What a plain ini file costs; a format, an option or a source may bring more.
COMPILE_MAY_IMPORT = frozenset({"click", "lark"})

#: What the daemon may import beside the standard library.
DAEMON_MAY_IMPORT = frozenset({"asyncinotify"})

#: Heavy parts of the standard library that no compile of a plain ini file needs.
COMPILE_MUST_NOT_IMPORT = frozenset(
    """
    asyncio concurrent.futures ctypes email http.client multiprocessing selectors socket
    sqlite3 ssl subprocess unittest urllib.request xml
    """.split()
)

#: What a format brings beside that.
FORMATS = {
    "one.ini": ("[uwsgi]\nsocket = /run/%n.sock\nx = %(y + 1)\ny = 2\n", frozenset[str]()),
    "one.json": ('{"uwsgi": {"socket": ":3031"}}', frozenset[str]()),
    "one.yaml": ("uwsgi:\n  socket: :3031\n", frozenset({"yaml"})),
    "one.xml": ("<uwsgi><socket>:3031</socket></uwsgi>", frozenset({"lxml"})),
}

#: Imported by the interpreter's own start in some environments (site, editable installs).
OF_THE_ENVIRONMENT = frozenset({"sitecustomize", "usercustomize", "_distutils_hack"})


def imported_by(*arguments: str, cwd: Path, code: int = 0) -> set[str]:
    """The names of all modules that ``python -m emperor ARGUMENTS`` imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "emperor", *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == code, done.stderr[-2000:]
    found = re.findall(r"^import time:[^|]*\|[^|]*\|\s*(\S+)$", done.stderr, re.MULTILINE)
    return set(found) - {"package"}


def libraries(modules: set[str]) -> set[str]:
    """The packages of others among them; those that were only looked for do not count."""
    tops = {name.partition(".")[0] for name in modules}
    foreign = tops - sys.stdlib_module_names - {"emperor"} - OF_THE_ENVIRONMENT
    return {
        name
        for name in foreign
        if not name.startswith("__editable__") and importlib.util.find_spec(name) is not None
    }


@pytest.mark.parametrize("name", FORMATS)
def test_compile_imports_what_its_format_needs(name: str, tmp_path: Path) -> None:
    text, extra = FORMATS[name]
    (tmp_path / name).write_text(text)
    modules = imported_by("compile", name, cwd=tmp_path)
    assert libraries(modules) <= COMPILE_MAY_IMPORT | extra
    assert "emperor.compiler.pipeline" in modules


def test_compile_of_a_plain_ini_leaves_heavy_modules_alone(tmp_path: Path) -> None:
    (tmp_path / "one.ini").write_text(FORMATS["one.ini"][0])
    modules = imported_by("compile", "one.ini", cwd=tmp_path)
    assert modules & COMPILE_MUST_NOT_IMPORT == set()
    own = {name for name in modules if name.startswith("emperor.")}
    readers = {f"emperor.compiler.from_{kind}" for kind in ("json", "xml", "yaml")}
    assert own & readers == set()
    assert own & {"emperor.compiler.plan", "emperor.cli.explain", "emperor.cli.run"} == set()


def test_help_needs_click_alone(tmp_path: Path) -> None:
    assert libraries(imported_by("--help", cwd=tmp_path)) == {"click"}


def test_the_daemon_carries_no_parser(tmp_path: Path) -> None:
    # without a monitor it leaves as soon as the compile server has read its command line
    modules = imported_by("run", cwd=tmp_path, code=2)
    assert libraries(modules) <= DAEMON_MAY_IMPORT
    assert "emperor.runtime.controller" in modules
    assert modules & {"_ssl", "emperor.compiler.pipeline"} == set()
