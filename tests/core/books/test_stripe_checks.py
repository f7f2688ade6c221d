"""The proof of what Stripe was told: green on a month with all of it, and each corruption is named."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.billing.stripe.reporting.again import tell_again
from tests.core.billing.stripe.reporting.conftest import till
from tests.core.billing.stripe.reporting.till import Till
from tests.core.books.stripe_story import Told, by_hand, month, owner_without_triggers, proved
from tests.core.metering.site import ADMIN
from tests.database import Connection, Database, Templates

__all__ = ["till"]


@dataclass
class Month:
    """A copy of the story's month, and its end."""

    database: Database
    connection: Connection
    told: Told

    @property
    def now(self) -> datetime:
        return self.told.now

    def corrupt(self, *statements: str) -> None:
        with owner_without_triggers(self.database) as owner:
            for statement in statements:
                assert owner.execute(_named(statement).encode()).rowcount >= 1, statement

    def wrong(self, **how: Any) -> dict[int, tuple[str, ...]]:
        found = proved(self.connection, self.now, **how)
        return {number: line.rows for number, line in found.items() if not line.ok}


@pytest.fixture
def march(templates: Templates) -> Iterator[Month]:
    with templates.lend(month) as (database, told):
        yield Month(database, database.connect(), told)


def _named(statement: str) -> str:
    for name in ("anna", "bert", "cara", "dora"):
        number = f"(SELECT no FROM users WHERE email = '{name}@example.test')"
        statement = statement.replace(f":{name}", number)
    return statement


OF_ANNA = "account_no = :anna AND day = '2026-03-02'"
FIRST = "account_no = :anna AND day = '2026-03-01' AND seq = 1"
LATE = "identifier LIKE 'late %'"
ENTRY = f"(SELECT entry_id FROM stripe_reports WHERE {OF_ANNA})"
COPY = (
    "INSERT INTO ledger_entries (account_no, book, contra, amount_nano, posted_on, ref)"
    " SELECT account_no, book, {}, amount_nano, posted_on, ref || ' again' FROM ledger_entries WHERE {}"
)

