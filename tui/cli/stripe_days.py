"""`hopsmeter stripe due …`: what Stripe was told day by day, what it was not, and what it says itself."""

from datetime import timedelta
from typing import Final, Literal

import click

from core.clock import day_of
from core.commands.arguments import (
    StripeAgain,
    StripeDecide,
    StripeFetch,
    StripeReport,
    StripeSettle,
)
from core.money import exact_from_nano
from core.reports.stripe.compared import days
from core.reports.stripe.due import Due, unread
from core.reports.stripe.due import due as read_due
from tui.cli.asking import ask, writing
from tui.cli.failing import Told
from tui.cli.output import Column, Form, cost, listing, say, show
from tui.cli.session import Session
from tui.cli.words import DAY_TEXT

WAIT_S: Final = 300.0
DAYS: Final = 40
DAYS_MAX: Final = 400


@click.command(
    short_help="What Stripe was not told, or does not bill.",
    epilog="\b\nExamples:\n  hopsmeter stripe due\n  hopsmeter stripe due --all --each-day",
)
@click.argument("who", metavar="[ACCOUNT]", required=False)
@click.option("--all", "everything", is_flag=True, help="Also what is told by itself.")
@click.option("--each-day", is_flag=True, help="A line per day.")
@listing
@click.pass_obj
def due(session: Session, who: str | None, everything: bool, each_day: bool, form: Form) -> None:
    """What Stripe was not told or does not bill, and which invoices are not right: for a person to decide.

    The amount is what is owed and on no invoice; less than nothing where Stripe bills too much, and ?
    where nobody knows it: of days that two invoices bill.
    """
    with session.connection(read_only=True) as connection:
        principal, now = session.principal(connection), session.now()
        found = read_due(
            connection,
            principal,
            now,
            account=who,
            everything=everything,
            each_day=each_day,
        )
        hidden = unread(connection, principal, now, account=who)
    columns = (
        Column("account", lambda each: each.email),
        Column("days", _span, below=True),
        Column("amount", _amount, "right"),
        Column("why", lambda each: each.why, below=True, folds=True),
        Column("next step", lambda each: each.next_step, below=True, folds=True),
    )
    empty = "Nothing waits." if everything else "Nothing waits for a person; --all shows the rest."
    if hidden:
        empty = "Nothing that is read waits" + (
            "." if everything else " for a person; --all shows the rest."
        )
    show(form, found, columns, empty=empty)
    _tell_unread(form, hidden)


def _tell_unread(form: Form, said: str) -> None:
    """What no list has yet; beside JSON and CSV, which are for programs, where it disturbs none."""
    if said and form == "table":
        say(said)
    elif said:
        click.echo(said, err=True)


def _amount(each: Due) -> str:
    return "?" if each.amount_nano is None else cost(each.amount_nano, each.currency, 6)


def _span(each: Due) -> str:
    if each.first_day == each.last_day:
        return str(each.first_day)
    return f"{each.first_day} … {each.last_day} ({each.days})"


@click.command(epilog="\b\nExample:\n  hopsmeter stripe report")
@writing()
@click.pass_obj
def report(session: Session, dry_run: bool, why: str) -> None:
    """Tell Stripe now what is due, instead of within the hour."""
    ask(session, "stripe.report", StripeReport(), dry_run=dry_run, why=why, wait_s=WAIT_S)


@click.command(
    short_help="Settle what waits for a person.",
    epilog="\b\nExamples:\n"
    "  hopsmeter stripe settle anna@example.com --on-open-day \\\n"
    "    --reason 'before she signed'\n"
    "  hopsmeter stripe settle anna@example.com --day 2026-03-02 --outside \\\n"
    "    --reason 'paid by wire, invoice 17' --dry-run\n"
    "  hopsmeter stripe settle anna@example.com --invoice in_1 --put-right \\\n"
    "    --reason 'refunded, re_17'",
)
@click.argument("who", metavar="ACCOUNT")
@click.option("--day", type=DAY_TEXT, metavar="DAY", help="One day; else all that `due` lists.")
@click.option("--invoice", metavar="ID", help="An invoice that `due` lists, instead of days.")
@click.option("--outside", is_flag=True, help="Billed elsewhere, or given up.")
@click.option("--on-open-day", is_flag=True, help="Billed with the day that runs.")
@click.option("--put-right", is_flag=True, help="Of an invoice: given back in Stripe.")
@writing(reason=True)
@click.pass_obj
def settle(
    session: Session,
    who: str,
    day: str | None,
    invoice: str | None,
    *,
    outside: bool,
    on_open_day: bool,
    put_right: bool,
    dry_run: bool,
    why: str,
) -> None:
    """Settle what is due of days that are not told by themselves, or an invoice.

    Outside: it stands against the receivable, and Stripe is never told. On the open day: it is told
    with the day that runs, and billed with its month. Days that were told and are on no invoice count
    among those that wait. Of an invoice that is what it bills no more, not yet, or otherwise than its
    days count. Put right: a refund or a credit note gave it back in Stripe, and
    the books stay; where the invoice changes, it is listed again.
    """
    if outside + on_open_day + put_right != 1:
        raise click.UsageError(
            "Say how it is settled: --outside, --on-open-day, or of an invoice --put-right; one of"
            " them."
        )
    if day and invoice:
        raise click.UsageError("Name a day or an invoice, not both.")
    if put_right and not invoice:
        raise click.UsageError("Only an invoice is put right in Stripe: name it with --invoice.")
    how: Literal["outside", "open-day", "put-right"] = "put-right"
    if not put_right:
        how = "outside" if outside else "open-day"
    given = StripeSettle(account=who, how=how, day=day, invoice=invoice)
    ask(session, "stripe.settle", given, dry_run=dry_run, why=why)


