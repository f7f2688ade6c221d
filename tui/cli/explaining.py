"""`hopsmeter explain`: from an hour, an account's day, an entry of the ledger, or an invoice."""

from datetime import date
from typing import Final

import click

from core.clock import last_closed_hour
from tui.cli.output import plain, show_json
from tui.cli.session import Session
from tui.cli.words import DAY_TEXT, HOUR_TEXT

_WAYS: Final = (
    "Name a cluster, a namespace and an hour; or an account and a day; or --entry N; or"
    " --invoice in_…."
)


@click.command(
    short_help="From a figure back to OpenCost's answer.",
    epilog="\b\nExamples:\n  hopsmeter explain eu-1 ml-train 2026-03-01T14Z\n"
    "  hopsmeter explain anna@example.com 2026-03-01\n  hopsmeter explain --entry 4711\n"
    "  hopsmeter explain --invoice in_1Q2w3E",
)
@click.argument("words", nargs=-1, metavar="[CLUSTER NAMESPACE HOUR | ACCOUNT DAY]")
@click.option("--entry", type=click.IntRange(1), metavar="N", help="An entry of the ledger.")
@click.option("--invoice", metavar="in_…", help="An invoice, by Stripe's id of it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def explain(
    context: click.Context,
    words: tuple[str, ...],
    entry: int | None,
    invoice: str | None,
    as_json: bool,
) -> None:
    """Go back from one figure to where it came from.

    From what a namespace cost in an hour to its owner, its plan and OpenCost's own answer; from an
    account's day to its postings and hours, and what replaced what; from an entry of the ledger to
    the hours that it came of, to who asked for it, or to what was said to Stripe; from an invoice to
    the days it bills, what was told and moved of each, and their entries.
    """
    from tui.cli.proof import explain_hour

    session: Session = context.obj
    if sum((entry is not None, invoice is not None, bool(words))) > 1:
        raise click.UsageError(_WAYS)
    if entry is not None:
        _explain_entry(session, entry, as_json)
    elif invoice is not None:
        _explain_invoice(session, invoice, as_json)
    elif len(words) == 2:
        day = DAY_TEXT.convert(words[1], None, context)
        _explain_day(session, words[0], day, as_json)
    elif len(words) == 3:
        at = HOUR_TEXT.convert(words[2], None, context)
        explain_hour(session, words[0], words[1], at, as_json)
    else:
        raise click.UsageError(_WAYS)


def _explain_entry(session: Session, entry: int, as_json: bool) -> None:
    from core.books.entries.entry import explain_entry
    from tui.cli.tracing import tell_entry

    with session.connection(read_only=True) as connection:
        found = explain_entry(connection, session.principal(connection), entry)
    if as_json:
        sums = {"charged_nano": found.charged_nano, "moved_nano": found.moved_nano}
        show_json({**plain(found), **sums})
    else:
        tell_entry(found)


def _explain_invoice(session: Session, invoice: str, as_json: bool) -> None:
    from core.books.entries.invoice import explain_invoice
    from tui.cli.told import invoice_record, tell_invoice

    with session.connection(read_only=True) as connection:
        found = explain_invoice(connection, session.principal(connection), invoice)
    if as_json:
        show_json({**plain(found), **invoice_record(found)})
    else:
        tell_invoice(found)


def _explain_day(session: Session, account: str, day: str, as_json: bool) -> None:
    from core.books.entries.account_day import explain_day
    from tui.cli.tracing import day_record, tell_day

    newest = last_closed_hour(session.now())
    with session.connection(read_only=True) as connection:
        who = session.principal(connection)
        found = explain_day(connection, who, account, date.fromisoformat(day), newest)
    if as_json:
        show_json({**plain(found), **day_record(found)})
    else:
        tell_day(found)