CORRUPTIONS: dict[str, tuple[list[str], int, str]] = {
    # ── 6: the ledger against what counts as posted ──
    "a charge in the ledger": (
        [
            (
                "UPDATE ledger_entries SET amount_nano = amount_nano - 7 WHERE account_no = :anna"
                " AND usage_day = '2026-03-02'"
            )
        ],
        6,
        "2026-03-02: 0.002000600 counts as posted, the ledger says 0.002000607",
    ),
    "what counts as posted": (
        [f"UPDATE stripe_days SET posted_nano = posted_nano + 7 WHERE {OF_ANNA}"],
        6,
        "2026-03-02: 0.002000607 counts as posted",
    ),
    "a day that counts as posted and is not": (
        ["INSERT INTO stripe_days (account_no, day, posted_nano) VALUES (:bert, '2026-03-09', 4)"],
        6,
        "2026-03-09: 0.000000004 counts as posted, the ledger says 0.000000000",
    ),
    "a day that is gone": (
        ["DELETE FROM stripe_days WHERE account_no = :cara"],
        6,
        "2026-03-02: 0.000000000 counts as posted, the ledger says 0.000000700",
    ),
    "arrears moved by hand": (
        ["UPDATE ledger_entries SET amount_nano = 2999 WHERE contra = 2"],
        6,
        "2026-03-04: 0.000003000 counts as posted, the ledger says 0.000002999",
    ),
    "something in the receivable that no day has": (
        [
            (
                "INSERT INTO ledger_entries (account_no, book, contra, amount_nano, posted_on, ref)"
                " VALUES (:bert, 2, 15, -11, '2026-03-05', 'odd')"
            )
        ],
        6,
        "0.003009211 posted to its receivable, and 0.003009000 reported",
    ),
    # ── 6: days against moves and reports ──
    "what counts as moved": (
        ["UPDATE stripe_days SET moved_nano = moved_nano + 7 WHERE account_no = :dora"],
        6,
        "2026-03-03: -0.000004993 counts as moved, its moves say -0.000005000",
    ),
    "a move that is gone": (
        ["DELETE FROM stripe_moves WHERE kind = 'final'"],
        6,
        "2026-04-01: 0.000001000 counts as moved, its moves say 0.000000000",
    ),
    "a move's amount": (
        ["UPDATE stripe_moves SET amount_nano = 999 WHERE kind = 'final'"],
        6,
        "2026-03-31: -0.000001000 counts as moved, its moves say -0.000000999",
    ),
    "a snapshot": (
        [f"UPDATE stripe_days SET snapshot_nano = snapshot_nano - 7 WHERE {OF_ANNA}"],
        6,
        "2026-03-02: 0.002000593 counts as told, its newest report says 0.002000600",
    ),
    "the units of a day": (
        [f"UPDATE stripe_days SET units = units + 1 WHERE {OF_ANNA}"],
        6,
        "2026-03-02: 2002 units count as told, its newest report says 2001",
    ),
    "the number of a day": (
        [f"UPDATE stripe_days SET seq = 2 WHERE {OF_ANNA}"],
        6,
        "2026-03-02: 2 counts as its newest report, and that is 1",
    ),
    # ── 6: the chain of reports ──
    "a report that is gone": (
        [f"DELETE FROM stripe_reports WHERE {FIRST}"],
        6,
        "2026-03-01, report 2: number 1 of the day is missing",
    ),
    "a report's units": (
        [f"UPDATE stripe_reports SET units = 999 WHERE {FIRST}"],
        6,
        "2026-03-01, report 2: goes on from 1000 units, and the one before ended with 999",
    ),
    "where a report begins": (
        [f"UPDATE stripe_reports SET units_before = 1 WHERE {OF_ANNA}"],
        6,
        "2026-03-02, report 1: goes on from 1 units, and the one before ended with 0",
    ),
    "a report's snapshot": (
        [f"UPDATE stripe_reports SET snapshot_nano = snapshot_nano + 1 WHERE {FIRST}"],
        6,
        "2026-03-01, report 1: tells 1000 units of 1000601 nano, with 0 nano carried to it and 600 left",
    ),
    "a remainder on its way": (
        [f"UPDATE stripe_reports SET remainder_nano = 601 WHERE {FIRST}"],
        6,
        "2026-03-02, report 1: tells 2001 units of 2000600 nano, with 601 nano carried to it",
    ),
    "a remainder of a unit": (
        [f"UPDATE stripe_reports SET remainder_nano = 1000 WHERE {FIRST}"],
        6,
        "2026-03-01, report 1: leaves 1000 nano, which is a unit and more",
    ),
    "a report with another unit": (
        [f"UPDATE stripe_reports SET unit_nano = 999 WHERE {OF_ANNA}"],
        6,
        "2026-03-02, report 1: tells 2001 units",
    ),
    "what came too late": (
        [f"UPDATE stripe_reports SET units = 4 WHERE {LATE}"],
        6,
        "2026-03-31, report 3: tells -2 units of -1000 nano",
    ),
    # ── 6: accounts ──
    "the remainder of an account": (
        ["UPDATE stripe_accounts SET remainder_nano = 799 WHERE account_no = :anna"],
        6,
        "0.000000799 counts as left under a unit, its newest report left 0.000000800",
    ),
    "an account that is gone": (
        ["DELETE FROM stripe_accounts WHERE account_no = :anna"],
        6,
        "0.000000000 counts as left under a unit, its newest report left 0.000000800",
    ),
    "a day and its report together": (
        [
            f"UPDATE stripe_days SET units = units + 1 WHERE {OF_ANNA}",
            f"UPDATE stripe_reports SET units = units + 1 WHERE {OF_ANNA}",
            f"UPDATE ledger_entries SET amount_nano = amount_nano + 1000 WHERE id = {ENTRY}",
        ],
        6,
        "0.002008800 posted to its receivable, and 0.002009000 reported",
    ),
    # ── 6: entries ──
    "an acceptance without its entry": (
        [f"DELETE FROM ledger_entries WHERE id = {ENTRY}"],
        6,
        "2026-03-02, report 1: its entry",
    ),
    "an acceptance that forgot its entry": (
        [f"UPDATE stripe_reports SET entry_id = NULL WHERE {OF_ANNA}"],
        6,
        "2026-03-02, report 1: no entry of it",
    ),
    "the amount of an entry": (
        [f"UPDATE ledger_entries SET amount_nano = amount_nano + 7 WHERE id = {ENTRY}"],
        6,
        "moves 2001007 nano, 2001 units are 2001000",
    ),
    "the key of an entry": (
        [f"UPDATE ledger_entries SET ref = 'stripe other' WHERE id = {ENTRY}"],
        6,
        "has another key",
    ),
    "an entry of another account": (
        [f"UPDATE ledger_entries SET account_no = :cara WHERE id = {ENTRY}"],
        6,
        "is none of a report of the account",
    ),
    "an entry of a report under way": (
        [f"UPDATE stripe_reports SET state = 'unknown' WHERE {OF_ANNA}"],
        6,
        "of it, which is unknown",
    ),
    "an entry that no report has": (
        [COPY.format("contra", f"id = {ENTRY}")],
        6,
        "0.002001000 reported to Stripe, by no report",
    ),
    "an entry of two reports": (
        [f"UPDATE stripe_reports SET entry_id = {ENTRY} WHERE {FIRST}"],
        6,
        "0.002001000 reported to Stripe, by 2 reports",
    ),
    "what was too late and never taken back": (
        [f"UPDATE stripe_reports SET entry_id = NULL WHERE {LATE}"],
        6,
        "2026-03-31, report 3: no entry of it",
    ),
    "what was taken back of another day": (
        [
            (
                f"UPDATE ledger_entries SET reverses = {ENTRY} WHERE id ="
                f" (SELECT entry_id FROM stripe_reports WHERE {LATE})"
            )
        ],
        6,
        "which is of no report of the day",
    ),
    "a settlement without its entry": (
        ["DELETE FROM ledger_entries WHERE contra = 17"],
        6,
        "2026-03-03, move 1: no entry of it",
    ),
    "the amount of a settlement": (
        ["UPDATE ledger_entries SET amount_nano = 4999 WHERE contra = 17"],
        6,
        "moves 4999 nano, it says 5000",
    ),
    "a settlement of another code": (
        ["UPDATE ledger_entries SET contra = 16 WHERE contra = 17"],
        6,
        "settles nothing of the account",
    ),
    "a settlement that no move has": (
        [COPY.format(17, "contra = 17")],
        6,
        "0.000005000 settled by hand, by no move",
    ),
    "a move to another day with an entry": (
        [f"UPDATE stripe_moves SET entry_id = {ENTRY} WHERE kind = 'final'"],
        6,
        "has an entry, and moves to another day",
    ),
    # ── 8 ──
    "what Stripe has of a daily meter": (
        [f"UPDATE stripe_summaries SET units = units + 1 WHERE {OF_ANNA}"],
        8,
        "2026-03-02: Stripe says it has 2002 units, 2001 were accepted",
    ),
    "what Stripe has of a sum meter": (
        [
            (
                "UPDATE stripe_summaries SET units = 1000 WHERE account_no = :bert"
                " AND day = '2026-03-01'"
            )
        ],
        8,
        "2026-03-01: Stripe says it has 1000 units, 1005 were accepted",
    ),
    "what Stripe has of a day that was never told": (
        ["INSERT INTO stripe_summaries VALUES (:bert, '2026-03-09', 77, '2026-04-01 09:00Z')"],
        8,
        "2026-03-09: Stripe says it has 77 units, 0 were accepted",
    ),
    "the quantity of an invoice": (
        ["UPDATE stripe_invoices SET units = units + 1 WHERE account_no = :anna"],
        8,
        "bills 2008 units, its days have 2007",
    ),
    "the amount of an invoice": (
        ["UPDATE stripe_invoices SET line_minor = 5 WHERE account_no = :anna"],
        8,
        "bills 0.05 USD for 2007 units, which are 0.002007",
    ),
    "the units of a day on an invoice": (
        [f"UPDATE stripe_days SET units = units + 1 WHERE {OF_ANNA}"],
        8,
        "bills 2007 units, its days have 2008",
    ),
}