@click.command(
    short_help="Tell Stripe a day again.",
    epilog="\b\nExample:\n  hopsmeter stripe again anna@example.com --day 2026-03-02 \\\n"
    "    --reason 'an event was cancelled by hand'",
)
@click.argument("who", metavar="ACCOUNT")
@click.option("--day", type=DAY_TEXT, metavar="DAY", required=True)
@writing(reason=True)
@click.pass_obj
def again(session: Session, who: str, day: str, dry_run: bool, why: str) -> None:
    """Tell Stripe a day again of which it has something else than it accepted."""
    ask(session, "stripe.again", StripeAgain(account=who, day=day), dry_run=dry_run, why=why)


@click.command(
    short_help="Say whether a report arrived.",
    epilog="\b\nExample:\n  hopsmeter stripe decide anna@example.com --day 2026-03-02 --arrived \\\n"
    "    --reason 'seen in the dashboard'",
)
@click.argument("who", metavar="ACCOUNT")
@click.option("--day", type=DAY_TEXT, metavar="DAY", required=True)
@click.option("--arrived", is_flag=True, help="Stripe has it.")
@click.option("--lost", is_flag=True, help="Stripe does not have it.")
@writing(reason=True)
@click.pass_obj
def decide(
    session: Session, who: str, day: str, *, arrived: bool, lost: bool, dry_run: bool, why: str
) -> None:
    """Say of a report whose outcome nobody knows whether it arrived."""
    if arrived == lost:
        raise click.UsageError("Say what became of it: --arrived or --lost, one of them.")
    given = StripeDecide(account=who, day=day, arrived=arrived)
    ask(session, "stripe.decide", given, dry_run=dry_run, why=why)


@click.command(
    "reconcile",
    short_help="OpenCost, the books and Stripe beside each other.",
    epilog="\b\nExamples:\n  hopsmeter stripe reconcile --fetch\n"
    "  hopsmeter stripe reconcile anna@example.com --days 35 --csv",
)
@click.argument("who", metavar="[ACCOUNT]", required=False)
@click.option("--fetch", is_flag=True, help="Ask Stripe first; else as the daily job left it.")
@click.option(
    "--days",
    "back",
    type=click.IntRange(1, DAYS_MAX),
    default=DAYS,
    show_default=True,
    help="How far back.",
)
@listing
@click.pass_obj
def reconcile_(session: Session, who: str | None, fetch: bool, back: int, form: Form) -> None:
    """OpenCost's answers, the books and Stripe beside each other; every difference with its cause.

    Of one account day by day. Nothing is mended here; exit code 1 where something differs.
    """
    if fetch:
        ask(session, "stripe.fetch", StripeFetch(account=who), wait_s=WAIT_S, tell=lambda _: None)
    from core.books.reconcile.three_ways import reconcile  # it reads answers, and brings numpy

    today = day_of(session.now())
    since = today - timedelta(days=back)
    with session.connection(read_only=True) as connection:
        principal = session.principal(connection)
        if who:
            lines = days(
                connection, principal, account=who, since=since, until=today + timedelta(days=1)
            )
            show(form, lines, _DAY_COLUMNS, empty=f"{who} used nothing in these days.")
        found = reconcile(connection, principal, session.now(), since=since, account=who)
        hidden = unread(connection, principal, session.now(), account=who, since=since)
    if not who:
        show(form, found.findings, _FINDING_COLUMNS, empty=f"No difference. {found.said}")
    elif form == "table":
        for each in found.findings:
            say(f"{each.cause}. Next: {each.next_step}", hang=2)
    _tell_unread(form, hidden)
    if found.findings:
        raise Told("What OpenCost said, what the books say and what Stripe says differ.")


def _units(count: int | None) -> str:
    """Return a count in words where there is none: on a narrow terminal a bare 0 is left out."""
    return "?" if count is None else str(count or "none")


_DAY_COLUMNS: Final = (
    Column("day", lambda each: str(each.day)),
    Column("OpenCost", lambda each: exact_from_nano(each.cost_nano), "right"),
    Column("charged", lambda each: exact_from_nano(each.charge_nano), "right"),
    Column("receivable", lambda each: exact_from_nano(each.receivable_nano), "right"),
    Column("moved", lambda each: exact_from_nano(each.moved_nano), "right", below=True),
    Column("due", lambda each: exact_from_nano(each.due_nano), "right", below=True),
    Column("told", lambda each: _units(each.units), "right", below=True),
    Column("Stripe has", lambda each: _units(each.stripe_units), "right", below=True),
)


_FINDING_COLUMNS: Final = (
    Column("where", lambda each: each.email or each.where),
    Column("day", lambda each: str(each.day) if each.day else ""),
    Column("cause", lambda each: each.cause, below=True, folds=True),
    Column("next step", lambda each: each.next_step, below=True, folds=True),
)

COMMANDS: Final = (due, report, settle, again, decide, reconcile_)
