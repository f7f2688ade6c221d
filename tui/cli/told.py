"""What `hopsmeter explain` says of an invoice, and of what was told to Stripe."""

from collections.abc import Sequence
from typing import Any, Final

import click

from core.books.entries.invoice import InvoiceDay, InvoiceStory
from core.books.stripe.reported import DayMove, Report, ReportedDay
from core.money import exact_from_nano, text_from_nano
from tui.cli.output import Column, instant, pairs, say, table
from tui.format import NOTHING

DECIMALS: Final = 9


def tell_invoice(found: InvoiceStory) -> None:
    """Print an invoice, the days that it bills, and what was told and moved of each."""
    period = ""
    if found.usage_start and found.usage_end:
        period = f"{instant(found.usage_start)} until {instant(found.usage_end)}"
    pairs(
        [
            ("invoice", f"{found.id}{f', {found.number}' if found.number else ''}"),
            ("account", f"{found.account} ({found.email})"),
            ("state", _state(found)),
            ("of usage", period),
            ("quantity", _quantity(found)),
            ("amount", _line(found)),
            ("in all", _money(found.total_nano, found.currency)),
            ("paid", _money(found.paid_nano, found.currency)),
            ("fetched", instant(found.fetched_at)),
        ]
    )
    click.echo("\nIts days:")
    _table_or(found.days, _DAYS)
    _tell_reports([report for each in found.days for report in each.told.reports])
    _tell_moves({move.id: move for each in found.days for move in each.told.moves}.values())
    click.echo("\nPosted to the receivable, by day and posting:")
    _table_or([line for each in found.days for line in each.entries], _ENTRIES)
    click.echo()
    say(_verdict(found))
    say(f"`hopsmeter explain '{found.account}' DAY` goes on to hours and answers.")


def invoice_record(found: InvoiceStory) -> dict[str, Any]:
    """Return what --json adds to the record itself: what is compared."""
    return {
        "exact_nano": found.exact_nano,
        "counted_units": found.counted_units,
        "agree": found.agrees,
    }


def tell_report(account: str, report: Report, currency: str) -> None:
    """Print the report that an entry is of."""
    click.echo(f"\nIt is of this report of {report.day}:")
    table([report], _REPORTS)
    say(
        f"{report.units_before} → {report.units} units of {exact_from_nano(report.unit_nano)}"
        f" {currency} are {_exact(report.told_nano)} {currency}; {_exact(report.remainder_nano)}"
        f" were left under a unit. `hopsmeter explain '{account}' {report.day}` shows the day."
    )


def tell_move(account: str, move: DayMove, currency: str) -> None:
    """Print what was settled by hand with an entry."""
    click.echo()
    say(
        f"It settles {_exact(move.amount_nano)} {currency} of {move.from_day}, which Stripe is"
        f" not told: {move.by}, {instant(move.at)}: {move.why or 'no reason given'}."
        f" `hopsmeter explain '{account}' {move.from_day}` shows the day."
    )


def tell_told_day(told: ReportedDay, currency: str) -> None:
    """Print what of an account's day was told to Stripe."""
    if told.reports:
        click.echo("\nTold to Stripe:")
        table(told.reports, _REPORTS)
    _tell_moves(told.moves)
    said = ""
    if told.fetched_at:
        said = f" Stripe says it has {told.said_units or 0}, asked {_asked(told)}."
    on = f" It is on invoice {told.invoice_id}, which is final." if told.invoice_id else ""
    click.echo()
    say(
        f"Of {_exact(told.posted_nano)} {currency} in the receivable, {_exact(told.moved_nano)}"
        f" moved, {told.units} units were told; {_exact(told.due_nano)} are due.{said}{on}"
    )


def _state(found: InvoiceStory) -> str:
    final = f", final since {instant(found.finalized_at)}" if found.finalized_at else ", not final"
    return found.status + final


def _quantity(found: InvoiceStory) -> str:
    if found.units is None:
        return "it has no metered line"
    return f"{found.units} units"


def _line(found: InvoiceStory) -> str:
    if found.units is None:
        return ""
    return (
        f"{found.units} × {exact_from_nano(found.unit_nano)} = {_exact(found.exact_nano)}"
        f" {found.currency}, rounded by Stripe to {_money(found.line_nano, found.currency)}"
    )


