"""`hopsmeter explain` on the command line: an invoice, a day and entries that Stripe was told of."""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.core.books.stripe_story import month
from tests.core.commands.carrier import with_admin
from tests.database import Database, Templates
from tests.tui.cli.conftest import Run, thin


@pytest.fixture
def database(templates: Templates) -> Iterator[Database]:
    """A month with Stripe in it."""
    with templates.lend(month) as (filled, _):
        with_admin(filled)
        yield filled


def value(database: Database, query: str) -> str:
    row = database.connect().execute(query.encode()).fetchone()
    assert row is not None
    return str(row[0])


ANNA = "anna@example.test"
INVOICE = (
    "SELECT i.id FROM hopsmeter.stripe_invoices i JOIN hopsmeter.users u ON u.no = i.account_no"
    " WHERE u.email = 'anna@example.test'"
)
ENTRY = "SELECT max(id) FROM hopsmeter.ledger_entries WHERE contra = {}"


def test_an_invoice_is_told_from_its_quantity_down_to_entries(run: Run, database: Database) -> None:
    invoice = value(database, INVOICE)
    told = thin(run("explain", "--invoice", invoice).stdout)
    assert "\N{REPLACEMENT CHARACTER}" not in told
    for part in (
        "2007 units",
        "2007 × 0.000001 = 0.002007000 USD, rounded by Stripe to 0.00 USD",
        "2026-03-31   0.000006000   -0.000001000       5           6   0.000000000",
        "2 that newer ones of their day superseded",
        f"late {invoice} 2026-03-31 ",
        f"2026-03-31 is on invoice {invoice}, which is final",
        "It bills 2007 units, and its days are counted with 2007 units: the same.",
    ):
        assert part in told, told
    found = json.loads(run("explain", "--invoice", invoice, "--json").stdout)
    assert (found["agree"], found["units"], found["counted_units"]) == (True, 2007, 2007)
    assert len(found["days"]) == 4


def test_what_stripe_says_is_shown_with_its_age(run: Run, database: Database) -> None:
    invoice = value(database, INVOICE)
    assert "before it may have counted" not in run("explain", "--invoice", invoice).stdout
    database.connect().execute(
        "UPDATE hopsmeter.stripe_summaries SET units = 0, fetched_at = '2026-03-31 23:00Z'"
        " WHERE day = '2026-03-31'"
    )
    told = thin(run("explain", "--invoice", invoice).stdout)
    early = "2026-03-31 23:00Z, before it may have counted its newest report"
    assert f"5           0   0.000000000   {early}" in told, told
    told = thin(run("explain", ANNA, "2026-03-31").stdout)
    assert f"Stripe says it has 0, asked {early}." in told


def test_a_void_invoice_is_not_said_to_agree(run: Run, database: Database) -> None:
    invoice = value(database, INVOICE)
    database.connect().execute("UPDATE hopsmeter.stripe_invoices SET status = 'void'")
    told = thin(run("explain", "--invoice", invoice).stdout)
    assert "It is void: nobody owes its 2007 units any more" in told
    assert "the same" not in told


def test_a_day_and_an_entry_show_what_was_told(run: Run, database: Database) -> None:
    told = thin(run("explain", ANNA, "2026-03-31").stdout)
    assert "superseded" in told
    assert "5 units were told; 0.000000000 are due. Stripe says it has 6" in told
    reported = thin(run("explain", "--entry", value(database, ENTRY.format(16))).stdout)
    assert "It is of this report of 2026-04-01:" in reported
    assert "0 → 1 units of 0.000001 USD are 0.000001000 USD" in reported
    settled = thin(run("explain", "--entry", value(database, ENTRY.format(17))).stdout)
    assert "settled outside of Stripe" in settled
    assert "It settles 0.000005000 USD of 2026-03-03, which Stripe is not told" in settled


def test_an_invoice_beside_other_words_is_a_misuse(run: Run) -> None:
    assert "--invoice in_" in run("explain", "a", "--invoice", "in_1", exit_code=2).stderr
    said = run("explain", "--invoice", "in_none", exit_code=1).stderr
    assert "No invoice 'in_none' was fetched" in said


def test_what_stripe_was_told_fits_eighty_columns(
    run: Run, database: Database, eighty: Callable[..., str]
) -> None:
    told = eighty(run("explain", "--invoice", value(database, INVOICE)))
    assert "identifier: " in told
    eighty(run("explain", ANNA, "2026-03-31"))
    for contra in (16, 17):
        eighty(run("explain", "--entry", value(database, ENTRY.format(contra))))
    for words in (
        ("statement", ANNA, "--month", "2026-03"),
        ("credits", "show", ANNA),
        ("credits", "show", "--all"),
        ("credits", "statement", ANNA, "--month", "2026-03"),
        ("credits", "statement", ANNA, "--month", "2026-03", "--entries"),
        ("stripe", "accounts"),
        ("stripe", "purchases"),
    ):
        eighty(run(*words))
