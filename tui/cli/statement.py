"""`hopsmeter statement`: an account's month, as a document or on the terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from core.books.statement import wording
from core.books.statement.figures import Books, LotPart, Presented, Statement
from core.books.statement.figures import plain as figures
from core.books.statement.read import statement as read_statement
from core.books.statement.rows import rows
from core.clock import day_of
from core.errors import InputFault
from core.money import text_from_nano
from tui.cli.output import Column, Form, listing, say, show, show_json, table
from tui.cli.session import Session
from tui.cli.words import MONTH_TEXT
from tui.format import NOTHING

EXACT: Final = 9
"""Decimals of an amount that is not rounded."""


@click.command(
    short_help="An account's month, to hand to a customer.",
    epilog="\b\nExamples:\n  hopsmeter statement anna@example.com --month 2026-03\n"
    "  hopsmeter statement anna@example.com --month 2026-03 --html anna.html",
)
@click.argument("account")
@click.option("--month", type=MONTH_TEXT, metavar="YYYY-MM", help="Else the month that runs.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write a page that prints on A4; - for stdout.",
)
@listing
@click.pass_obj
def statement(
    session: Session, account: str, month: str | None, html: Path | None, form: Form
) -> None:
    """What an account (id or e-mail) was charged in a month, what paid for it, and what is left.

    A closed month prints the figures that were frozen; an open one is provisional. Amounts are exact;
    --json and the page have them rounded or whole as well. Owed is negative here and in --csv.
    """
    if html is not None and form != "table":
        raise click.UsageError("Choose --html, --json or --csv.")
    asked = month or f"{day_of(session.now()):%Y-%m}"
    with session.connection(read_only=True) as connection:
        who = session.principal(connection)
        found = read_statement(connection, who, account, asked, session.now())
    if html is not None:
        _write(html, found)
    elif form == "json":
        show_json(_record(found))
    elif form == "csv":
        show(form, rows(found), (), empty="")
    else:
        _tell(found)


def _write(to: Path, found: Presented) -> None:
    from core.books.statement.page import page

    document = page(found)
    if str(to) == "-":
        click.echo(document, nl=False)
        return
    try:
        to.write_text(document, encoding="utf-8")
    except OSError as fault:
        raise InputFault(f"{to} cannot be written: {fault.strerror}.") from None
    click.echo(f"{to} written. {wording.state(found)}")


def _record(found: Presented) -> dict[str, Any]:
    return {
        "state": "provisional" if found.sha256 is None else "final",
        "closed_at": found.closed_at.isoformat() if found.closed_at else None,
        "sha256": found.sha256,
        "proof": wording.proof(found),
        "rounding": wording.ROUNDING,
        **figures(found.statement),
    }


def _tell(found: Presented) -> None:
    it = found.statement
    amounts = f"all amounts in {it.currency}" if it.currency else "in no currency yet"
    say(f"{it.email} ({it.account}), {it.month}, {amounts}")
    say(wording.state(found))
    click.echo()
    balances = [("at the beginning", it.opening), ("at the end", it.closing)]
    table(balances, _BALANCES)
    _tell_charges(it)
    _tell_part("Credits, lot by lot:", it.lots, _LOTS)
    _tell_part("Other movements:", it.movements, _MOVEMENTS)
    _tell_part("Invoiced, taken off the receivable:", wording.told(it.told), _TOLD)
    _tell_part(
        "Corrections within this month, in the charges above:",
        it.restated.days,
        _RESTATED,
        wording.more(it.restated),
    )
    _tell_part("Corrections of other months:", it.corrections, _CORRECTIONS)
    for correction in it.corrections:
        table(correction.hours, _CORRECTED)
    click.echo()
    for cluster in it.clusters:
        say(wording.hours(cluster))
        for span in cluster.spans:
            say(f"  {wording.span(span)}", hang=2)
    click.echo()
    say(wording.proof(found))
    if found.sha256:
        say(f"SHA-256 of the frozen figures: {found.sha256}")


def _tell_part(
    title: str, parts: Sequence[Any], columns: tuple[Column, ...], after: str = ""
) -> None:
    if not parts:
        return
    click.echo(f"\n{title}")
    table(parts, columns)
    if after:
        say(after)


def _tell_charges(it: Statement) -> None:
    if not it.days:
        click.echo("\nNothing was used.")
        return
    click.echo(f"\nCharges by namespace, {_exact(it.charge_nano + it.pending_nano)} together:")
    table(it.namespaces, _LINES)
    if it.pending_nano:
        click.echo(f"Of it {_exact(it.pending_nano)} is not posted to the ledger yet.")
    click.echo("\nCharges by day, as posted:")
    table(it.days, _DAYS)


def _exact(nano: int | None) -> str:
    return text_from_nano(nano, EXACT) if nano else NOTHING


def _lots(lots: tuple[LotPart, ...]) -> str:
    return ", ".join(f"lot {each.lot} {_exact(each.amount_nano)}" for each in lots)


def _books(name: str, *below: str) -> tuple[Column, ...]:
    """Three columns of a record's part: what is, or moved, in each book."""

    def column(book: str) -> Column:
        def cell(record: Any) -> str:
            books: Books = record[1] if isinstance(record, tuple) else getattr(record, name)
            return _exact(getattr(books, f"{book}_nano"))

        return Column(book, cell, "right", below=book in below)

    return tuple(map(column, ("credits", "receivable", "arrears")))


