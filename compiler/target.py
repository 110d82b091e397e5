"""The uWSGI that a compile is for: a few answers depend on the binary."""

from __future__ import annotations

from dataclasses import dataclass

#: What ``--uwsgi`` stands for when nothing is said.
NEWEST = "2.0.31"

#: The path of a target that is not installed: only programs that are no uWSGI can be run.
NO_UWSGI = ""

#: Plugins that come with uWSGI and declare no options, beside those of the catalogue.
PLUGINS_WITHOUT_OPTIONS = frozenset(
    """
    airbrake alarm_curl alarm_speech alarm_xmpp cache cheaper_backlog2 clock_monotonic
    clock_realtime corerouter cplusplus dummy echo emperor_amqp emperor_mongodb emperor_pg
    emperor_zeromq example exception_log graylog2 legion_cache_fetch libffi libtcc logcrypto
    logfile logpipe logsocket matheval mongodb mongodblog msgpack objc_gc redislog
    router_access router_basicauth router_cache router_expires router_hash router_http
    router_memcached router_metrics router_radius router_redirect router_redis router_rewrite
    router_spnego router_static router_uwsgi router_xmldir rpc ruby19 servlet signal spooler
    ssi stats_pusher_file stats_pusher_mongodb stats_pusher_socket syslog systemd_logger
    transformation_chunked transformation_gzip transformation_offload transformation_template
    transformation_tofile transformation_toupper xattr
    """.split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A uWSGI binary, or a version of it with nothing but the core built in.

    ``loadable`` names the plugins that can be loaded; ``None`` means all that come with uWSGI.
    ``interpreter`` is set for the PyPI wheel: the python whose environment a reload must keep.
    """

    version: str = NEWEST
    path: str = "/usr/bin/uwsgi"
    built_in: frozenset[str] = frozenset()
    loadable: frozenset[str] | None = None
    reads_json: str = "yajl"
    interpreter: str | None = None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version's leading numbers: (2, 0, 31) for "2.0.31-debian"."""
        parts = self.version.split("-")[0].split(".")
        return tuple(int(part) for part in parts if part.isdecimal())

    @property
    def has_else(self) -> bool:
        """Whether ``else`` is logic (2.1) or an unknown key (2.0)."""
        return self.numbers >= (2, 1)

    @property
    def catalogue_version(self) -> str:
        """The column of the option catalogue that comes nearest."""
        numbers = self.numbers
        if numbers >= (2, 1):
            return "master"
        if numbers >= (2, 0, 31):
            return "2.0.31"
        return "2.0.30" if numbers >= (2, 0, 30) else "2.0.21"
