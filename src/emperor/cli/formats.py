"""How results of ``emperor compile`` are printed, for machines (stdout) and for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from emperor.compiler.diagnostics import Diagnostic, Severity
from emperor.compiler.effective import effective
from emperor.compiler.pipeline import Compiled
from emperor.compiler.render import as_data
from emperor.compiler.source import to_bytes
from emperor.compiler.spec import VassalCompile

if TYPE_CHECKING:
    from emperor.compiler.plan import Plan

Pairs = Sequence[tuple[str, "str | None"]]

#: From this many vassals on a terminal is shown how far the work is.
MANY = 200


class Results:
    """Prints vassals as they come, or all of them at the end where the format wants it."""

    def __init__(self, format_: str, *, is_list: bool, explain: str | None) -> None:
        self.format = format_
        self.is_list = is_list
        self.explain = explain
        self.items: list[dict[str, Any]] = []
        self.results: list[VassalCompile] = []
        self.count = 0

    def add(self, result: VassalCompile, *, effective: bool) -> None:
        """Take one vassal's result."""
        self.count += 1
        if self.explain is not None:
            self._explain(result)
        elif self.format == "json":
            self.items.append(_vassal_data(result))
        elif self.format == "plan":
            self.results.append(result)
        elif self.format == "argv":
            if plan := result.plan:
                import shlex

                write(shlex.join(plan.launch.argv) + "\n")
        else:
            if self.is_list:
                self._heading(result.file.name)
            write(render_pairs(self.format, _chosen(result.compiled, effective)))

    def _heading(self, name: str) -> None:
        comment = {"ini": "; {}", "yaml": "# {}", "xml": "<!-- {} -->"}[self.format]
        write(("\n" if self.count > 1 else "") + comment.format(name) + "\n")

    def _explain(self, result: VassalCompile) -> None:
        from emperor.cli.explain import explain

        explain(result.file.name, result.compiled, self.explain or None)

    def finish(self) -> None:
        """Print what was kept until the end."""
        if self.explain is not None:
            return
        if self.format == "json":
            shown: object = self.items if self.is_list else self.items[0]
            write(json.dumps(shown, indent=2) + "\n")
        elif self.format == "plan":
            from emperor.compiler.plan import Plan

            write_plan(Plan(vassals=tuple(plan for r in self.results if (plan := r.plan))))


def write_plan(plan: Plan) -> None:
    """Print a plan in its canonical form, having checked it against its schema."""
    import pkgutil

    import jsonschema

    text = plan.to_json()
    schema = json.loads(pkgutil.get_data("emperor", "schemas/plan.schema.json") or b"")
    jsonschema.Draft202012Validator(schema).validate(json.loads(text))
    write(text.decode("ascii") + "\n")


def print_compiled(
    format_: str, compiled: Compiled, explain_option: str | None, *, effective: bool
) -> None:
    """Print what a bare uWSGI command line means."""
    if explain_option is not None:
        from emperor.cli.explain import explain

        explain("uwsgi", compiled, explain_option or None)
    elif format_ == "json":
        write(json.dumps(_compiled_data("uwsgi", compiled, None), indent=2) + "\n")
    elif format_ in {"plan", "argv"}:
        write(f"; a bare command line has no {format_}: it is no vassal\n")
    else:
        write(render_pairs(format_, _chosen(compiled, effective)))


def _vassal_data(result: VassalCompile) -> dict[str, Any]:
    plan = result.plan
    data = _compiled_data(result.file.name, result.compiled, plan.digest if plan else None)
    data["diagnostics"] = [as_data(d) for d in result.diagnostics]
    return data


def _compiled_data(name: str, compiled: Compiled, digest: str | None) -> dict[str, Any]:
    return {
        "name": name,
        "options": [list(pair) for pair in compiled.options],
        "effective": effective(compiled.options),
        "diagnostics": [as_data(d) for d in compiled.diagnostics],
        "digest": digest,
    }


def _chosen(compiled: Compiled, only_effective: bool) -> Pairs:
    if not only_effective:
        return compiled.options
    pairs: list[tuple[str, str | None]] = []
    for key, value in effective(compiled.options).items():
        pairs += [(key, v) for v in value] if isinstance(value, list) else [(key, value)]
    return pairs


def render_pairs(format_: str, pairs: Pairs) -> str:
    """Options as a text in a format; a flag without a value is shown as ``true``."""
    shown = [(key, "true" if value is None else value) for key, value in pairs]
    if format_ == "ini":
        # written by hand: this is the default, and must not wait for a template engine
        return "[uwsgi]\n" + "".join(f"{key} = {value}".rstrip() + "\n" for key, value in shown)
    from emperor.cli.templates import render

    return render(format_, shown)


def write(text: str) -> None:
    """Machine output goes to standard output, with the bytes that the texts came from."""
    sys.stdout.flush()
    os.write(1, b"") if not text else sys.stdout.buffer.write(to_bytes(text))
    sys.stdout.buffer.flush()


def coloured(text: str, diagnostic: Diagnostic) -> str:
    """A finding with its severity in colour where people look at a terminal."""
    if not sys.stderr.isatty() or "NO_COLOR" in os.environ:
        return text
    colour = "31;1" if diagnostic.severity is Severity.ERROR else "33;1"
    word = f"{diagnostic.severity.value}[{diagnostic.code}]"
    return text.replace(word, f"\x1b[{colour}m{word}\x1b[0m", 1)


@contextmanager
def progress(total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on a terminal for long work; nothing elsewhere."""
    if total < MANY or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("compiling", total=total)
        yield lambda: bar.advance(task)
