"""Which plugins are there, and what loading one does: its options become known."""

from __future__ import annotations

from emperor.compiler.catalogue import everything, plugin_of
from emperor.compiler.evaluation import Entry, Evaluation
from emperor.compiler.source import Origin
from emperor.compiler.target import PLUGINS_WITHOUT_OPTIONS


def load_plugins(
    run: Evaluation, key: str, value: str | None, origin: Origin, entry: Entry | None
) -> None:
    """``plugins = a,b`` and ``need-plugin``: only the latter refuses what is not there.

    A name may carry a modifier in front (``0:python3``) and an init function behind (``|f``).
    """
    for word in (value or "").split(","):
        name = word.strip().partition("|")[0].rpartition(":")[2]
        if not name:
            continue
        if is_loadable(run, name):
            run.add_plugin(plugin_of(_bare(name)))
        elif key.startswith("need-"):
            raise run.diagnostics.stop(
                "missing-plugin",
                f'there is no plugin "{name}" for {run.target.path}',
                origin,
                "install it, set plugins-dir, or take the option out",
            )


def autoload(
    run: Evaluation, key: str, value: str | None, origin: Origin, entry: Entry | None
) -> None:
    """Under ``autoload`` an unknown option brings the plugin that has it."""
    plugin = run.plugin_with(key)
    if plugin is not None and is_loadable(run, plugin):
        run.add_plugin(plugin)


def is_loadable(run: Evaluation, name: str) -> bool:
    """Whether this uWSGI finds the plugin: among its own, or where ``plugins-dir`` points."""
    bare = _bare(name)
    if "/" in name:
        return run.reader.is_file(name if name.endswith(".so") else f"{name}_plugin.so")
    if any(run.reader.is_file(f"{d}/{bare}_plugin.so") for d in run.plugin_directories):
        return True
    loadable = run.target.loadable
    if loadable is not None:
        return bare in loadable or bare in run.plugins
    known = {option["plugin"] for option in everything().values()} - {"core"}
    return plugin_of(bare) in known or bare in PLUGINS_WITHOUT_OPTIONS


def _bare(name: str) -> str:
    return name.rpartition("/")[2].removesuffix("_plugin.so")
