"""The Emperor's own configuration: options of uWSGI that it obeys, ignores or refuses.

Nothing is skipped in silence: an option that would act in the Emperor's process and that this
Emperor does not obey is an error that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from emperor.compiler.catalogue import OWN_SETTER, Facts, canonical, everything
from emperor.compiler.diagnostics import Diagnostics
from emperor.compiler.effective import is_steering
from emperor.compiler.evaluation import Entry, boolean, leading_number
from emperor.compiler.hooks import check_hook
from emperor.compiler.vassal import Templates


def _own(name: str, argument: str = "required") -> Facts:
    return {
        "name": name,
        "argument": argument,
        "kind": "string" if argument == "required" else "bool",
        "repeatable": False,
        "plugin": "core",
        "setter": OWN_SETTER,
    }


#: Options that uWSGI does not have.
OWN_OPTIONS: tuple[Facts, ...] = (
    _own("emperor-settle-seconds"),
    _own("emperor-watch-includes", "none"),
    _own("emperor-state-directory"),
    _own("emperor-log-level"),
    _own("emperor-log-json", "none"),
    _own("emperor-start-limit"),
    _own("emperor-backoff"),
    _own("emperor-backoff-factor"),
    _own("emperor-backoff-cap"),
    _own("emperor-backoff-jitter"),
    _own("emperor-heal-after"),
    _own("emperor-heartbeat-grace"),
    _own("emperor-hook-timeout"),
    _own("emperor-on-demand-backlog"),
    _own("emperor-on-demand-mode"),
    _own("emperor-on-demand-owner"),
    _own("emperor-stats-http", "none"),
    _own("emperor-control"),
    _own("emperor-capture-output", "none"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmperorConfig:
    """How the Emperor runs. Times in seconds; paths as the user wrote them."""

    monitors: tuple[str, ...] = ()
    templates: Templates = field(default_factory=Templates)
    nofollow: bool = False
    freq_seconds: float = 3.0
    curse_tolerance_seconds: float = 30.0
    graceful_shutdown: bool = False
    settle_seconds: float = 0.25
    watch_includes: bool = False
    state_directory: str | None = None
    log_level: str = "info"
    log_json: bool = False
    binary_path: str | None = None
    uid: str | None = None
    gid: str | None = None
    add_gids: tuple[str, ...] = ()
    chdir: str | None = None
    umask: str | None = None
    #: ("env", "K=V") and ("unenv", "K") in the order given.
    environment: tuple[tuple[str, str], ...] = ()
    logto: str | None = None
    logto2: str | None = None
    #: Written before and after privileges are dropped.
    pidfiles: tuple[str, ...] = ()
    safe_pidfiles: tuple[str, ...] = ()
    max_fd: int | None = None
    reload_mercy_seconds: float = 30.0
    #: Commands that run before privileges are dropped, in order.
    exec_as_root: tuple[str, ...] = ()
    #: (option, value) of every hook for vassals, in the order given.
    hooks: tuple[tuple[str, str], ...] = ()
    hook_timeout_seconds: float = 30.0
    throttle_milliseconds: int = 3
    max_throttle_milliseconds: int = 180_000
    has_blacklist: bool = True
    #: "linear" or "exponential".
    backoff: str = "linear"
    backoff_factor: float = 2.0
    #: Nothing: as long as the longest throttle.
    backoff_cap_seconds: float | None = None
    #: A part of the delay, 0 to 1, by which vassals are spread.
    backoff_jitter: float = 0.1
    #: A process that has accepted requests for so long counts as loyal.
    heal_after_seconds: float | None = None
    #: Starts under way in the first population; nothing: four for each processor, 0: no limit.
    start_limit: int | None = None
    required_heartbeat_seconds: float = 30.0
    heartbeat_grace_seconds: float = 10.0
    #: How many zergs there may be; 0: none.
    broodlord: int = 0
    on_demand_backlog: int = 100
    #: As chmod has it, in octal.
    on_demand_mode: str = "666"
    #: USER, USER:GROUP or :GROUP.
    on_demand_owner: str | None = None
    stats: tuple[str, ...] = ()
    stats_http: bool = False
    #: A path; nothing: the default, "none": no control socket.
    control: str | None = None
    captures_output: bool = False
    procname: str | None = None


#: Accepted, because every emperor file has them and they change nothing here.
WITHOUT_EFFECT = frozenset(
    """
    master workers processes plugins plugin need-plugins need-plugin plugins-dir plugin-dir
    autoload vacuum die-on-term no-orphans strict procname procname-prefix
    procname-prefix-spaced procname-append procname-master auto-procname early-emperor
    enable-threads threads no-server disable-logging log-date logdate log-maxsize
    thunder-lock print iprint fallback-config
    """.split()
)

#: Taken without effect, and said so: they speak of a process that serves requests itself.
NOT_YET = frozenset(["stats", "stats-server"])

#: Actions around the life of a vassal, in the order given; ``compiler/hooks.py`` knows them.
HOOKS = frozenset(
    """
    vassals-start-hook vassals-stop-hook hook-emperor-start
    hook-as-vassal mount-as-vassal umount-as-vassal exec-as-vassal
    hook-as-emperor mount-as-emperor umount-as-emperor exec-as-emperor
    hook-as-on-demand-vassal hook-as-on-config-vassal
    """.split()
)


#: Those of them that run in the vassal's process.
AS_VASSAL = frozenset(name for name in HOOKS if name.endswith("-as-vassal")) | {
    "vassals-start-hook"
}


def _last(convert: Callable[[str], object]) -> Callable[[object, str | None], object]:
    return lambda old, value: convert(value or "")


def _add(old: object, value: str | None) -> object:
    assert isinstance(old, tuple)
    return (*old, value or "")


def _flag(old: object, value: str | None) -> object:
    return boolean(value)


def _not_flag(old: object, value: str | None) -> object:
    return not boolean(value)


def _one_of(*known: str) -> Callable[[object, str | None], object]:
    def choose(value: str) -> str:
        if value not in known:
            raise ValueError(value)
        return value

    return _last(choose)


_text = _last(str)
_decimal = _last(lambda value: float(value or 0))
_number = _last(lambda value: float(leading_number(value)))

#: Option -> the field of ``EmperorConfig`` and how a value changes it.
OBEYED: dict[str, tuple[str, Callable[[object, str | None], object]]] = {
    "emperor": ("monitors", _add),
    "emperor-nofollow": ("nofollow", _flag),
    "emperor-freq": ("freq_seconds", _number),
    "emperor-curse-tolerance": ("curse_tolerance_seconds", _number),
    "emperor-graceful-shutdown": ("graceful_shutdown", _flag),
    "emperor-settle-seconds": ("settle_seconds", _decimal),
    "emperor-watch-includes": ("watch_includes", _flag),
    "emperor-state-directory": ("state_directory", _text),
    "emperor-log-level": ("log_level", _text),
    "emperor-log-json": ("log_json", _flag),
    "emperor-pidfile": ("safe_pidfiles", _add),
    "binary-path": ("binary_path", _text),
    "uid": ("uid", _text),
    "gid": ("gid", _text),
    "add-gid": ("add_gids", _add),
    "chdir": ("chdir", _text),
    "umask": ("umask", _text),
    "logto": ("logto", _text),
    "logto2": ("logto2", _text),
    "pidfile": ("pidfiles", _add),
    "pidfile2": ("safe_pidfiles", _add),
    "safe-pidfile": ("pidfiles", _add),
    "safe-pidfile2": ("safe_pidfiles", _add),
    "max-fd": ("max_fd", _last(leading_number)),
    "reload-mercy": ("reload_mercy_seconds", _number),
    "exec-as-root": ("exec_as_root", _add),
    "emperor-throttle": ("throttle_milliseconds", _last(leading_number)),
    "emperor-max-throttle": ("max_throttle_milliseconds", _last(leading_number)),
    "emperor-no-blacklist": ("has_blacklist", _not_flag),
    "emperor-backoff": ("backoff", _one_of("linear", "exponential")),
    "emperor-backoff-factor": ("backoff_factor", _decimal),
    "emperor-backoff-cap": ("backoff_cap_seconds", _decimal),
    "emperor-backoff-jitter": ("backoff_jitter", _decimal),
    "emperor-heal-after": ("heal_after_seconds", _decimal),
    "emperor-start-limit": ("start_limit", _last(leading_number)),
    "emperor-required-heartbeat": ("required_heartbeat_seconds", _number),
    "emperor-heartbeat-grace": ("heartbeat_grace_seconds", _decimal),
    "emperor-hook-timeout": ("hook_timeout_seconds", _decimal),
    "emperor-broodlord": ("broodlord", _last(leading_number)),
    "emperor-on-demand-backlog": ("on_demand_backlog", _last(leading_number)),
    "emperor-on-demand-mode": ("on_demand_mode", _text),
    "emperor-on-demand-owner": ("on_demand_owner", _text),
    "emperor-stats": ("stats", _add),
    "emperor-stats-server": ("stats", _add),
    "emperor-stats-http": ("stats_http", _flag),
    "stats-http": ("stats_http", _flag),
    "emperor-control": ("control", _text),
    "emperor-capture-output": ("captures_output", _flag),
    "emperor-procname": ("procname", _text),
}

#: Option -> the field of ``Templates`` that it adds to.
TEMPLATES = {
    "vassals-inherit-before": "inherit_before",
    "vassals-include-before": "include_before",
    "vassals-set": "set",
    "vassal-set": "set",
    "vassals-inherit": "inherit",
    "vassals-include": "include",
    "emperor-extra-extension": "extra_extensions",
    "emperor-extra-ext": "extra_extensions",
    "emperor-wrapper-override": "wrapper_override",
    "emperor-wrapper-fallback": "wrapper_fallback",
}

#: Option -> the field of ``Templates`` that it sets.
TEMPLATE_WORDS = {
    "emperor-wrapper": "wrapper",
    "emperor-on-demand-extension": "on_demand_extension",
    "emperor-on-demand-ext": "on_demand_extension",
    "emperor-on-demand-directory": "on_demand_directory",
    "emperor-on-demand-dir": "on_demand_directory",
    "emperor-on-demand-exec": "on_demand_exec",
}


def emperor_config(entries: tuple[Entry, ...], diagnostics: Diagnostics) -> EmperorConfig:
    """The Emperor's configuration in a compiled option list; refusals become diagnostics."""
    values: dict[str, object] = {f.name: getattr(_DEFAULT, f.name) for f in fields(_DEFAULT)}
    templates: dict[str, Any] = {}
    for entry in entries:
        name = entry.key
        if name in TEMPLATES:
            slot = TEMPLATES[name]
            templates[slot] = (*templates.get(slot, ()), entry.value or "")
        elif name in TEMPLATE_WORDS:
            templates[TEMPLATE_WORDS[name]] = entry.value
        elif name == "emperor-magic-exec":
            templates["magic_exec"] = boolean(entry.value)
        elif name in HOOKS:
            check_hook(name, entry.value or "", entry.origin, diagnostics)
            values["hooks"] = (*_pairs(values["hooks"]), (name, entry.value or ""))
        elif name in {"env", "unenv"}:
            values["environment"] = (*_pairs(values["environment"]), (name, entry.value or ""))
        elif name == "daemonize" or canonical(name) == "daemonize":
            values["logto"] = entry.value or "/dev/null"
            _warn_of_daemonize(entry, diagnostics)
        elif name == "hook-as-root":
            _hook_as_root(entry, values, diagnostics)
        else:
            _obey(entry, values, diagnostics)
    config = EmperorConfig(**values)  # type: ignore[arg-type]
    templates["as_vassal"] = tuple(hook for hook in config.hooks if hook[0] in AS_VASSAL)
    templates["hook_timeout_seconds"] = config.hook_timeout_seconds
    return replace(config, templates=Templates(**templates))


