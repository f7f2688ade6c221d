"""`hopsmeter stripe …`"""

from typing import Any, cast

import click

from core.commands.arguments import Meter, StripeLink, StripeSetup, StripeShow, StripeUnpark
from core.commands.submit import Outcome
from core.identity.accounts import find_books
from core.reports.stripe.accounts import (
    PurchaseLine,
    StripeLine,
    stripe_accounts,
    stripe_purchases,
)
from tui.cli.asking import STRIPE_WAIT_S, ask, writing
from tui.cli.output import Column, Form, cost, instant, listing, pairs, say, show, show_json
from tui.cli.session import Session
from tui.cli.stripe_days import COMMANDS

METER = click.option(
    "--meter",
    type=click.Choice(["daily", "sum"]),
    help="Totals of days (which sending again corrects), or differences that add up.",
)


@click.group()
def stripe() -> None:
    """What is billed through Stripe."""


for _command in COMMANDS:
    stripe.add_command(_command)


@stripe.command(
    short_help="Make at Stripe what billing needs.",
    epilog="\b\nExamples:\n  hopsmeter stripe setup --dry-run\n"
    "  hopsmeter stripe setup --currency EUR --currency USD",
)
@click.option(
    "--currency",
    "currencies",
    multiple=True,
    metavar="CODE",
    help="Beside those of accounts and clusters.",
)
@METER
@writing()
@click.pass_obj
def setup(
    session: Session, currencies: tuple[str, ...], meter: str | None, dry_run: bool, why: str
) -> None:
    """Make at Stripe what billing needs: a product, meters, a price per currency.

    What is there already is found; run twice, it changes nothing. --meter says which one accounts
    get from now on.
    """
    given = StripeSetup(currencies=[*currencies], meter=cast("Meter | None", meter))
    ask(session, "stripe.setup", given, dry_run=dry_run, why=why, wait_s=STRIPE_WAIT_S)


@stripe.command("show", epilog="\b\nExample:\n  hopsmeter stripe show")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_(session: Session, as_json: bool) -> None:
    """What is set up at Stripe, and what is not."""

    def tell(done: Outcome) -> None:
        result = done.result or {}
        if as_json:
            show_json(result)
        else:
            _tell_overview(result)

    ask(session, "stripe.show", StripeShow(), wait_s=STRIPE_WAIT_S, tell=tell)


@stripe.command(
    short_help="Have an account billed through Stripe.",
    epilog="\b\nExamples:\n  hopsmeter stripe link anna@example.com --reason 'signed up'\n"
    "  hopsmeter stripe link anna@example.com --customer cus_1 \\\n"
    "    --subscription sub_1 --reason 'billed there before' --dry-run",
)
@click.argument("who", metavar="ACCOUNT")
@click.option("--customer", metavar="ID", help="An existing customer, cus_…; else one is made.")
@click.option(
    "--subscription", metavar="ID", help="An existing subscription, sub_…; else one is made."
)
@click.option("--currency", metavar="CODE", help="Like EUR, for who has none yet.")
@METER
@writing(reason=True)
@click.pass_obj
def link(
    session: Session,
    who: str,
    customer: str | None,
    subscription: str | None,
    currency: str | None,
    meter: str | None,
    dry_run: bool,
    why: str,
) -> None:
    """Have an account billed through Stripe: customer, subscription, payment method.

    The subscription is monthly from the 1st, 00:00 UTC. Prints the page where the payment method is
    left. Run again, it goes on where it ended, and prints a new page while there is no method.
    """
    given = StripeLink(
        account=who,
        customer=customer,
        subscription=subscription,
        meter=cast("Meter | None", meter),
        currency=currency,
    )
    ask(session, "stripe.link", given, dry_run=dry_run, why=why, wait_s=STRIPE_WAIT_S)


