"""Options that several commands take: under which Emperor, for which uWSGI to compile."""

from __future__ import annotations

from collections.abc import Callable

import click

Command = Callable[..., None]


def taking(*parts: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """These arguments and options, shown in this order."""

    def decorate(command: Command) -> Command:
        for part in reversed(parts):
            command = part(command)
        return command

    return decorate


FORMAT_IN = click.option(
    "--format-in",
    type=click.Choice(["ini", "xml", "yaml", "json"]),
    default="ini",
    help="The format of standard input (PATH is -).",
)

TEMPLATES = taking(
    click.option("--vassal-set", multiple=True, metavar="K=V", help="As the Emperor's."),
    click.option("--vassals-include", multiple=True, metavar="FILE", help="As the Emperor's."),
    click.option(
        "--vassals-include-before", multiple=True, metavar="FILE", help="As the Emperor's."
    ),
    click.option("--vassals-inherit", multiple=True, metavar="FILE", help="As the Emperor's."),
    click.option(
        "--vassals-inherit-before", multiple=True, metavar="FILE", help="As the Emperor's."
    ),
)

SURROUNDINGS = taking(
    TEMPLATES,
    click.option(
        "--env", multiple=True, metavar="K=V", help="Add a variable to the environment."
    ),
    click.option("--clean-env", is_flag=True, help="Start from an empty environment."),
    click.option("--strict", is_flag=True, help="uWSGI's strict, from the first line on."),
    click.option(
        "--allow",
        default="file,fd",
        show_default=True,
        metavar="LIST",
        help="Sources that may be read: file, fd, exec, http, all.",
    ),
    click.option("--uwsgi", metavar="VERSION|PATH", help="The uWSGI to compile for."),
)

#: All that ``Circumstances.from_options`` wants.
CIRCUMSTANCES = taking(
    click.option("--emperor-config", metavar="FILE", help="The Emperor's own configuration."),
    SURROUNDINGS,
)

DENY = click.option(
    "--deny", type=click.Choice(["warnings"]), help="Let warnings count as errors do."
)
