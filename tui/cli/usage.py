"""`hopsmeter usage …`"""

from datetime import date, timedelta

import click

from core.clock import day_of, month_bounds
from core.identity.users import find_user
from core.reports.costs import namespaces
from core.reports.usage import Usage, hours_unposted
from core.reports.usage import usage as use_of
from tui.cli.output import Column, Form, cost, listing, money, pairs, show, table
from tui.cli.session import Session
from tui.cli.words import MONTH_TEXT

KINDS = ("cpu", "gpu", "ram", "pv", "network", "other")


@click.command(
    short_help="What was used in a month, and its charge.",
    epilog="\b\nExamples:\n  hopsmeter usage anna@example.com --month 2026-03\n"
    "  hopsmeter usage --all --csv",
)
@click.argument("who", metavar="[USER]", required=False)
@click.option("--all", "everybody", is_flag=True, help="All users.")
@click.option("--month", type=MONTH_TEXT, metavar="YYYY-MM", help="Else the month that runs.")
@listing
@click.pass_obj
def usage(
    session: Session, who: str | None, everybody: bool, month: str | None, form: Form
) -> None:
    """What a user (id or e-mail), or everybody, used in a month and is charged for it."""
    if who and everybody:
        raise click.UsageError(f"Both a user ({who}) and --all were given; choose one.")
    if not who and not everybody:
        raise click.UsageError("Name a user, or say --all.")
    today = day_of(session.now())
    first, after = month_bounds(month or f"{today:%Y-%m}")
    with session.connection(read_only=True) as connection:
        user = find_user(connection, who) if who else None
        found = use_of(connection, first, after, user_id=user.id if user else None)
        last = after - timedelta(days=1)
        parts = namespaces(connection, first, last, user_id=user.id) if user else ()
        unposted = hours_unposted(connection, first, after)
    if unposted:
        click.echo(f"Stored hours that are not in these figures yet: {unposted}.", err=True)
    empty = f"Nothing was used in {first:%Y-%m}."
    if user is None or form != "table":
        show(form, found, _COLUMNS, empty=empty)
        return
    _one(user.label, first, found, empty)
    if parts:
        click.echo()
        table(parts, _PARTS)


def _one(label: str, first: date, found: tuple[Usage, ...], empty: str) -> None:
    if not found:
        click.echo(empty)
        return
    click.echo(f"{label}, {first:%Y-%m}")
    for each in found:
        amounts = [(kind, getattr(each, f"{kind}_nano")) for kind in KINDS]
        click.echo()
        pairs(
            [
                ("cluster", each.cluster),
                ("paid by", each.account_id if each.account_id != each.user_id else ""),
                ("charge", money(each.charge_nano, each.currency)),
                ("cost", money(each.total_nano, each.currency)),
                ("margin", money(each.margin_nano, each.currency)),
                *((kind, money(nano, each.currency)) for kind, nano in amounts if nano),
                ("days", str(each.days)),
            ]
        )


_COLUMNS = (
    Column("e-mail", lambda each: each.email),
    Column("user", lambda each: each.user_id),
    Column("cluster", lambda each: each.cluster),
    Column("days", lambda each: str(each.days), "right"),
    Column("cost", lambda each: cost(each.total_nano, each.currency), "right"),
    Column("charge", lambda each: cost(each.charge_nano, each.currency), "right"),
    Column("margin", lambda each: cost(each.margin_nano, each.currency), "right"),
    Column("paid by", lambda each: each.account_id if each.account_id != each.user_id else ""),
)
_PARTS = (
    Column("cluster", lambda each: each.cluster),
    Column("namespace", lambda each: each.namespace),
    Column("hours", lambda each: str(each.hours), "right"),
    Column("cost", lambda each: cost(each.total_nano, each.currency), "right"),
    Column("charge", lambda each: cost(each.charge_nano, each.currency), "right"),
)
