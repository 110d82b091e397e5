"""The compile server's first request: the Emperor's own command line and file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from emperor.compiler.catalogue import Facts, everything
from emperor.compiler.diagnostics import Diagnostics, Severity
from emperor.compiler.emperor_config import apply_environment, emperor_config
from emperor.compiler.emperor_options import HOOKS, NEWER, OWN_OPTIONS
from emperor.compiler.loading import format_of
from emperor.compiler.moments import emperor_hooks
from emperor.compiler.pipeline import compile_arguments
from emperor.compiler.render import render
from emperor.compiler.source import to_bytes
from emperor.compiler.spec import plain_environment
from emperor.compiler.target import NO_UWSGI, Target
from emperor.runtime.emperor_file import emperor_arguments, without_missing_sections
from emperor.runtime.reader import FileReader
from emperor.runtime.targets import NoTarget, find_binary, probe


def answer_emperor(message: Mapping[str, Any]) -> dict[str, object]:
    """The Emperor's configuration, the uWSGI it will run, and findings, as JSON has them;
    and the commands of its hooks, by their moment.

    ``message`` has the words behind ``emperor run``, the environment, and the texts that an
    Emperor above has sent.
    """
    environment = dict(message["environment"])
    compiled = compile_arguments(
        _arguments(message["arguments"]),
        environment=environment,
        reader=FileReader(
            allowed=frozenset({"file", "fd", "exec", "http"}),
            given={url: to_bytes(text) for url, text in message["texts"].items()},
        ),
        target=Target(),
        further_options=[*OWN_OPTIONS, *_of_plugins(), *_newer()],
    )
    diagnostics = Diagnostics()
    diagnostics.items += without_missing_sections(compiled.diagnostics)
    config = emperor_config(compiled.entries, diagnostics)
    rendered = [render(d) for d in diagnostics.items]
    target: Target | None = None
    if not diagnostics.has_errors:
        try:
            target = probe_or_program(config.binary_path)
        except NoTarget as error:
            rendered.append(f"error: {error}")
        if target is not None and target.path == NO_UWSGI:
            rendered.append(
                "there is no uWSGI on PATH: only vassals that name a program of their own can"
                " run (vassal-exec); install one, or emperor-compiler[uwsgi], or name it with"
                " --binary-path"
            )
    is_wrong = any(d.severity is Severity.ERROR for d in diagnostics.items) or target is None
    return {
        "ok": not is_wrong,
        "diagnostics": rendered,
        "config": asdict(config),
        "hooks": emperor_hooks(config.hooks),
        "environment": apply_environment(environment, config.environment),
        "vassal_environment": plain_environment(
            apply_environment(environment, config.environment)
        ),
        "target": None if target is None else _target_data(target),
    }


def _of_plugins() -> list[Facts]:
    """The options of all plugins: known, so that they can be refused by their names."""
    return [option for option in everything().values() if option["plugin"] != "core"]


def _newer() -> list[Facts]:
    """Options some of which are of uWSGI 2.1, and obeyed whatever the version is."""
    return [everything()[name] for name in sorted(HOOKS | NEWER) if name in everything()]


def _arguments(words: list[str]) -> list[str]:
    """uWSGI arguments for the words of ``emperor run``: a file means both of its sections."""
    result: list[str] = []
    for word in words:
        is_file = not word.startswith("-") and format_of(word) is not None
        is_value = bool(result) and _wants_value(result[-1])
        result += emperor_arguments(word) if is_file and not is_value else [word]
    return result


def _wants_value(word: str) -> bool:
    """Whether the word behind this one is its value."""
    options = {**everything(), **{option["name"]: option for option in OWN_OPTIONS}}
    facts = options.get(word.removeprefix("--")) if word.startswith("--") else None
    return facts is not None and facts["argument"] == "required"


def probe_or_program(wanted: str | None) -> Target:
    """The uWSGI to run. A program that is none, but was named, is run all the same: it may
    speak the protocol. If nothing is named there need be none: see ``NO_UWSGI``. Raises
    ``NoTarget``."""
    try:
        path = find_binary(wanted)
    except NoTarget:
        if wanted is not None:
            raise
        return Target(path=NO_UWSGI)
    try:
        return probe(path)
    except NoTarget:
        if wanted is None:
            raise
        return Target(path=path)


def _target_data(target: Target) -> dict[str, object]:
    return {
        "version": target.version,
        "path": target.path,
        "built_in": sorted(target.built_in),
        "loadable": None if target.loadable is None else sorted(target.loadable),
        "reads_json": target.reads_json,
        "interpreter": target.interpreter,
    }
