"""`hopsmeter rates preview`: a past month under another plan."""

import click

from core.reports.preview import Preview, preview
from tui.cli.output import Column, Form, cost, listing, money, plain, show, show_json
from tui.cli.session import Session
from tui.cli.words import MONTH_TEXT


@click.command(
    "preview",
    short_help="A past month under another plan; changes nothing.",
    epilog="\b\nExamples:\n  hopsmeter rates preview team --month 2026-03\n"
    "  hopsmeter rates preview card --month 2026-03 --account anna@example.com",
)
@click.argument("plan")
@click.option("--month", type=MONTH_TEXT, metavar="YYYY-MM", required=True, help="Which month.")
@click.option("--account", metavar="ACCOUNT", help="Only this account (id or e-mail).")
@listing
@click.pass_obj
def preview_(session: Session, plan: str, month: str, account: str | None, form: Form) -> None:
    """What a month would have been charged by another plan, account by account.

    Each hour by the plan's version then, free quantities too. Nothing is changed: `rates assign` does
    that.
    """
    with session.connection(read_only=True) as connection:
        who = session.principal(connection)
        found = preview(connection, who, plan, month, account=account, now=session.now())
    if found.left_out:
        names = ", ".join(found.left_out)
        click.echo(f"Left out, since {plan} charges in {found.currency}: {names}.", err=True)
    if form == "json":
        show_json(plain(found))
    else:
        show(form, found.accounts, _COLUMNS, empty=f"Nothing is charged in {month}.")
        if form == "table":
            _sum_up(found)


def _sum_up(found: Preview) -> None:
    for currency in sorted({each.currency for each in found.accounts}):
        of = [each for each in found.accounts if each.currency == currency]
        now, then = (
            sum(getattr(each, f"charge_{word}_nano") for each in of) for word in ("now", "then")
        )
        click.echo(
            f"Together {money(now, currency)} now, {money(then, currency)} then:"
            f" {money(then - now, currency)} difference. Nothing was changed."
        )


_COLUMNS = (
    Column("e-mail", lambda each: each.email),
    Column("cost", lambda each: cost(each.cost_nano, each.currency), "right"),
    Column("charge now", lambda each: cost(each.charge_now_nano, each.currency), "right"),
    Column("charge then", lambda each: cost(each.charge_then_nano, each.currency), "right"),
    Column("difference", lambda each: cost(each.difference_nano, each.currency), "right"),
    Column("margin then", lambda each: cost(each.margin_then_nano, each.currency), "right"),
    Column("account", lambda each: each.account_id),
)
