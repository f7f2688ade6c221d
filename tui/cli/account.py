"""`hopsmeter account …`"""

from typing import Any

import click
from msgspec import UNSET, UnsetType

from core.commands.arguments import AccountMode, AccountNamed, AccountPolicy
from core.money import exact_from_nano
from core.reports.credits import AccountLine, ModePeriod, accounts, find_line, modes
from core.reports.stripe.accounts import StripeLine, stripe_line
from tui.cli.asking import ask, writing
from tui.cli.output import (
    Column,
    Form,
    cost,
    instant,
    listing,
    money,
    pairs,
    plain,
    show,
    show_json,
    table,
)
from tui.cli.session import Session
from tui.cli.words import DAY_TEXT

NOBODY = "none"


@click.group()
def account() -> None:
    """Who pays, and how: prepaid, postpaid or both."""


@account.command("list", epilog="\b\nExample:\n  hopsmeter account list --csv")
@listing
@click.pass_obj
def list_(session: Session, form: Form) -> None:
    """All accounts: how they pay, what is in their books."""
    with session.connection(read_only=True) as connection:
        found = accounts(connection, session.principal(connection), session.now())
    columns = (
        Column("e-mail", lambda each: each.email),
        Column("mode", lambda each: each.mode),
        Column("next", _next),
        Column("credits", lambda each: cost(each.credits_nano, each.currency), "right"),
        Column("arrears", lambda each: cost(each.arrears_nano, each.currency), "right"),
        Column("receivable", lambda each: cost(each.receivable_nano, each.currency), "right"),
        Column("marks", marks),
        Column("account", lambda each: each.account_id),
    )
    show(form, found, columns, empty="No account yet; `hopsmeter user add` makes one.")


@account.command("show", epilog="\b\nExample:\n  hopsmeter account show anna@example.com")
@click.argument("who", metavar="ACCOUNT")
@listing
@click.pass_obj
def show_(session: Session, who: str, form: Form) -> None:
    """One account (id or e-mail): mode, policy, marks, books."""
    with session.connection(read_only=True) as connection:
        principal = session.principal(connection)
        line = find_line(connection, principal, who, session.now())
        periods = modes(connection, line)
        billed = stripe_line(connection, principal, line.account_id)
    if form == "json":
        at_stripe = plain(billed) if billed else None
        show_json({**plain(line), "modes": [plain(each) for each in periods], "stripe": at_stripe})
    elif form == "csv":
        show(form, [line], (), empty="")
    else:
        pairs([*told(line), *balances(line), *_at_stripe(billed)])
        _tell_modes(periods)


@account.command(
    epilog="\b\nExamples:\n  hopsmeter account mode anna@example.com prepaid --reason agreed\n"
    "  hopsmeter account mode anna@example.com hybrid --from 2026-04-01 --dry-run \\\n"
    "    --reason 'as of the new contract'"
)
@click.argument("who", metavar="ACCOUNT")
@click.argument("mode", type=click.Choice(["postpaid", "prepaid", "hybrid"]))
@click.option(
    "--from", "from_day", type=DAY_TEXT, metavar="DAY", help="Its first day; else tomorrow (UTC)."
)
@writing(reason=True)
@click.pass_obj
def mode(
    session: Session, who: str, mode: str, from_day: str | None, dry_run: bool, why: str
) -> None:
    """Let an account pay in a mode, from a day to come on.

    postpaid: all is receivable, credits are left alone. prepaid: credits pay, and what they do not
    pay is arrears, which the next credits repay. hybrid: credits pay first, the rest is receivable.
    A mode holds for whole days (UTC); one that was to begin later is replaced.
    """
    given = AccountMode(account=who, mode=mode, from_day=from_day)
    ask(session, "account.mode", given, dry_run=dry_run, why=why)