@stripe.command(
    epilog="\b\nExamples:\n  hopsmeter stripe unpark anna@example.com --reason mended\n"
    "  hopsmeter stripe unpark --all --reason 'the meter counts again'"
)
@click.argument("who", metavar="[ACCOUNT]", required=False)
@click.option("--all", "everybody", is_flag=True, help="Every account that is parked.")
@writing(reason=True)
@click.pass_obj
def unpark(session: Session, who: str | None, everybody: bool, dry_run: bool, why: str) -> None:
    """Let an account that Stripe refused be reported again."""
    if (who is None) != everybody:
        raise click.UsageError("Name an account, or say --all.")
    ask(session, "stripe.unpark", StripeUnpark(account=who), dry_run=dry_run, why=why)


@stripe.command(
    "accounts",
    short_help="How accounts stand at Stripe.",
    epilog="\b\nExample:\n  hopsmeter stripe accounts --csv",
)
@listing
@click.pass_obj
def accounts_(session: Session, form: Form) -> None:
    """Accounts at Stripe: what pays them, how they stand, what is parked or due.

    As last fetched; hourly, and whenever a webhook tells of one.
    """
    with session.connection(read_only=True) as connection:
        found = stripe_accounts(connection, session.principal(connection))
    columns = (
        Column("e-mail", lambda each: each.email),
        Column("standing", lambda each: each.standing),
        Column("subscription", lambda each: each.subscription_status or "none", below=True),
        Column("card", lambda each: "yes" if each.has_card else "no", below=True),
        Column("unpaid", lambda each: str(each.unpaid_invoices or ""), below=True),
        Column("due", lambda each: cost(each.due_nano, each.currency), "right"),
        Column("customer", lambda each: each.customer_id, below=True),
        Column("why", _why, below=True),
    )
    show(
        form,
        found,
        columns,
        empty="No account is billed through Stripe; `hopsmeter stripe link` makes one.",
    )


@stripe.command("purchases", epilog="\b\nExample:\n  hopsmeter stripe purchases anna@example.com")
@click.argument("who", metavar="[ACCOUNT]", required=False)
@listing
@click.pass_obj
def purchases_(session: Session, who: str | None, form: Form) -> None:
    """Credits that were bought, or are being bought, newest first."""
    with session.connection(read_only=True) as connection:
        principal = session.principal(connection)
        account = find_books(connection, who).id if who else None
        found = stripe_purchases(connection, principal, account)
    columns = (
        Column("purchase", lambda each: str(each.id), "right"),
        Column("e-mail", lambda each: each.email),
        Column("state", lambda each: each.state),
        Column("paid", lambda each: cost(each.amount_nano or 0, each.currency), "right"),
        Column(
            "taken back", lambda each: cost(each.refunded_nano, each.currency), "right", below=True
        ),
        Column("since", lambda each: instant(each.created_at), below=True),
        Column("key", lambda each: each.key, below=True),
        Column("next step", _next_of_purchase, below=True),
    )
    show(
        form, found, columns, empty="Nothing was bought yet; `hopsmeter credits buy` sells credits."
    )


def _next_of_purchase(each: PurchaseLine) -> str:
    return "its user is deleted: refund at Stripe what is left of it" if each.to_refund else ""


def _why(each: StripeLine) -> str:
    parked = f"parked: {each.parked_why}" if each.parked_at else ""
    return "; ".join(word for word in (each.why, parked, each.billed_twice) if word)


def _tell_overview(result: dict[str, Any]) -> None:
    say(result["summary"])
    rows = [("default meter", result["default_meter"] or "")]
    rows += [(f"meter {kind}", name) for kind, name in result["meters"].items()]
    rows += [(f"price {what}", name) for what, name in result["prices"].items()]
    rows += [
        ("webhooks to", f"{each['url']}, {each['status']}, {each['api_version'] or 'default'}")
        for each in result["endpoints"]
    ]
    pairs(rows)
    for remark in result["remarks"]:
        say(f"- {remark}", hang=2)
