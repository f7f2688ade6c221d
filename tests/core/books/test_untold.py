"""Closing a month once Stripe is set up: what it was not told holds it up; what it was stands in statements."""

from datetime import date, timedelta

import pytest
from psycopg.types.json import Jsonb

from core.billing.stripe.reporting.make import make_reports, prepare
from core.billing.stripe.reporting.settle import settle
from core.books.months.frozen import seal_of
from core.books.months.obstacles import obstacles
from core.books.months.overview import months
from core.books.months.untold import unlinked, unlinked_words, untold
from core.books.statement.figures import Told, plain, sha256_of
from core.books.statement.page import page
from core.books.statement.proof import faults
from core.books.statement.rows import rows
from core.money import NANO
from tests.core.billing.stripe.reporting.conftest import till
from tests.core.billing.stripe.reporting.till import Till
from tests.core.books.test_ledger_checks import owner_without_triggers
from tests.core.books.test_months import BESIDE, close, in_the_way, march, stated
from tests.core.metering.site import ADMIN, Site

__all__ = ["march", "till"]
BEN_OWES = 8 * NANO + 4 * BESIDE
"""What ben is charged in March, to be invoiced."""
LAST_DAY = date(2026, 3, 31)


def set_up(site: Site, *linked: str) -> None:
    """Let Stripe be set up, and accounts linked to it since before all of this."""
    site.connection.execute(
        "INSERT INTO stripe_meters (kind, meter_id, event_name, product_id)"
        " VALUES ('daily', 'mtr', 'usage', 'prod')"
    )
    site.connection.execute(
        "INSERT INTO stripe_site (stripe_account, livemode, default_meter)"
        " VALUES ('acct', false, 'daily')"
    )
    for name in linked:
        site.connection.execute(
            "UPDATE users SET stripe_customer_id = %s, stripe_subscription_id = %s WHERE email = %s",
            [f"cus_{name}", f"sub_{name}", f"{name}@example.test"],
        )
        site.connection.execute(
            "INSERT INTO stripe_accounts (account_no, meter, billed_from)"
            " SELECT no, 'daily', '2026-02-01' FROM users WHERE email = %s",
            [f"{name}@example.test"],
        )


def settled_by_hand(site: Site, name: str) -> None:
    """As of an account that Stripe refused: what is told by itself nobody settles."""
    _park(site, "now()", "'a test'")
    with site.connection.transaction():
        settle(
            site.connection,
            ADMIN,
            account=f"{name}@example.test",
            day=LAST_DAY,
            how="outside",
            why="agreed",
            now=site.now,
        )
    _park(site, "NULL", "NULL")


def _park(site: Site, at: str, why: str) -> None:
    site.connection.execute(
        f"UPDATE stripe_accounts SET parked_at = {at}, parked_why = {why}".encode()
    )


def test_a_month_does_not_close_before_stripe_was_told_of_it(march: Site) -> None:
    set_up(march, "anna", "ben")
    said = in_the_way(march)
    assert "1 day waits to be read for Stripe (2026-03-31)" in said
    prepare(march.connection, march.now)
    said = in_the_way(march)
    assert "1 day was not told to Stripe (auth0|ben 2026-03-31)" in said
    assert "anna" not in said
    make_reports(march.connection, march.now)
    said = in_the_way(march)
    assert "nobody knows whether it arrived (auth0|ben 2026-03-31)" in said
    march.connection.execute("UPDATE stripe_reports SET state = 'refused'")
    said = in_the_way(march)
    assert "1 day was refused by Stripe (auth0|ben 2026-03-31): mend what Stripe refused" in said


def test_a_month_closes_once_what_was_not_told_is_settled(march: Site) -> None:
    set_up(march, "ben")
    prepare(march.connection, march.now)
    settled_by_hand(march, "ben")
    done = close(march)
    assert (done.statements, done.unlinked) == (2, ())
    march.must_balance()


def test_who_is_not_linked_is_listed_and_holds_nothing_up(march: Site) -> None:
    set_up(march, "anna")
    prepare(march.connection, march.now)
    listed = months(march.connection, march.now)[-1]
    assert (listed.month, listed.obstacles) == ("2026-03", ())
    assert [(each.email, each.due_nano) for each in listed.unlinked] == [
        ("ben@example.test", BEN_OWES)
    ]
    assert unlinked_words(listed.unlinked) == (
        "1 account is not linked to Stripe, which is not told what they owe: ben@example.test"
        " 8.07332 USD."
    )
    assert close(march).unlinked == listed.unlinked


