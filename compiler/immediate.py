"""What acts the moment it is read: one handler for each setter of the catalogue.

A setter without a handler here changes nothing that the option list shows.
"""

from __future__ import annotations

from emperor.compiler import custom, logic, plugins
from emperor.compiler.evaluation import Entry, Evaluation, Handler, ascii_lower, boolean
from emperor.compiler.loading import format_of, load
from emperor.compiler.reader import Unreadable
from emperor.compiler.refusals import REFUSALS, check_value
from emperor.compiler.source import Origin, from_bytes


def _load_as(kind: str) -> Handler:
    def handler(
        run: Evaluation, key: str, value: str | None, origin: Origin, entry: Entry | None
    ) -> None:
        load(run, kind, value or "", origin, entry)

    return handler


def load_by_ending(
    run: Evaluation, key: str, value: str | None, origin: Origin, entry: Entry | None
) -> None:
    """``include``, ``inherit`` and files given by position: the ending says the format.

    They never give the upper-case magic variables, nor does anything read inside them.
    """
    name = value or ""
    kind = format_of(name)
    if kind is None:
        raise _no_format(run, name, origin)
    was_fixed, run.magic.is_first_fixed = run.magic.is_first_fixed, True
    load(run, kind, name, origin, entry)
    run.magic.is_first_fixed = was_fixed


def _load_config(
    run: Evaluation, key: str, value: str | None, origin: Origin, entry: Entry | None
) -> None:
    raise _no_format(run, value or "", origin)


def _no_format(run: Evaluation, name: str, origin: Origin) -> Exception:
    remedy = "name a file that ends in .ini, .xml, .yaml, .yml, .json or .js"
    if format_of(name.rpartition(":")[0]):
        remedy = "only ini=, xml=, yaml= and json= take FILE:section"
    return run.diagnostics.stop(
        "unknown-format", f'the ending of "{name}" says no format', origin, remedy
    )


def _set(
    run: Evaluation, key: str, value: str | None, origin: Origin, entry: Entry | None
) -> None:
    """``set`` and ``set-placeholder``: K=V, split at the first equals sign, untrimmed."""
    name, equals, text = (value or "").partition("=")
    if not equals:
        raise run.diagnostics.stop(
            "invalid-set",
            f'"{key} = {value or ""}" has no equals sign',
            origin,
            f"write {key} = NAME=VALUE",
        )
    made = origin.made_by("set")
    if entry is not None:
        entry.value = name  # what is listed should uWSGI exit meanwhile
    if key == "set":
        run.append(name, text, made)
    else:
        run.add_placeholder(name, text, made)
    if entry is not None:
        entry.value = value


def _resolve(
    run: Evaluation, key: str, value: str | None, origin: Origin, entry: Entry | None
) -> None:
    name, equals, host = (value or "").partition("=")
    if not equals:
        raise run.diagnostics.stop(
            "invalid-set", "resolve wants NAME=HOST", origin, "write resolve = NAME=HOST"
        )
    try:
        address = run.reader.resolve(host)
    except Unreadable as error:
        raise run.diagnostics.stop(
            "unresolved", f'"{host}" does not resolve: {error.reason}', origin, error.remedy
        ) from None
    run.add_placeholder(name, address, origin.made_by("resolve"))


def _true(
    run: Evaluation, key: str, value: str | None, origin: Origin, entry: Entry | None
) -> None:
    if key == "strict":
        run.is_strict = boolean(value)
    elif key == "autoload":
        run.autoloads = boolean(value)


def _string(
    run: Evaluation, key: str, value: str | None, origin: Origin, entry: Entry | None
) -> None:
    words = frozenset(ascii_lower(word) for word in (value or "").split(" ") if word)
    if key == "blacklist":
        run.blacklist = words
    elif key == "whitelist":
        run.whitelist = words


def _null(
    run: Evaluation, key: str, value: str | None, origin: Origin, entry: Entry | None
) -> None:
    if key == "end-blacklist":
        run.blacklist = None
    elif key == "end-whitelist":
        run.whitelist = None


def _string_list(
    run: Evaluation, key: str, value: str | None, origin: Origin, entry: Entry | None
) -> None:
    match key:
        case "inject-before":
            run.inject_before.append(value or "")
        case "inject-after":
            run.inject_after.append(value or "")
        case "plugins-dir" | "plugin-dir":
            run.plugin_directories.append(value or "")
        case _:
            pass


def _early_environment(
    run: Evaluation, key: str, value: str | None, origin: Origin, entry: Entry | None
) -> None:
    """``early-envdir``: each file of the directory is a variable, in time for ``$(..)``."""
    directory = value or ""
    try:
        for name in run.reader.names(directory):
            text = from_bytes(run.reader.read(f"{directory}/{name}"))
            run.environment[name] = text.partition("\0")[0].rstrip("\r\n")
    except Unreadable as error:
        raise run.diagnostics.stop(
            error.code, f'cannot read "{directory}": {error.reason}', origin, error.remedy
        ) from None


def _set_environment(
    run: Evaluation, key: str, value: str | None, origin: Origin, entry: Entry | None
) -> None:
    name, _, text = (value or "").partition("=")
    run.environment[name] = text


def _exits(
    run: Evaluation, key: str, value: str | None, origin: Origin, entry: Entry | None
) -> None:
    raise run.diagnostics.stop(
        "exits",
        f'"{key}" makes uWSGI act and exit: nothing would be served',
        origin,
        f'take "{key}" out; it belongs on a command line',
    )


def _checked_by(setter: str) -> Handler:
    """A value that acts without being listed, or at reading, is refused as any other."""

    def handler(
        run: Evaluation, key: str, value: str | None, origin: Origin, entry: Entry | None
    ) -> None:
        check_value(run, key, value, origin, setter)

    return handler


#: Setters that act and exit; what they would print or do is none of a compile's business.
_EXITING = """
    uwsgi_opt_pidfile_signal uwsgi_opt_connect_and_read uwsgi_opt_extract uwsgi_help
    uwsgi_print_sym uwsgi_opt_binary_append_data uwsgi_opt_exit uwsgi_opt_cflags
    uwsgi_opt_dot_h uwsgi_opt_config_py uwsgi_opt_build_plugin uwsgi_opt_pyver
""".split()

HANDLERS: dict[str, Handler] = {
    "uwsgi_opt_load_ini": _load_as("ini"),
    "uwsgi_opt_load_xml": _load_as("xml"),
    "uwsgi_opt_load_yml": _load_as("yaml"),
    "uwsgi_opt_load_json": _load_as("json"),
    "uwsgi_opt_load": load_by_ending,
    "uwsgi_opt_load_config": _load_config,
    "uwsgi_opt_set_placeholder": _set,
    "uwsgi_opt_resolve": _resolve,
    "uwsgi_opt_logic": logic.open_block,
    "uwsgi_opt_true": _true,
    "uwsgi_opt_set_str": _string,
    "uwsgi_opt_set_null": _null,
    "uwsgi_opt_add_string_list": _string_list,
    "uwsgi_opt_envdir": _early_environment,
    "uwsgi_opt_set_env": _set_environment,
    "uwsgi_opt_load_plugin": plugins.load_plugins,
    "autoload": plugins.autoload,
    "uwsgi_opt_add_custom_option": custom.declare,
    "custom": custom.use,
    **dict.fromkeys(_EXITING, _exits),
    **{setter: _checked_by(setter) for setter in REFUSALS},
}