@pytest.mark.parametrize("what", CORRUPTIONS)
def test_what_was_changed_behind_the_reports_is_named(march: Month, what: str) -> None:
    statements, number, name = CORRUPTIONS[what]
    march.corrupt(*statements)
    found = march.wrong()
    assert number in found
    assert any(name in row for row in found[number]), found[number]


def test_a_month_with_all_of_stripe_is_proved_and_says_how_it_stands(march: Month) -> None:
    assert march.wrong() == march.wrong(month="2026-03") == {}
    lines = proved(march.connection, march.now)
    assert lines[6].detail == (
        "USD: 0.005024700 posted = 0.005018000 reported + 0.000005000 settled by hand + 0.000000700"
        " due + 0.000001000 under a unit"
    )
    assert lines[8].detail == (
        "9 days compared, fetched from 2026-04-01 09:00 UTC on, last less than an hour ago,"
        " 3 final invoices equal"
    )


def test_a_corruption_is_named_by_its_month_and_no_other(march: Month) -> None:
    march.corrupt(f"UPDATE stripe_summaries SET units = units + 1 WHERE {OF_ANNA}")
    march.corrupt(f"UPDATE ledger_entries SET ref = 'stripe other' WHERE id = {ENTRY}")
    assert set(march.wrong(month="2026-03")) == {6, 8}
    assert march.wrong(month="2026-04") == {}


