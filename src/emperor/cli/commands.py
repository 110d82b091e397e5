"""The commands that people type, as click knows them; what they do is in modules beside."""

from __future__ import annotations

import click


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
