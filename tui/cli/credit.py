"""`hopsmeter credits …`: the writes; what is read stands in `credit_lists`."""

from typing import Any, Final

import click

from core.commands.arguments import CreditsAdjust, CreditsBuy, CreditsExpire, CreditsGrant
from tui.cli.asking import STRIPE_WAIT_S, ask, writing
from tui.cli.credit_lists import show_, statement_
from tui.cli.session import Session
from tui.cli.words import DAY_TEXT

SIGNED: Final[dict[str, Any]] = {"ignore_unknown_options": True}
"""An amount may be negative, which else reads as an option."""
CURRENCY = click.option("--currency", metavar="CODE", help="Like EUR; else the account's own.")
KEY = click.option(
    "--key", metavar="TEXT", help="A name for this post; the same one again posts nothing."
)


@click.group("credits")
def credits_() -> None:
    """Money paid or granted ahead, lot by lot."""


credits_.add_command(show_)
credits_.add_command(statement_)


@credits_.command(
    context_settings=SIGNED,
    epilog="\b\nExamples:\n  hopsmeter credits grant anna@example.com 50 --reason 'a trial'\n"
    "  hopsmeter credits grant anna@example.com 50 --expires 2026-07-01 \\\n"
    "    --key trial-anna --reason 'a trial' --dry-run",
)
@click.argument("who", metavar="ACCOUNT")
@click.argument("amount")
@click.option(
    "--expires",
    "expires_on",
    type=DAY_TEXT,
    metavar="DAY",
    help="The first day (UTC) that it does not pay; else it never expires.",
)
@click.option(
    "--priority", type=int, metavar="N", help="Among lots that expire together, the lowest first."
)
@CURRENCY
@KEY
@writing(reason=True)
@click.pass_obj
def grant(
    session: Session,
    who: str,
    amount: str,
    expires_on: str | None,
    priority: int | None,
    currency: str | None,
    key: str | None,
    dry_run: bool,
    why: str,
) -> None:
    """Give an account promotional credits.

    They are a lot of their own; what the account owes as arrears is repaid from them at once.
    """
    given = CreditsGrant(
        account=who,
        amount=amount,
        expires_on=expires_on,
        priority=priority,
        currency=currency,
        key=key,
    )
    ask(session, "credits.grant", given, dry_run=dry_run, why=why)


@credits_.command(
    epilog="\b\nExample:\n  hopsmeter credits buy anna@example.com 100 --expires 2027-01-01 \\\n"
    "    --reason 'asked by mail'",
)
@click.argument("who", metavar="ACCOUNT")
@click.argument("amount")
@click.option(
    "--expires",
    "expires_on",
    type=DAY_TEXT,
    metavar="DAY",
    help="The first day (UTC) that they will not pay; else they never expire.",
)
@CURRENCY
@KEY
@writing(reason=True)
@click.pass_obj
def buy(
    session: Session,
    who: str,
    amount: str,
    expires_on: str | None,
    currency: str | None,
    key: str | None,
    dry_run: bool,
    why: str,
) -> None:
    """Print Stripe's page on which an account pays for credits.

    They are credited once Stripe has the payment, at once or (a debit, say) days later. The page is
    there for a day; the same --key prints it again. Without one, so does the same account, amount,
    currency and day until it is paid; afterwards, and with another of them, it is a new purchase.
    """
    given = CreditsBuy(
        account=who, amount=amount, expires_on=expires_on, key=key, currency=currency
    )
    ask(session, "credits.buy", given, dry_run=dry_run, why=why, wait_s=STRIPE_WAIT_S)


@credits_.command(
    context_settings=SIGNED,
    epilog="\b\nExamples:\n  hopsmeter credits adjust anna@example.com -12.50 --reason doubled\n"
    "  hopsmeter credits adjust anna@example.com 5 --reason regrets --dry-run",
)
@click.argument("who", metavar="ACCOUNT")
@click.argument("amount")
@CURRENCY
@KEY
@writing(reason=True)
@click.pass_obj
def adjust(
    session: Session,
    who: str,
    amount: str,
    currency: str | None,
    key: str | None,
    dry_run: bool,
    why: str,
) -> None:
    """Correct credits by hand, up or down.

    Up is a lot that does not expire, down is taken from the lots in the order of use. Down it goes to zero at most; what an account owes is no matter of credits.
    """
    given = CreditsAdjust(account=who, amount=amount, currency=currency, key=key)
    ask(session, "credits.adjust", given, dry_run=dry_run, why=why)


@credits_.command(
    epilog="\b\nExample:\n  hopsmeter credits expire anna@example.com --lot 12 \\\n"
    "    --reason 'the trial was ended' --dry-run"
)
@click.argument("who", metavar="ACCOUNT")
@click.option("--lot", type=int, required=True, metavar="N", help="As `credits show` lists them.")
@KEY
@writing(reason=True)
@click.pass_obj
def expire(session: Session, who: str, lot: int, key: str | None, dry_run: bool, why: str) -> None:
    """Let a lot expire now, whatever its date.

    What is left of it goes; what it has paid stays paid; what a later correction returns to it goes
    as well. Hours that are used and not posted yet find other credits, or none.
    """
    given = CreditsExpire(account=who, lot=lot, key=key)
    ask(session, "credits.expire", given, dry_run=dry_run, why=why)
