"""The commands that people type, as click knows them; what they do is in modules beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from emperor.cli.options import CIRCUMSTANCES, DENY, FORMAT_IN, taking

if TYPE_CHECKING:
    from emperor.runtime.views import Verb


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="emperor-compiler", message="emperor %(version)s")
def cli() -> None:
    """Run uWSGI vassals: compile their configurations, keep their instances running."""


@cli.command(name="run", add_help_option=False)
def run_stub() -> None:
    """Run the daemon (emperor run --help says more)."""


@cli.command(name="compile")
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["ini", "json", "yaml", "xml", "plan", "argv"]),
    default="ini",
    show_default=True,
    help="What to print: the options in a format, the plan, or the command that is run.",
)
@FORMAT_IN
@click.option(
    "--explain",
    is_flag=False,
    flag_value="",
    metavar="[OPTION]",
    help="Where each value, or that of one option, comes from.",
)
@click.option(
    "--effective", is_flag=True, help="Only what is left when all options had their say."
)
@CIRCUMSTANCES
@DENY
@click.option("--argv", is_flag=True, help="PATH... are uWSGI's own arguments (behind --).")
def compile_command(paths: tuple[str, ...], **options: object) -> None:
    """Show what uWSGI makes of vassal files, and where each value comes from.

    PATH is a file, a directory, a glob (also glob://PATTERN), FILE:section, or - for standard
    input.
    """
    from emperor.cli.compile import run_compile

    raise SystemExit(run_compile(paths, options))


# -- what asks a running daemon ------------------------------------------------------------

_NAMES = click.argument("names", nargs=-1, metavar="NAME...")
_SOCKET = click.option("--socket", metavar="PATH", help="The daemon's control socket.")
_JSON = click.option("--json", "is_json", is_flag=True, help="Print JSON.")
_ALL = click.option("--all", "is_all", is_flag=True, help="All vassals.")
_WAIT = click.option(
    "--wait", "waits", is_flag=True, help="Until the vassals have reported in, or failed."
)
_TIMEOUT = click.option(
    "--timeout",
    type=click.FloatRange(min=0, max=604_800),
    default=120,
    show_default=True,
    metavar="SECONDS",
    help="How long --wait waits.",
)
_ROLLING = click.option(
    "--rolling",
    is_flag=True,
    help="One after the other, each waited for; stop at the first failure.",
)


_TOLD = taking(_NAMES, _ALL, _WAIT, _TIMEOUT, _SOCKET, _JSON)


@cli.command()
@taking(_NAMES, _WAIT, _TIMEOUT, _SOCKET, _JSON)
def status(**options: Any) -> None:
    """Show the vassals of the running daemon, or those named."""
    _look("table", options)


@cli.command()
@taking(_NAMES, _SOCKET, _JSON)
def why(**options: Any) -> None:
    """Tell why vassals are as they are, and what happens next."""
    if not options["names"]:
        raise click.UsageError("name at least one vassal")
    _look("why", {"waits": False, "timeout": 0.0, **options})


@cli.command()
@taking(_NAMES, _ALL, _WAIT, _ROLLING, _TIMEOUT, _SOCKET, _JSON)
def reload(**options: Any) -> None:
    """Have vassals compiled again and reloaded."""
    _tell("reload", options)


@cli.command()
@_TOLD
def stop(**options: Any) -> None:
    """Have vassals stop, until they are started again."""
    _tell("stop", options)


@cli.command()
@_TOLD
def start(**options: Any) -> None:
    """Have vassals run that were stopped, or rest."""
    _tell("start", options)


@cli.command()
@_TOLD
def retry(**options: Any) -> None:
    """Have vassals that failed tried again at once, throttles forgotten."""
    _tell("retry", options)


def _tell(word: str, options: dict[str, Any]) -> None:
    from emperor.runtime.views import Verb

    if bool(options["names"]) == options["is_all"]:
        raise click.UsageError("name at least one vassal, or say --all")
    _ask(Verb(word), "lines", options)


def _look(shape: str, options: dict[str, Any]) -> None:
    _ask(None, shape, options)


def _ask(verb: Verb | None, shape: str, options: dict[str, Any]) -> None:
    from emperor.cli.control import ControlRequest, run_control
    from emperor.runtime.control.protocol import Request

    if "" in options["names"]:  # a shell's variable that is not set
        raise click.UsageError("a vassal's name is not empty")
    is_rolling = options.get("rolling", False)
    request = Request(
        verb=verb,
        names=options["names"],
        waits=options["waits"] or is_rolling,
        is_rolling=is_rolling,
        timeout_seconds=options["timeout"],
    )
    wanted = ControlRequest(
        request=request, socket=options["socket"], is_json=options["is_json"], shape=shape
    )
    raise SystemExit(run_control(wanted))