_DEFAULT = EmperorConfig()


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    assert isinstance(value, tuple)
    return value


def _obey(entry: Entry, values: dict[str, object], diagnostics: Diagnostics) -> None:
    name = entry.key if entry.key in OBEYED else canonical(entry.key)
    if name in OBEYED:
        slot, change = OBEYED[name]
        try:
            values[slot] = change(values[slot], entry.value)
        except ValueError:
            diagnostics.stop(
                "invalid-value",
                f'"{entry.key} = {entry.value}" is nothing that this option can be',
                entry.origin,
                'write "linear" or "exponential"' if slot == "backoff" else "write a number",
            )
    elif name in NOT_YET or entry.key in NOT_YET:
        diagnostics.warn(
            "emperor-option",
            f'"{entry.key}" is taken without effect: this version does not do that',
            entry.origin,
            "take the option out to be rid of this line",
        )
    elif name not in WITHOUT_EFFECT and not is_steering(name) and name in everything():
        _refuse(entry, diagnostics)


def _refuse(entry: Entry, diagnostics: Diagnostics) -> None:
    if entry.key.startswith(("emperor", "vassal")) or "-as-emperor" in entry.key:
        remedy = "this version does not do that: take the option out"
    else:
        remedy = "run it as a vassal: it would act inside the Emperor's own process"
    diagnostics.stop(
        "emperor-option", f'the Emperor does not obey "{entry.key}"', entry.origin, remedy
    )


def _warn_of_daemonize(entry: Entry, diagnostics: Diagnostics) -> None:
    diagnostics.warn(
        "emperor-option",
        f'"{entry.key}" is taken as "logto": the Emperor stays in the foreground',
        entry.origin,
        "let systemd or another supervisor start it",
    )


def _hook_as_root(entry: Entry, values: dict[str, object], diagnostics: Diagnostics) -> None:
    action, _, command = (entry.value or "").partition(":")
    if action == "exec":
        values["exec_as_root"] = _add(values["exec_as_root"], command)
    else:
        diagnostics.stop(
            "emperor-option",
            f'the Emperor does not know the hook action "{action}"',
            entry.origin,
            "use exec:COMMAND",
        )


def apply_environment(
    environment: Mapping[str, str], changes: tuple[tuple[str, str], ...]
) -> dict[str, str]:
    """The environment after the Emperor's ``env`` and ``unenv`` options."""
    result = dict(environment)
    for option, text in changes:
        name, _, value = text.partition("=")
        if option == "env":
            result[name] = value
        else:
            result.pop(name, None)
    return result
