"""From an invoice, an entry or a day down to what Stripe was told of it."""

from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from core.books.entries.account_day import explain_day
from core.books.entries.entry import EntryStory, explain_entry
from core.books.entries.invoice import InvoiceStory, explain_invoice
from core.errors import Forbidden, Unknown
from core.identity.principal import Principal
from tests import factories
from tests.core.books.stripe_story import Told, month
from tests.core.metering.site import ADMIN
from tests.database import Connection, Templates


@pytest.fixture
def march(templates: Templates) -> Iterator[tuple[Connection, Told]]:
    with templates.lend(month) as (database, told):
        yield database.connect(), told


def invoice(connection: Connection, user: factories.User) -> InvoiceStory:
    row = connection.execute(
        "SELECT id FROM hopsmeter.stripe_invoices WHERE account_no = %s", [user.no]
    ).fetchone()
    assert row is not None
    return explain_invoice(connection, ADMIN, row[0])


def entry(connection: Connection, which: str) -> EntryStory:
    row = connection.execute(
        f"SELECT max(id) FROM hopsmeter.ledger_entries WHERE {which}".encode()
    ).fetchone()
    assert row is not None
    return explain_entry(connection, ADMIN, row[0])


def test_an_invoice_leads_to_its_days_reports_moves_and_entries(
    march: tuple[Connection, Told],
) -> None:
    connection, told = march
    found = invoice(connection, told.anna)
    assert (found.account, found.units, found.counted_units) == (told.anna.id, 2007, 2007)
    assert (found.exact_nano, found.line_nano, found.agrees) == (2_007_000, 0, True)
    assert [(each.told.day.day, each.told.units) for each in found.days] == [
        (1, -1),
        (2, 2001),
        (30, 2),
        (31, 5),
    ]
    first, *_, last = found.days
    assert [(each.seq, each.units, each.state) for each in first.told.reports] == [
        (1, 1000, "superseded"),
        (2, -1, "accepted"),
    ]
    assert [each.amount_nano for each in first.entries] == [-1_000_600, 1_000_400]
    assert [each.state for each in last.told.reports] == ["superseded", "accepted", "settled"]
    assert (last.told.said_units, last.told.invoice_id) == (6, found.id)
    (move,) = last.told.moves
    assert (move.to_day, move.amount_nano, move.kind) == (date(2026, 4, 1), 1_000, "final")


def test_an_invoice_names_what_was_moved_by_hand_and_settled(
    march: tuple[Connection, Told],
) -> None:
    connection, told = march
    (_, _, moved) = invoice(connection, told.bert).days
    assert [(each.what, each.amount_nano) for each in moved.entries] == [
        ("arrears repaid from receivable", 3_000)
    ]
    (settled,) = explain_day(
        connection, ADMIN, told.dora.id, date(2026, 3, 3), told.now - timedelta(hours=1)
    ).told.moves  # type: ignore[union-attr]  # it is there, or this fails
    assert (settled.to_day, settled.why) == (None, "agreed")


def test_an_invoice_that_bills_something_else_says_so(march: tuple[Connection, Told]) -> None:
    connection, told = march
    connection.execute("UPDATE hopsmeter.stripe_invoices SET units = 2008")
    assert not invoice(connection, told.anna).agrees


def test_an_entry_of_a_report_shows_the_report(march: tuple[Connection, Told]) -> None:
    connection, told = march
    found = entry(connection, f"contra = 16 AND account_no = {told.bert.no}")
    assert found.what == "reported to Stripe"
    assert found.report is not None
    assert (found.report.day, found.report.units) == (date(2026, 3, 4), 3)
    assert found.report.told_nano == found.amount_nano
    late = entry(connection, "contra = 16 AND reverses IS NOT NULL")
    assert (late.what, late.amount_nano) == ("less reported to Stripe", -1_000)
    assert late.report is not None
    assert late.report.state == "settled"


def test_an_entry_settled_by_hand_shows_the_day_and_who(march: tuple[Connection, Told]) -> None:
    connection, _ = march
    found = entry(connection, "contra = 17")
    assert found.what == "settled outside of Stripe"
    assert found.settled is not None
    assert (found.settled.from_day, found.settled.by) == (date(2026, 3, 3), "auth0|admin")
    assert found.report is None


def test_an_invoice_is_explained_to_its_account_alone(march: tuple[Connection, Told]) -> None:
    connection, told = march
    found = invoice(connection, told.anna)
    anna = Principal("owner", told.anna.id)
    assert explain_invoice(connection, anna, found.id) == found
    bert = Principal("owner", told.bert.id)
    with pytest.raises(Forbidden):
        explain_invoice(connection, bert, found.id)


def test_an_invoice_that_was_never_fetched_is_unknown(march: tuple[Connection, Told]) -> None:
    connection, _ = march
    with pytest.raises(Unknown, match="No invoice 'in_none' was fetched"):
        explain_invoice(connection, ADMIN, "in_none")
