"""The Emperor's options, in tables: which it obeys and how, which it takes without effect."""

from __future__ import annotations

from collections.abc import Callable

from emperor.compiler.capabilities import parse_capabilities
from emperor.compiler.catalogue import Facts, own_option
from emperor.compiler.chain import parse_namespaces
from emperor.compiler.evaluation import boolean, leading_number

#: Options that uWSGI does not have.
OWN_OPTIONS: tuple[Facts, ...] = (
    own_option("emperor-settle-seconds"),
    own_option("emperor-watch-includes", "none"),
    own_option("emperor-state-directory"),
    own_option("emperor-log-level"),
    own_option("emperor-log-json", "none"),
    own_option("emperor-start-limit"),
    own_option("emperor-backoff"),
    own_option("emperor-backoff-factor"),
    own_option("emperor-backoff-cap"),
    own_option("emperor-backoff-jitter"),
    own_option("emperor-heal-after"),
    own_option("emperor-heartbeat-grace"),
    own_option("emperor-hook-timeout"),
    own_option("emperor-on-demand-backlog"),
    own_option("emperor-on-demand-mode"),
    own_option("emperor-on-demand-owner"),
    own_option("emperor-stats-http", "none"),
    own_option("emperor-control"),
    own_option("emperor-capture-output", "none"),
    own_option("emperor-net-veth"),
)

#: Options of the development branch of uWSGI that are obeyed whatever the version is.
NEWER = frozenset({"emperor-tyrant-initgroups"})


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


class NotOneOf(ValueError):
    """A value that is none of the words that an option knows; the text says what to write."""


def _capabilities(value: str) -> tuple[int, ...]:
    try:
        return parse_capabilities(value)
    except ValueError as error:
        raise NotOneOf(f"{error}; write names such as setgid,setuid, or numbers") from None


def _namespaces(value: str) -> tuple[str, ...]:
    try:
        return parse_namespaces(value)
    except ValueError as error:
        raise NotOneOf(f"{error}; write words of fs,net,ipc,pid,uts,user") from None


def _one_of(*known: str) -> Callable[[object, str | None], object]:
    def choose(value: str) -> str:
        if value not in known:
            raise NotOneOf("write " + " or ".join(f'"{word}"' for word in known))
        return value

    return _last(choose)


_text = _last(str)
_decimal = _last(lambda value: float(value or 0))
_number = _last(lambda value: float(leading_number(value)))

#: Option -> the field of ``emperor_config.EmperorConfig`` and how a value changes it.
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
    "emperor-tyrant": ("tyrant", _flag),
    "emperor-tyrant-nofollow": ("tyrant_nofollow", _flag),
    "emperor-tyrant-initgroups": ("tyrant_initgroups", _flag),
    "cap": ("capabilities", _last(_capabilities)),
    "emperor-cap": ("vassal_capabilities", _last(_capabilities)),
    "vassals-cap": ("vassal_capabilities", _last(_capabilities)),
    "vassal-cap": ("vassal_capabilities", _last(_capabilities)),
    "emperor-use-clone": ("namespaces", _last(_namespaces)),
    "emperor-net-veth": ("veth", _text),
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