def _amounts(*names: str, below: bool = False) -> tuple[Column, ...]:
    def column(name: str) -> Column:
        return Column(
            name.replace("_", " "),
            lambda each: _exact(getattr(each, f"{name}_nano")),
            "right",
            below=below,
        )

    return tuple(map(column, names))


_BALANCES = (Column("balances", lambda each: each[0]), *_books(""))
_LINES = (
    Column("cluster", lambda each: each.cluster),
    Column("namespace", lambda each: each.namespace),
    Column("project", lambda each: each.project, below=True),
    Column("user", lambda each: each.user, below=True),
    Column("hours", lambda each: str(each.hours), "right", below=True),
    *_amounts("cost", below=True),
    *_amounts("charge"),
    Column("plan", lambda each: each.plan, below=True),
)
_DAYS = (
    Column("day", lambda each: str(each.day)),
    *_amounts("charge"),
    *_books("paid", "arrears"),
    Column("lots", lambda each: _lots(each.lots), below=True),
)
_LOTS = (
    Column("lot", lambda each: str(each.lot), "right"),
    *_amounts("opening"),
    *_amounts("came", below=True),
    *_amounts("charged"),
    *_amounts("repaid", "taken_back", "refunded", "expired", below=True),
    *_amounts("closing"),
    Column("expires", lambda each: str(each.expires_on or "never")),
    Column("kind", lambda each: f"{each.kind} {each.reference}".strip(), below=True),
)
_MOVEMENTS = (
    Column("entry", lambda each: str(each.entry), "right"),
    Column("day", lambda each: str(each.posted_on)),
    *_books("moved", "arrears"),
    Column("what", lambda each: f"{each.what} {each.reference}".strip(), below=True),
)
_TOLD = (
    Column("amount", lambda each: _exact(each[1]), "right"),
    Column("what", lambda each: each[0]),
)
_RESTATED = (
    Column("day", lambda each: str(each.day)),
    Column("hours", wording.hours_of_day),
    Column("cluster", lambda each: each.cluster),
    Column("namespaces", wording.namespaces, below=True),
    *_amounts("moved"),
    Column("why", wording.change, below=True),
)
_CORRECTIONS = (
    Column("day", lambda each: str(each.day)),
    Column("posted", lambda each: str(each.posted_on)),
    *_amounts("charge"),
    *_books("paid", "receivable", "arrears"),
    Column("lots", lambda each: _lots(each.lots), below=True),
)
_CORRECTED = (
    Column("hour", lambda each: f"{each.hour:%Y-%m-%dT%HZ}"),
    Column("cluster", lambda each: each.cluster, below=True),
    Column("namespace", lambda each: each.namespace),
    *_amounts("before", "after"),
    Column("why", lambda each: each.why, below=True),
)