def _verdict(found: InvoiceStory) -> str:
    counted = f"its days are counted with {found.counted_units} units{_shared(found)}"
    if found.units is None:
        return "It bills no usage."
    if found.status == "void":
        return (
            f"It is void: nobody owes its {found.units} units any more, and {counted}. `hopsmeter"
            " stripe due` says whether something is to be done."
        )
    if found.finalized_at is None:
        return f"It is not final: {found.units} units so far, and {counted}."
    if found.agrees:
        return f"It bills {found.units} units, and {counted}: the same."
    if found.compared_at is None:
        return (
            f"It bills {found.units} units, and {counted}: it was not compared yet. The next run of"
            " reporting takes what came too late to the open day."
        )
    return (
        f"It bills {found.units} units, and {counted}: they differ. `hopsmeter stripe due`"
        " says what is to be done."
    )


def _shared(found: InvoiceStory) -> str:
    """Say what of a day is billed by another invoice than the one that has it."""
    said = ""
    if found.beside_units:
        said = (
            f", {found.beside_units} of them of {found.beside_day}, of which another invoice bills the"
            " rest"
        )
    if found.elsewhere_units:
        said += f", beside {found.elsewhere_units} that another invoice bills of them"
    return said


def _tell_reports(reports: Sequence[Report]) -> None:
    shown = [each for each in reports if each.state != "superseded"]
    click.echo("\nTold to Stripe:")
    _table_or(shown, _REPORTS)
    if hidden := len(reports) - len(shown):
        say(
            f"{hidden} that newer ones of their day superseded; --json and the explanation of a day"
            " have them."
        )


def _tell_moves(moves: Any) -> None:
    if found := list(moves):
        click.echo("\nMoved between days, or settled by hand:")
        table(found, _MOVES)


def _table_or(rows: Sequence[Any], columns: Sequence[Column]) -> None:
    if rows:
        table(rows, columns)
    else:
        click.echo("nothing")


def _exact(nano: int) -> str:
    return text_from_nano(nano, DECIMALS)


def _money(nano: int | None, currency: str) -> str:
    return NOTHING if nano is None else f"{exact_from_nano(nano)} {currency}"


def _asked(told: ReportedDay) -> str:
    """When Stripe said what it has; what was said too early is no news of the newest report."""
    if not told.fetched_at:
        return NOTHING
    early = ", before it may have counted its newest report" if told.asked_before else ""
    return f"{instant(told.fetched_at)}{early}"


def _said(each: InvoiceDay) -> str:
    return NOTHING if each.told.fetched_at is None else str(each.told.said_units or 0)


_DAYS: Final = (
    Column("day", lambda each: str(each.told.day)),
    Column("posted", lambda each: _exact(each.told.posted_nano), "right"),
    Column("moved", lambda each: _exact(each.told.moved_nano), "right", below=True),
    Column("units", lambda each: str(each.told.units), "right"),
    Column("at Stripe", _said, "right", below=True),
    Column("due", lambda each: _exact(each.told.due_nano), "right"),
    Column("asked", lambda each: _asked(each.told), below=True),
)
_REPORTS: Final = (
    Column("day", lambda each: str(each.day)),
    Column("no.", lambda each: str(each.seq), "right"),
    Column("units", lambda each: str(each.units), "right"),
    Column("state", lambda each: each.state),
    Column("since", lambda each: instant(each.ended_at or each.sent_at or each.made_at)),
    Column("entry", lambda each: str(each.entry_id or NOTHING), "right", below=True),
    Column("identifier", lambda each: each.identifier, below=True),
    Column("error", lambda each: each.error, below=True),
)
_MOVES: Final = (
    Column("move", lambda each: str(each.id), "right"),
    Column("from", lambda each: str(each.from_day)),
    Column("to", lambda each: str(each.to_day or "outside of Stripe")),
    Column("amount", lambda each: _exact(each.amount_nano), "right"),
    Column("kind", lambda each: each.kind, below=True),
    Column("by", lambda each: each.by, below=True),
    Column("why", lambda each: each.why, below=True),
)
_ENTRIES: Final = (
    Column("entry", lambda each: str(each.id), "right"),
    Column("stands on", lambda each: str(each.posted_on)),
    Column("posting", lambda each: str(each.posting_no or NOTHING), "right", below=True),
    Column("amount", lambda each: _exact(each.amount_nano), "right"),
    Column("what", lambda each: each.what),
)