@account.command(
    epilog="\b\nExamples:\n  hopsmeter account policy anna@example.com --grace 50 \\\n"
    "    --warn-below 20 --reason agreed\n"
    "  hopsmeter account policy anna@example.com --stop --reason agreed"
)
@click.argument("who", metavar="ACCOUNT")
@click.option("--stop", is_flag=True, help="It may owe nothing: gone credits are the end.")
@click.option("--grace", metavar="AMOUNT", help="How much it may owe before it is to be suspended.")
@click.option(
    "--warn-below",
    metavar="AMOUNT|none",
    help="Below how much of credits somebody is told; none: nobody is.",
)
@writing(reason=True)
@click.pass_obj
def policy(
    session: Session,
    who: str,
    stop: bool,
    grace: str | None,
    warn_below: str | None,
    dry_run: bool,
    why: str,
) -> None:
    """What a prepaid account may owe, and when somebody is told.

    What is not named stays as it is. An account that owes more is marked: it is to be suspended.
    """
    if stop and grace is not None:
        raise click.UsageError("--stop and --grace exclude each other; choose one.")
    if not stop and grace is None and warn_below is None:
        raise click.UsageError("Say what changes: --stop, --grace or --warn-below.")
    warned: str | UnsetType | None = UNSET if warn_below is None else warn_below
    given = AccountPolicy(
        account=who,
        grace="0" if stop else UNSET if grace is None else grace,
        warn_below=None if warned == NOBODY else warned,
    )
    ask(session, "account.policy", given, dry_run=dry_run, why=why)


@account.command(
    "settle-arrears",
    epilog="\b\nExample:\n  hopsmeter account settle-arrears anna@example.com \\\n"
    "    --reason 'left prepaid' --dry-run",
)
@click.argument("who", metavar="ACCOUNT")
@writing(reason=True)
@click.pass_obj
def settle_arrears(session: Session, who: str, dry_run: bool, why: str) -> None:
    """Make arrears receivable, of who left prepaid.

    They stand on the day that runs. Late hours of prepaid days may bring more: settle again.
    """
    ask(session, "account.settle-arrears", AccountNamed(account=who), dry_run=dry_run, why=why)


def told(line: AccountLine) -> list[tuple[str, str]]:
    """Return who an account is, how it pays and what holds for it, as names and values."""
    later = f"; {line.next_mode} from {line.next_mode_on} on" if line.next_mode else ""
    warned = (
        f"told below {exact_from_nano(line.low_nano)} {line.currency}"
        if line.low_nano is not None
        else "nobody is told when credits are low"
    )
    limit = (
        f"may owe {exact_from_nano(line.grace_nano)} {line.currency}"
        if line.grace_nano
        else "stops when credits are gone"
    )
    if "prepaid" not in (line.mode, line.next_mode):
        limit = f"once prepaid, {limit}"
    return [
        ("account", f"{line.label}{'' if line.status == 'active' else f', {line.status}'}"),
        ("mode", f"{line.mode}{later}"),
        ("policy", f"{limit}; {warned}"),
        ("marks", marks(line)),
    ]


def _at_stripe(line: StripeLine | None) -> list[tuple[str, str]]:
    """Return how an account stands at Stripe."""
    if line is None:
        return []
    card = "with" if line.has_card else "without"
    subscription = line.subscription_status or "no subscription"
    standing = f"{line.standing}: {line.why}" if line.why else line.standing
    return [
        ("at Stripe", f"{line.customer_id}, {subscription}, {card} a payment method"),
        ("standing", standing),
        ("parked", line.parked_why),
        ("billed twice", line.billed_twice),
    ]


def balances(line: AccountLine) -> list[tuple[str, str]]:
    """Return what is in the three books."""
    return [
        ("credits", money(line.credits_nano, line.currency)),
        ("arrears", money(line.arrears_nano, line.currency)),
        ("receivable", money(line.receivable_nano, line.currency)),
    ]


def marks(line: AccountLine) -> str:
    """Return what an account is marked as, and since when."""
    found = (
        ("low", line.low_at if line.empty_at is None else None),
        ("empty", line.empty_at),
        ("beyond its limit, to be suspended", line.beyond_at),
    )
    return "; ".join(f"{word} since {instant(at)}" for word, at in found if at)


def _next(each: Any) -> str:
    return f"{each.next_mode} {each.next_mode_on}" if each.next_mode else ""


def _tell_modes(periods: tuple[ModePeriod, ...]) -> None:
    if not periods:
        return
    columns = (
        Column("mode", lambda each: each.mode),
        Column("from", lambda each: str(each.since)),
        Column("until", lambda each: str(each.until or "")),
        Column("set", lambda each: instant(each.created_at)),
        Column("by", lambda each: each.created_by),
    )
    click.echo()
    table(periods, columns)
