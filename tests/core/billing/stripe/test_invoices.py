"""What is kept of an invoice: the usage that it bills, which is over."""

from datetime import UTC, datetime, timedelta

import pytest

from core.billing.stripe.invoices import InvoiceSeen, Line, keep_invoice
from tests import factories
from tests.database import Database

MADE = datetime(2026, 3, 10, 12, tzinfo=UTC)
MONTH_END = datetime(2026, 4, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("made_at", "units"),
    [(MADE, None), (MONTH_END, 7), (MONTH_END - timedelta(seconds=30), 7)],
    ids=["of the month to come", "at its end", "by a clock that is behind"],
)
def test_only_usage_that_is_over_counts_as_billed(
    database: Database, made_at: datetime, units: int | None
) -> None:
    connection = database.connect()
    anna = factories.add_user(connection)
    line = Line("price_1", 7, 0, MADE, MONTH_END)
    invoice = InvoiceSeen(
        *("in_1", "cus_1", "sub_1", None, "paid", "USD"),
        (line,),
        *(0, 0, made_at, made_at, True, None),
    )
    assert keep_invoice(connection, anna.no, invoice, {"price_1"}, made_at)
    row = connection.execute("SELECT units, usage_end FROM hopsmeter.stripe_invoices").fetchone()
    assert row == (units, MONTH_END if units else None)


def test_an_invoice_of_no_subscription_bills_no_usage_whatever_its_lines_say(
    database: Database,
) -> None:
    connection = database.connect()
    anna = factories.add_user(connection)
    receipt = InvoiceSeen(
        *("in_1", "cus_1", None, None, "paid", "USD"),
        (Line("price_1", 7, 0, MADE, MADE),),
        *(0, 0, MONTH_END, MONTH_END, True, None),
    )
    assert keep_invoice(connection, anna.no, receipt, {"price_1"}, MONTH_END)
    row = connection.execute("SELECT units, usage_end FROM hopsmeter.stripe_invoices").fetchone()
    assert row == (None, None)
