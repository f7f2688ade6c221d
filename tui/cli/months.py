"""`hopsmeter books months`, `books close`: which months are closed, and closing one."""

from typing import Final

import click

from core.commands.arguments import BooksClose
from tui.cli.asking import ask, writing
from tui.cli.output import Column, Form, listing, show, table
from tui.cli.session import Session
from tui.cli.words import MONTH_TEXT
from tui.format import clean

CLOSE_WAIT_S: Final = 270.0
"""A month's statements of all accounts are built and compared."""


@click.command(
    short_help="Which months are closed, what stands in the way.",
    epilog="\b\nExample:\n  hopsmeter books months",
)
@listing
@click.pass_obj
def months(session: Session, form: Form) -> None:
    """All months: open or closed, and what stands in the way of closing one that is over."""
    from core.books.months.overview import months as all_months
    from core.books.months.untold import unlinked_words

    with session.connection(read_only=True) as connection:
        found = all_months(connection, session.now())
    if form != "table" or not found:
        show(form, found, (), empty="No month yet: nothing is metered.")
        return
    table(found, _COLUMNS)
    for month in found:
        for each in month.obstacles:
            click.echo(clean(f"{month.month}: {each}"))
        if month.unlinked:
            click.echo(clean(f"{month.month}: {unlinked_words(month.unlinked)}"))


@click.command(
    short_help="Close a month: freeze its statements.",
    epilog="\b\nExamples:\n  hopsmeter books close 2026-03 --reason 'invoiced' --dry-run\n"
    "  hopsmeter books close 2026-03 --reason 'invoiced'",
)
@click.argument("month", type=MONTH_TEXT, metavar="YYYY-MM")
@writing(reason=True)
@click.pass_obj
def close(session: Session, month: str, dry_run: bool, why: str) -> None:
    """Close a month for good: nothing is posted in it any more, its statements are frozen.

    Refused, naming all of it with the cure, while something stands in the way: an hour that is not
    settled, a posting or an expiry that waits, an earlier month that is open, a day that Stripe was not
    told (of accounts that are linked). Gaps and waived hours
    do not; the statements name them. What is corrected later is posted in the month that is open
    then. --dry-run tells what would be frozen.
    """
    ask(
        session,
        "books.close",
        BooksClose(month=month),
        dry_run=dry_run,
        why=why,
        wait_s=CLOSE_WAIT_S,
    )


_COLUMNS = (
    Column("month", lambda each: each.month),
    Column("state", lambda each: "closed" if each.is_closed else "open"),
    Column("entries", lambda each: str(each.entries), "right"),
    Column("accounts", lambda each: str(each.accounts), "right"),
    Column("statements", lambda each: str(each.statements), "right"),
    Column("closed", lambda each: f"{each.closed_at:%Y-%m-%d}" if each.closed_at else ""),
    Column("by", lambda each: each.closed_by or ""),
    Column("why", lambda each: each.why),
)
