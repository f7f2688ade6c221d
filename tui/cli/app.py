"""`hopsmeter`: the commands, each in a module that is loaded when it is asked for."""

import importlib
import sys
from pathlib import Path
from typing import Any, Final

import click

from tui.cli.failing import Misused, sentences
from tui.cli.session import Session

COMMANDS: Final = {
    "cluster": "tui.cli.cluster:cluster",
    "user": "tui.cli.user:user",
    "namespace": "tui.cli.namespace:namespace",
    "rates": "tui.cli.rates:rates",
    "account": "tui.cli.account:account",
    "credits": "tui.cli.credit:credits_",
    "stripe": "tui.cli.stripe:stripe",
    "hours": "tui.cli.hours:hours",
    "collect": "tui.cli.hours:collect",
    "usage": "tui.cli.usage:usage",
    "explain": "tui.cli.explaining:explain",
    "statement": "tui.cli.statement:statement",
    "books": "tui.cli.proof:books",
    "opencost": "tui.cli.proof:opencost",
    "webhooks": "tui.cli.webhooks:webhooks",
    "admin": "tui.cli.setup:admin",
    "db": "tui.cli.setup:db",
    "secrets": "tui.cli.setup:secrets",
    "doctor": "tui.cli.setup:doctor",
}


class Hopsmeter(click.Group):
    """Loads a command when it is named, and ends with a sentence where one fails."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def make_context(self, *words: Any, **more: Any) -> click.Context:
        """Read the arguments; help and version are printed meanwhile."""
        with sentences():
            return super().make_context(*words, **more)

    def invoke(self, ctx: click.Context) -> Any:
        with sentences():
            return super().invoke(ctx)


@click.group(
    cls=Hopsmeter,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExamples:\n  hopsmeter\n  hopsmeter cluster list\n  hopsmeter hours eu-1",
)
@click.version_option(package_name="hopsmeter", prog_name="hopsmeter")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The settings file; else HOPSMETER_CONFIG, else /etc/hopsmeter/hopsmeter.toml.",
)
@click.option(
    "--as",
    "person",
    metavar="USER",
    help="Speak for this user id; believed only of a login that may.",
)
@click.pass_context
def cli(context: click.Context, config: Path | None, person: str | None) -> None:
    """What each user of shared Hopsworks clusters costs. Alone it opens the dashboard.

    Hours are UTC and closed, written like 2026-03-01T14Z; money always shows its currency.
    Exit codes: 0 done, 1 refused or wrong, 2 not understood, 3 waiting for a daemon.
    """
    context.obj = Session(config, person)
    if context.invoked_subcommand is not None:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Misused("The dashboard needs a terminal; `hopsmeter --help` lists the commands.")
    url = context.obj.url()
    from tui.app import run

    context.exit(run(url))
