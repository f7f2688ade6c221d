"""Writes: submitted as commands, waited for, told."""

import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import click
import psycopg

from core.commands.arguments import Arguments
from core.commands.submit import Outcome, submit, wait
from core.errors import InputFault
from core.money import exact_from_nano
from core.secret import Secret
from tui.cli.failing import Told, Waits, line_of
from tui.cli.output import NANO, say
from tui.cli.session import Session
from tui.format import clean

P = ParamSpec("P")
R = TypeVar("R")

WAIT_S: Final = 60.0
CHECK_WAIT_S: Final = 270.0
"""A check walks to a cluster, has it answer, and looks back: as long as all that may take."""
STRIPE_WAIT_S: Final = 300.0
"""Stripe is asked several times for one command, and each question may be asked again."""
FILE_BYTES_MAX: Final = 1 << 20


def writing(*, reason: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Add --dry-run and --reason (asked for where `reason`); the command gets `dry_run`, `why`."""
    demand: dict[str, Any] = {"required": True} if reason else {"default": ""}

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @click.option("--dry-run", is_flag=True, help="Only tell the difference it would make.")
        @click.option(
            "--reason",
            "why",
            **demand,
            metavar="TEXT",
            help="Why; kept in the audit trail.",
        )
        @wraps(function)
        def with_options(*args: P.args, **kwargs: P.kwargs) -> R:
            return function(*args, **kwargs)

        return with_options

    return decorate


def ask(
    session: Session,
    name: str,
    arguments: Arguments,
    *,
    dry_run: bool = False,
    why: str = "",
    sealed: Mapping[str, Secret] | None = None,
    wait_s: float | None = None,
    tell: Callable[[Outcome], None] | None = None,
) -> Outcome:
    """Submit, wait, and tell what became of it; Told or Waits where it is not done."""
    with session.connection() as connection:
        command_id = submit(
            connection,
            name,
            arguments,
            dry_run=dry_run,
            why=why,
            sealed=sealed,
            person=session.person,
        )
        try:
            ended = wait(connection, command_id, wait_s or WAIT_S, tell=_tell_wait)
        except KeyboardInterrupt:
            raise Waits(f"Command {command_id} goes on without you.") from None
        except psycopg.OperationalError as fault:
            raise Told(_kept(session, command_id, fault)) from None
    if not ended.ended:
        raise Waits(ended.waits)
    if ended.state != "done":
        raise Told(ended.error)
    if tell:
        tell(ended)
    else:
        _tell(ended, edit=name.endswith(".edit"))
    if dry_run:
        click.echo("A dry run: nothing was changed.")
    return ended


def _kept(session: Session, command_id: int, fault: psycopg.OperationalError) -> str:
    """Say of a command whose database was lost while it was waited for that it is kept."""
    said = f"The database was lost: {line_of(fault)}. Command {command_id} is kept"
    if session.settings().own_database:
        # It went with the daemon, and comes back with it.
        said += ": what of it was not done yet is carried out when hopsmeterd runs again"
    else:
        said += ", and goes on without you"
    return (
        f"{said}. The daemon's log says what became of it (command={command_id}); ask anew only"
        " after that."
    )


def read_secret(path: Path | None) -> Secret | None:
    """Read a secret from a file, or from stdin for `-`; never from an option, which `ps` shows."""
    if path is None:
        return None
    try:
        if str(path) == "-":
            return Secret(sys.stdin.buffer.read(FILE_BYTES_MAX))
        with path.open("rb") as file:
            return Secret(file.read(FILE_BYTES_MAX))
    except OSError as fault:
        raise InputFault(f"{path} cannot be read: {fault.strerror}. Nothing was sent.") from None


def _tell_wait(found: Outcome) -> None:
    """Say on stderr what it is that takes long."""
    if found.state == "submitted" and found.error:
        rest = f"waits: {found.error}"
    elif found.state == "submitted":
        rest = "is not taken by a daemon yet; it is carried out as soon as one does"
    else:
        rest = "is being carried out"
    click.echo(f"Command {found.command_id} {rest}. Waiting …", err=True)


def _tell(done: Outcome, *, edit: bool) -> None:
    say(done.summary)
    difference: dict[str, list[Any]] = (done.result or {}).get("difference", {})
    if not edit and all(before is None for before, _ in difference.values()):
        return  # of something new the summary says all
    for what, pair in difference.items():
        before, after = (_word(what, value) for value in pair)
        click.echo(clean(f"  {what.removesuffix(NANO)}: {before} → {after}"))


def _word(what: str, value: Any) -> str:
    if value is None or value == "":
        return "(none)"
    if what.endswith(NANO):
        return exact_from_nano(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
