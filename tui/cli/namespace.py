"""`hopsmeter namespace …`"""

from datetime import date

import click

from core.commands.arguments import NamespaceMap, NamespaceUnmap
from core.reports.costs import unmapped as unmapped_costs
from tui.cli.asking import ask, writing
from tui.cli.output import Column, Form, cost, hour, listing, show
from tui.cli.session import Session
from tui.cli.words import DAY_TEXT, HOUR_TEXT


@click.group()
def namespace() -> None:
    """Whose namespaces are: by cluster, name and whole hours."""


@namespace.command(
    "map",
    epilog="\b\nExample:\n  hopsmeter namespace map eu-1 ml-train anna@example.com \\\n"
    "    --from 2026-03-01T00Z --dry-run",
)
@click.argument("cluster")
@click.argument("name", metavar="NAMESPACE")
@click.argument("user")
@click.option(
    "--from",
    "from_hour",
    type=HOUR_TEXT,
    metavar="HOUR",
    help="Else the first hour without an owner.",
)
@click.option("--project", default="", help="The Hopsworks project that lives there.")
@writing()
@click.pass_obj
def map_(
    session: Session,
    cluster: str,
    name: str,
    user: str,
    from_hour: str | None,
    project: str,
    dry_run: bool,
    why: str,
) -> None:
    """Give a namespace to a user, and charge what is stored since.

    Without --from: from its first stored hour that is nobody's on, else from now on.
    """
    given = NamespaceMap(
        cluster=cluster, namespace=name, user=user, project=project, from_hour=from_hour
    )
    ask(session, "namespace.map", given, dry_run=dry_run, why=why)


@namespace.command(
    epilog="\b\nExample:\n  hopsmeter namespace unmap eu-1 ml-train --from 2026-03-05T00Z"
)
@click.argument("cluster")
@click.argument("name", metavar="NAMESPACE")
@click.option(
    "--from", "from_hour", type=HOUR_TEXT, metavar="HOUR", help="Else the hour that runs."
)
@writing()
@click.pass_obj
def unmap(
    session: Session, cluster: str, name: str, from_hour: str | None, dry_run: bool, why: str
) -> None:
    """End the ownership of a namespace."""
    given = NamespaceUnmap(cluster=cluster, namespace=name, from_hour=from_hour)
    ask(session, "namespace.unmap", given, dry_run=dry_run, why=why)


@namespace.command(epilog="\b\nExample:\n  hopsmeter namespace unmapped --since 2026-03-01")
@click.option(
    "--since", type=DAY_TEXT, metavar="DAY", help="Count from this day on; else all there is."
)
@listing
@click.pass_obj
def unmapped(session: Session, since: str | None, form: Form) -> None:
    """Namespaces that cost and have no owner, dearest first.

    Those of removed clusters too: they are mapped like the others.
    """
    day = date.fromisoformat(since) if since else None
    with session.connection(read_only=True) as connection:
        found = unmapped_costs(connection, day)
    columns = (
        Column("cluster", lambda each: f"{each.cluster}{' (removed)' if each.removed else ''}"),
        Column("namespace", lambda each: each.namespace),
        Column("cost", lambda each: cost(each.total_nano, each.currency), "right"),
        Column("hours", lambda each: str(each.hours), "right"),
        Column("first hour", lambda each: hour(each.first_hour)),
        Column("last hour", lambda each: hour(each.last_hour)),
    )
    empty = "Every namespace that costs has an owner."
    if since:
        empty = f"No namespace without an owner costs anything since {since}."
    show(form, found, columns, empty=empty)
