"""How results of ``emperor compile`` are printed, for machines (stdout) and for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Union

from emperor.compiler.diagnostics import Diagnostic, Severity
from emperor.compiler.effective import effective
from emperor.compiler.pipeline import Compiled
from emperor.compiler.render import as_data
from emperor.compiler.source import to_bytes
from emperor.compiler.spec import VassalCompile

if TYPE_CHECKING:
    from emperor.compiler.plan import Plan, VassalPlan

Pairs = Sequence[tuple[str, "str | None"]]

#: One vassal in some format: its text, or its place in the plan; nothing if it has none.
Item = Union[str, "VassalPlan", None]

#: A comment in the formats in which a vassal is headed by its name.
_COMMENTS = {"ini": "; {}", "yaml": "# {}", "xml": "<!-- {} -->"}

#: From this many vassals on a terminal is shown how far the work is.
MANY = 200


class Results:
    """Prints vassals as they come, or all of them at the end where the format wants it."""

    def __init__(self, format_: str, *, is_list: bool) -> None:
        self.format = format_
        self.is_list = is_list
        self.kept: list[Item] = []
        self.count = 0

    def add(self, item: Item) -> None:
        """Take what ``item_of`` made of the next vassal."""
        self.count += 1
        if self.format in {"json", "plan"}:
            self.kept.append(item)
        elif isinstance(item, str):
            is_apart = self.is_list and self.count > 1 and self.format in _COMMENTS
            write("\n" + item if is_apart else item)

    def finish(self) -> None:
        """Print what was kept until the end."""
        if self.format == "json":
            texts = [item for item in self.kept if isinstance(item, str)]
            write((_json_list(texts) if self.is_list else texts[0]) + "\n")
        elif self.format == "plan":
            from emperor.compiler.plan import Plan, VassalPlan

            plans = tuple(item for item in self.kept if isinstance(item, VassalPlan))
            write_plan(Plan(vassals=plans))


def item_of(result: VassalCompile, format_: str, *, is_list: bool, effective: bool) -> Item:
    """One vassal in a format, as ``Results`` prints it."""
    if format_ == "json":
        return json.dumps(_vassal_data(result), indent=2)
    plan = result.plan if format_ in {"plan", "argv"} else None
    if format_ == "plan":
        return plan
    if format_ == "argv":
        import shlex

        return shlex.join((*plan.launch.chain, *plan.launch.argv)) + "\n" if plan else None
    heading = _COMMENTS[format_].format(result.file.name) + "\n" if is_list else ""
    return heading + render_pairs(format_, _chosen(result.compiled, effective))


def _json_list(texts: list[str]) -> str:
    """The list of some JSON texts; a line end in one is never inside a string."""
    if not texts:
        return "[]"
    indented = ("  " + text.replace("\n", "\n  ") for text in texts)
    return "[\n" + ",\n".join(indented) + "\n]"


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
    sys.stdout.buffer.write(to_bytes(text))
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
