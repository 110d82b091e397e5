"""The commands that people type, as click knows them; what they do is in modules beside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

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
@click.option(
    "--format-in",
    type=click.Choice(["ini", "xml", "yaml", "json"]),
    default="ini",
    help="The format of standard input (PATH is -).",
)
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
@click.option("--emperor-config", metavar="FILE", help="The Emperor's own configuration.")
@click.option("--vassal-set", multiple=True, metavar="K=V", help="As the Emperor's vassal-set.")
@click.option("--vassals-include", multiple=True, metavar="FILE", help="As the Emperor's.")
@click.option(
    "--vassals-include-before", multiple=True, metavar="FILE", help="As the Emperor's."
)
@click.option("--vassals-inherit", multiple=True, metavar="FILE", help="As the Emperor's.")
@click.option(
    "--vassals-inherit-before", multiple=True, metavar="FILE", help="As the Emperor's."
)
@click.option("--env", multiple=True, metavar="K=V", help="Add a variable to the environment.")
@click.option("--clean-env", is_flag=True, help="Start from an empty environment.")
@click.option("--strict", is_flag=True, help="uWSGI's strict, from the first line on.")
@click.option(
    "--allow",
    default="file,fd",
    show_default=True,
    metavar="LIST",
    help="Sources that may be read: file, fd, exec, http, all.",
)
@click.option("--uwsgi", metavar="VERSION|PATH", help="The uWSGI to compile for.")
@click.option(
    "--deny", type=click.Choice(["warnings"]), help="Let warnings count as errors do."
)
@click.option("--argv", is_flag=True, help="PATH... are uWSGI's own arguments (behind --).")
def compile_command(paths: tuple[str, ...], **options: object) -> None:
    """Show what uWSGI makes of vassal files, and where each value comes from.

    PATH is a file, a directory, a glob (also glob://PATTERN), FILE:section, or - for standard
    input.
    """
    from emperor.cli.compile import CompileRequest, run_compile

    raise SystemExit(run_compile(CompileRequest.from_options(paths, options)))


# -- what asks a running daemon ------------------------------------------------------------

Command = Callable[..., None]

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


def _taking(*parts: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """These arguments and options, shown in this order."""

    def decorate(command: Command) -> Command:
        for part in reversed(parts):
            command = part(command)
        return command

    return decorate


_TOLD = _taking(_NAMES, _ALL, _WAIT, _TIMEOUT, _SOCKET, _JSON)


@cli.command()
@_taking(_NAMES, _WAIT, _TIMEOUT, _SOCKET, _JSON)
def status(**options: Any) -> None:
    """Show the vassals of the running daemon, or those named."""
    _look("table", options)


@cli.command()
@_taking(_NAMES, _SOCKET, _JSON)
def why(**options: Any) -> None:
    """Tell why vassals are as they are, and what happens next."""
    if not options["names"]:
        raise click.UsageError("name at least one vassal")
    _look("why", {"waits": False, "timeout": 0.0, **options})


@cli.command()
@_taking(_NAMES, _ALL, _WAIT, _ROLLING, _TIMEOUT, _SOCKET, _JSON)
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
