"""Golden cases: directories with vassals and what is expected of them.

A case holds ``vassal.ini`` and the same in other formats, the files that these read, perhaps a
``case.toml``, and the expectation: ``plan.json`` where a vassal can be run, ``diagnostics.txt``
where there is something to say. ``case.toml`` may have: ``environment`` (a table),
``templates`` (fields of ``Templates``), ``allow`` (sources), ``uwsgi`` (a version),
``binary`` (its path), ``reads_json``, ``strict``, ``user`` (who compiles, if the tests run as
root), ``starter`` (a table: who starts the vassal, else root), and under
``make`` what git cannot keep: ``directories``, ``pipes``, ``unreadable`` (lists of names),
``sparse`` (a table of sizes).
"""

import contextlib
import json
import os
import pwd
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emperor.compiler.directives import EXTENSIONS
from emperor.compiler.plan import VassalPlan
from emperor.compiler.reader import Host
from emperor.compiler.render import render
from emperor.compiler.spec import VassalCompile, compile_vassal
from emperor.compiler.target import NEWEST, Target
from emperor.compiler.vassal import VassalFile
from emperor.runtime.compiling.worker import templates_from_data
from emperor.runtime.reader import FileReader

ROOT = Path(__file__).parents[1] / "golden"
_FORMATS = ("ini", "xml", "yaml", "json")
EXPECTATIONS = ("plan.json", "diagnostics.txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenCase:
    """One case: where it lies, and what its ``case.toml`` says."""

    directory: Path
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``area/case``."""
        return str(self.directory.relative_to(ROOT))

    def expected(self, name: str) -> str | None:
        """The text of an expectation, if the case has it."""
        path = self.directory / name
        return path.read_text(encoding="utf-8") if path.exists() else None


def golden_cases() -> list[GoldenCase]:
    """All cases, sorted by name."""
    return [_case(path) for path in sorted(ROOT.glob("*/*")) if path.is_dir()]


def _case(directory: Path) -> GoldenCase:
    settings = directory / "case.toml"
    text = settings.read_text(encoding="utf-8") if settings.exists() else ""
    return GoldenCase(directory=directory, settings=tomllib.loads(text))


@contextlib.contextmanager
def laid_out(case: GoldenCase) -> Iterator[str]:
    """A copy of the case that any user can reach, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="emperor-golden-") as scratch:
        os.chmod(scratch, 0o755)
        root = os.path.join(os.path.realpath(scratch), "vassals")
        shutil.copytree(
            case.directory,
            root,
            symlinks=True,
            ignore=shutil.ignore_patterns("case.toml", *EXPECTATIONS),
        )
        os.chmod(root, 0o755)
        _make(root, case.settings.get("make", {}))
        yield root


def _make(root: str, wanted: dict[str, Any]) -> None:
    for name in wanted.get("directories", ()):
        os.mkdir(os.path.join(root, name))
    for name in wanted.get("pipes", ()):
        os.mkfifo(os.path.join(root, name))
    for name, size in wanted.get("sparse", {}).items():
        with open(os.path.join(root, name), "wb") as file:
            file.truncate(size)
    for name in wanted.get("unreadable", ()):
        os.chmod(os.path.join(root, name), 0)


def vassal_names(root: str) -> list[str]:
    """The vassals of a case that is laid out: the ini file first."""
    return [f"vassal{e}" for e in EXTENSIONS if os.path.lexists(f"{root}/vassal{e}")]


def compile_golden(case: GoldenCase, root: str, name: str) -> VassalCompile:
    """Compile one vassal of a case as its settings say."""
    settings = case.settings
    target = Target(
        version=settings.get("uwsgi", NEWEST),
        path=settings.get("binary", Target().path),
        reads_json=settings.get("reads_json", "yajl"),
    )
    with _as_user(settings.get("user")):
        return compile_vassal(
            VassalFile(name=name, directory=root, monitor="golden"),
            templates=templates_from_data(settings.get("templates", {})),
            environment={"PATH": "/usr/bin:/bin", **settings.get("environment", {})},
            reader=FileReader(cwd=root, allowed=frozenset(settings.get("allow", ()))),
            target=target,
            is_strict=settings.get("strict", False),
            starter=_started_by(settings.get("starter", {})),
        )


def _started_by(fields: dict[str, Any]) -> Host:
    """Who starts the vassal: root, whoever runs the test."""
    usual = Host(
        hostname="host.example.org",
        cpu_count=4,
        uid=0,
        gid=0,
        user="root",
        group="root",
        start_seconds=0,
        start_microseconds=0,
    )
    return replace(usual, **fields)


@contextlib.contextmanager
def _as_user(name: str | None) -> Iterator[None]:
    """Give up root's rights for a while: root reads everything."""
    if name is None or os.geteuid() != 0:
        yield
        return
    os.seteuid(pwd.getpwnam(name).pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


def plan_text(plan: VassalPlan, root: str) -> str:
    """What a case expects of a plan: all but the names, which differ between the formats.

    How it is launched is shown where it is more than uWSGI's own name.
    """
    data = plan.as_data()
    data["options"] = [
        ["{FORMAT}", "{VASSAL}"] if value == plan.name and key in _FORMATS else [key, value]
        for key, value in data["options"]
    ]
    for own in ("monitor", "name", "section", "digest"):
        del data[own]
    if plan.launch.argv[:-1] == (Target().path, "--inherit"):
        del data["launch"]["argv"]  # it says nothing but the name
    return json.dumps(data, indent=1).replace(root, "{DIR}") + "\n"


def diagnostics_text(result: VassalCompile, root: str) -> str:
    """What a case expects of the diagnostics: as people read them."""
    parts = [render(diagnostic) + "\n" for diagnostic in result.diagnostics]
    return "\n".join(parts).replace(root, "{DIR}")