def test_a_remainder_from_before_the_month_is_no_fault_of_it(march: Month) -> None:
    """The first reports of a month go on with what those before it left."""
    assert march.wrong(month="2026-04") == {}
    march.corrupt(
        "UPDATE stripe_reports SET remainder_nano = 801 WHERE account_no = :anna"
        " AND day = '2026-04-01'",
    )
    assert 6 in march.wrong(month="2026-04")


def test_wrong_rows_are_named_up_to_a_limit(march: Month) -> None:
    march.corrupt(
        "INSERT INTO stripe_summaries SELECT :cara, day::date, 5, '2026-04-01 09:00Z' FROM"
        " generate_series('2026-03-02', '2026-04-01', interval '1 day') day"
    )
    assert len(march.wrong()[8]) == 20
    assert proved(march.connection, march.now)[8].detail.startswith("40 days compared")


def test_postings_that_were_not_read_yet_are_pending_and_not_wrong(till: Till) -> None:
    anna = till.account()
    till.charge(anna, till.day(0), 1_000_600)
    till.at(1)
    till.run()
    till.charge(anna, till.day(0), 3_000)
    till.charge(anna, till.day(1), 3_000)
    lines = proved(till.connection, till.now)
    assert lines[6].ok, lines[6].rows
    assert "postings of 2 days wait to be read since" in lines[6].detail
    till.at(2)
    till.run()
    lines = proved(till.connection, till.now)
    assert lines[6].ok, lines[6].rows
    assert "wait to be read" not in lines[6].detail


def test_what_counts_as_posted_is_proved_while_newer_postings_wait(till: Till) -> None:
    anna = till.account()
    till.charge(anna, till.day(0), 1_000_600)
    till.at(1)
    till.run()
    till.charge(anna, till.day(0), 3_000)
    till.connection.execute("UPDATE hopsmeter.stripe_days SET posted_nano = posted_nano + 1")
    (row, *_) = proved(till.connection, till.now)[6].rows
    assert "posted" in row


def test_arrears_settled_since_the_last_run_are_pending_and_not_wrong(till: Till) -> None:
    anna = till.account()
    till.charge(anna, till.day(1), 1_000)
    till.at(1)
    by_hand(till.connection, anna, 3_000, till)
    till.run()
    by_hand(till.connection, anna, 4_000, till)
    by_hand(till.connection, anna, 500, till)
    line = proved(till.connection, till.now)[6]
    assert line.ok, line.rows
    assert "arrears that were settled wait to be read" in line.detail
    till.later(hours=1)
    till.run()
    line = proved(till.connection, till.now)[6]
    assert line.ok, line.rows
    assert "arrears" not in line.detail