def test_nothing_of_stripe_holds_a_month_up_before_it_is_set_up(march: Site) -> None:
    prepare(march.connection, march.now)
    assert unlinked(march.connection, date(2026, 3, 1), date(2026, 4, 1), march.now) == ()
    assert close(march).unlinked == ()


@pytest.mark.parametrize(
    ("state", "said", "cure"),
    [
        (
            "parked_at = now(), parked_why = 'x'",
            "is of an account that Stripe refused",
            "mend what",
        ),
        ("ended_since = now()", "is of an account whose subscription ended", "decide with"),
        ("billed_from = '2026-04-01'", "is from before its account's subscription", "decide with"),
    ],
)
def test_what_a_person_must_decide_is_named_with_the_way_out(
    march: Site, state: str, said: str, cure: str
) -> None:
    set_up(march, "ben")
    prepare(march.connection, march.now)
    march.connection.execute(f"UPDATE stripe_accounts SET {state}".encode())
    found = in_the_way(march)
    assert f"1 day {said} (auth0|ben 2026-03-31): {cure}" in found


def test_many_days_are_named_up_to_a_limit(till: Till) -> None:
    till.connection.execute(
        "INSERT INTO hopsmeter.stripe_site (stripe_account, livemode, default_meter)"
        " VALUES (%s, false, 'daily')",
        [till.client.v1.accounts.retrieve_current().id],
    )
    anna = till.account()
    for number in range(8):
        till.charge(anna, till.day(number), 5_000)
    till.at(20)
    prepare(till.connection, till.now)
    (found,) = untold(till.connection, till.day(0), date(2026, 4, 1), till.now)
    assert (found.reason, found.days, len(found.named)) == ("to report", 8, 5)
    (said,) = (
        str(each)
        for each in obstacles(till.connection, till.day(0), date(2026, 4, 1), till.now)
        if "Stripe" in str(each)
    )
    assert "8 days, each of which" in said
    assert "and 3 more)" in said


def test_a_statement_says_what_was_told_to_stripe_all_together(march: Site) -> None:
    """Of a daily meter each day is told many times: a line for each would bury the rest."""
    set_up(march, "ben")
    prepare(march.connection, march.now)
    settled_by_hand(march, "ben")
    _report(march, 3_000_000, 2)
    march.now += timedelta(hours=1)
    month = f"{march.now:%Y-%m}"
    found = stated(march, "ben", month)
    told = Told(3_000_000, 2, BEN_OWES, 1)
    assert (found.statement.told, found.statement.movements) == (told, ())
    assert faults(found.statement) == []
    document = page(found)
    assert "reported to Stripe, 2 reports" in document
    assert "settled outside of Stripe, 1 settlement" in document
    assert [
        (each["what"], each["receivable_nano"]) for each in rows(found) if each["part"] == "told"
    ] == [
        ("reported to Stripe, 2 reports", 3_000_000),
        ("settled outside of Stripe, 1 settlement", BEN_OWES),
    ]


def test_a_statement_of_the_form_before_is_read_and_still_verifies(march: Site) -> None:
    close(march)
    olds = []
    for name in ("anna", "ben"):
        body = plain(stated(march, name).statement)
        assert body.pop("told") == plain_told()
        olds.append({**body, "form": 2})
    hashes = [sha256_of(body) for body in olds]
    with owner_without_triggers(march) as owner:
        for body, sha256 in zip(olds, hashes, strict=True):
            owner.execute(
                "UPDATE statements SET body = %s, sha256 = %s FROM users WHERE no = account_no"
                " AND id = %s",
                [Jsonb(body), sha256, body["account"]],
            )
        owner.execute(
            "UPDATE audit_log SET after = jsonb_set(after, '{sha256}', to_jsonb(%s::text))"
            " WHERE action = 'books.close'",
            [seal_of(hashes)],
        )
    march.must_balance()
    assert stated(march, "ben").statement.told == Told()


def plain_told() -> dict[str, int]:
    return {"reported_nano": 0, "reports": 0, "settled_nano": 0, "settlements": 0}


def _report(site: Site, nano: int, times: int) -> None:
    """Enter what the acceptance of reports does."""
    for number in range(times):
        site.connection.execute(
            "SELECT write_entry(no, 2::smallint, 16::smallint, %s, %s, NULL, NULL, %s, '', NULL)"
            " FROM users WHERE email = 'ben@example.test'",
            [nano // times, site.now.date(), f"stripe {number}"],
        )
