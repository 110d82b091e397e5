"""The Emperor's own configuration: what comes of a compiled option list.

Nothing is skipped in silence: an option that would act in the Emperor's process and that this
Emperor does not obey is an error that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from emperor.compiler.catalogue import canonical, everything
from emperor.compiler.diagnostics import Diagnostics
from emperor.compiler.effective import is_steering
from emperor.compiler.emperor_options import (
    AS_VASSAL,
    HOOKS,
    NOT_YET,
    OBEYED,
    TEMPLATE_WORDS,
    TEMPLATES,
    WITHOUT_EFFECT,
    NotOneOf,
)
from emperor.compiler.evaluation import Entry, boolean
from emperor.compiler.hooks import check_hook
from emperor.compiler.vassal import Templates


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
    tyrant: bool = False
    tyrant_nofollow: bool = False
    tyrant_initgroups: bool = False
    #: The only capabilities that the Emperor keeps when it becomes another user, by number.
    capabilities: tuple[int, ...] = ()
    #: The only capabilities that vassals may ever hold; nothing: no bound.
    vassal_capabilities: tuple[int, ...] | None = None
    #: What vassals have of their own, as unshare(1) calls it.
    namespaces: tuple[str, ...] = ()
    #: A bridge, or an address with a prefix: how their networks are reached.
    veth: str | None = None


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
    if config.capabilities and config.uid is None:
        _warn_of_capabilities(entries, diagnostics)
        config = replace(config, capabilities=())
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
        except ValueError as error:
            diagnostics.stop(
                "invalid-value",
                f'"{entry.key} = {entry.value}" is nothing that this option can be',
                entry.origin,
                str(error) if isinstance(error, NotOneOf) else "write a number",
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


def _warn_of_capabilities(entries: tuple[Entry, ...], diagnostics: Diagnostics) -> None:
    origin = next(entry.origin for entry in entries if entry.key == "cap")
    diagnostics.warn(
        "emperor-option",
        '"cap" has no effect without "uid": a root that keeps some capabilities has them all'
        " again with the next program it starts",
        origin,
        'name the user that the Emperor is to become with "uid" and "gid"',
    )


def _hook_as_root(entry: Entry, values: dict[str, object], diagnostics: Diagnostics) -> None:
    action, _, command = (entry.value or "").partition(":")
    if action == "exec":
        values["exec_as_root"] = (*_pairs(values["exec_as_root"]), command)
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