def test_what_was_fetched_too_soon_is_pending_and_not_wrong(till: Till) -> None:
    anna = till.account()
    till.charge(anna, till.day(0), 5_000)
    till.at(1)
    till.run()
    _fetched(till, till.now + timedelta(minutes=30), 0)
    line = proved(till.connection, till.now)[8]
    assert line.ok
    assert "1 day too young to be compared" in line.detail
    _fetched(till, till.now + timedelta(minutes=61), 0)
    assert proved(till.connection, till.now)[8].rows == (
        f"{anna.id} 2026-03-01: Stripe says it has 0 units, 5 were accepted",
    )


def test_a_report_whose_outcome_nobody_knows_is_pending_at_stripe(till: Till) -> None:
    anna = till.account(meter="sum")
    till.charge(anna, till.day(0), 5_000)
    till.at(1)
    till.stripe.faults.add("cut_after", path="/v1/billing/meter_events")
    till.run()
    till.later(hours=3)
    _fetched(till, till.now, till.told(anna, 0))
    assert till.told(anna, 0) == 5
    line = proved(till.connection, till.now)[8]
    assert line.ok, line.rows
    assert "1 day too young" in line.detail
    assert proved(till.connection, till.now)[6].ok


def test_days_never_fetched_and_invoices_never_compared_are_counted(till: Till) -> None:
    anna = till.account()
    till.charge(anna, till.day(30), 5_000)
    till.at(31, 0.5)
    till.run()
    till.at(33)
    till.fetch_invoices()
    line = proved(till.connection, till.now)[8]
    assert line.ok
    assert line.detail == "0 days compared, 1 day not yet fetched, 1 final invoice not yet compared"


@pytest.mark.parametrize("meter", ["daily", "sum"])
def test_what_a_refused_report_says_counts_as_told_until_a_person_decides(
    till: Till, meter: str
) -> None:
    anna = till.account(meter=meter)
    till.charge(anna, till.day(0), 10**18)
    till.at(1)
    assert till.run().refused == 1
    lines = proved(till.connection, till.now)
    assert (lines[6].rows, lines[8].rows) == ((), ())


@pytest.mark.parametrize(("meter", "lost"), [("daily", 3), ("sum", -2)])
def test_a_day_that_stripe_lost_is_named_until_it_is_told_again(
    till: Till, meter: str, lost: int
) -> None:
    anna = till.account(meter=meter)
    till.charge(anna, till.day(0), 5_400)
    till.at(1)
    till.run()
    till.shops[meter].use(till.customer(anna), lost, at_noon(till))
    till.later(hours=2)
    _fetched(till, till.now, till.told(anna, 0))
    lines = proved(till.connection, till.now)
    assert lines[8].rows == (f"{anna.id} 2026-03-01: Stripe says it has 3 units, 5 were accepted",)
    with till.connection.transaction():
        tell_again(
            till.connection, ADMIN, account=anna.id, day=till.day(0), why="lost", now=till.now
        )
    assert all(line.ok for line in proved(till.connection, till.now).values())
    till.run()
    assert till.told(anna, 0) == 5
    till.later(hours=2)
    _fetched(till, till.now, till.told(anna, 0))
    lines = proved(till.connection, till.now)
    assert (lines[6].rows, lines[8].rows) == ((), ())


def at_noon(till: Till) -> datetime:
    return datetime.combine(till.day(0), datetime.min.time(), UTC) + timedelta(hours=12)


def _fetched(till: Till, at: datetime, units: int) -> None:
    till.connection.execute(
        "INSERT INTO hopsmeter.stripe_summaries SELECT no, %s, %s, %s FROM hopsmeter.users"
        " ON CONFLICT (account_no, day) DO UPDATE SET units = excluded.units,"
        " fetched_at = excluded.fetched_at",
        [till.day(0), units, at],
    )
