"""What Stripe bills twice, or nobody owes any more, and whose outcome is unknown: listed as what it is."""

from collections.abc import Iterator

import pytest

from core.books.checks import check_books
from core.books.reconcile.differences import differences
from core.books.reconcile.three_ways import reconcile
from tests.core.billing.stripe.reporting.product_till import ProductTill
from tests.core.billing.stripe.reporting.till import UNIT, opened
from tests.core.books.stripe_story import proved
from tests.core.metering.site import ADMIN
from tests.database import Database
from tests.factories import User

CENT = 10_000
"""Units of one."""
MADE = 9
"""The day of March on which a second subscription is made: the 10th."""


@pytest.fixture
def till(database: Database) -> Iterator[ProductTill]:
    with opened(ProductTill, database) as made:
        yield made


def listed(till: ProductTill) -> list[tuple[str, str]]:
    return [(each.cause, each.next_step) for each in differences(till.connection, till.day(0))]


def eight(till: ProductTill) -> tuple[bool, str, tuple[str, ...]]:
    line = proved(till.connection, till.now)[8]
    return line.ok, line.detail, line.rows


def own(till: ProductTill, user: User) -> str:
    return str(till.value("SELECT stripe_subscription_id FROM users WHERE no = %s", user.no))


def month(till: ProductTill, user: User) -> None:
    """Use on the 12th and the 22nd, told as it goes, until the 1st, when the drafts are made."""
    for day in (11, 21):
        till.at(day, 6)
        till.charge(user, till.day(day), 100 * CENT * UNIT)
        till.at(day + 1, 2)
        till.run()
    till.at(31, 0.5)
    till.run()


# ── two subscriptions that live at the same time ────────────────────────────────────────────


def test_two_live_subscriptions_are_told_as_soon_as_the_account_is_fetched(
    till: ProductTill,
) -> None:
    anna = till.account()
    assert till.refreshed().twice == {}
    second = till.subscribe(anna)
    said = till.hear(anna)
    assert said.startswith("auth0|anna: active; ")
    assert f"beside its own subscription {own(till, anna)} lives {second}" in said
    assert "bills the same usage: cancel it in Stripe" in said
    assert till.standing(anna) == "good"
    till.later(hours=1)
    done = till.refreshed()
    assert list(done.twice) == [anna.id]
    assert second in done.twice[anna.id]
    till.stripe.people.cancel_subscription(second)
    till.later(hours=1)
    assert till.refreshed().twice == {}
    assert till.hear(anna) == "auth0|anna: active"


def test_days_on_two_invoices_are_named_from_the_draft_on_until_one_is_void(
    till: ProductTill,
) -> None:
    anna = till.account()
    till.at(MADE, 5)
    second = till.subscribe(anna)
    month(till, anna)
    (found,) = listed(till)
    theirs = invoice(till, second)
    assert (
        f"invoices {invoice(till, own(till, anna))} and {theirs} both bill 2026-03-10" in found[0]
    )
    assert "to 2026-03-31: two subscriptions" in found[0]
    assert f"cancel {second} in Stripe" in found[1]
    assert "is a draft" in found[1]
    ok, _, rows = eight(till)
    assert not ok
    assert any("both bill 2026-03-10 to 2026-03-31" in row for row in rows)
    till.at(31, 5)
    till.run()
    till.later(hours=2)
    till.run()
    (found,) = listed(till)
    assert f"refund {theirs}, or give a credit note" in found[1]
    assert not eight(till)[0]
    wrong = [
        line
        for line in check_books(till.connection, till.now, month="2026-03")
        if line.number == 8 and not line.ok
    ]
    assert wrong
    till.connection.execute(
        "UPDATE hopsmeter.stripe_invoices SET status = 'void' WHERE id = %s", [theirs]
    )
    assert listed(till) == []
    ok, detail, rows = eight(till)
    assert (ok, rows) == (True, ())
    assert detail.endswith("1 final invoice equal, 1 invoice void, which bills nobody")


def test_a_subscription_after_one_that_ended_bills_nothing_twice(till: ProductTill) -> None:
    anna = till.account()
    till.at(MADE, 5)
    till.charge(anna, till.day(MADE - 1), 100 * CENT * UNIT)
    till.run()
    first = own(till, anna)
    till.stripe.people.cancel_subscription(first, invoice_now=True)
    till.hear(anna)
    till.link(anna, "daily")
    assert own(till, anna) != first
    month(till, anna)
    till.at(31, 5)
    till.run()
    assert len(listed(till)) == 0
    assert eight(till)[0]


def invoice(till: ProductTill, subscription: str) -> str:
    return str(
        till.value(
            "SELECT id FROM hopsmeter.stripe_invoices WHERE subscription_id = %s AND units > 0",
            subscription,
        )
    )


# ── a report whose outcome nobody knows ─────────────────────────────────────────────────────


@pytest.mark.parametrize("meter", ["daily", "sum"])
@pytest.mark.parametrize("state", ["unknown", "in flight"])
def test_what_an_unknown_report_brought_is_nobody_elses(
    till: ProductTill, meter: str, state: str
) -> None:
    anna = till.account(meter=meter)
    till.charge(anna, till.day(0), 1_000_000)
    till.at(1)
    till.run()
    till.at(1, 5)
    till.charge(anna, till.day(0), 500_000)
    till.stripe.faults.add("cut_after", path="/v1/billing/meter_events", times=3)
    till.run()
    assert till.states(anna)[-1][2] == "unknown"
    assert till.told(anna, 0) == 1_500
    till.connection.execute(
        "UPDATE hopsmeter.stripe_reports SET state = %s WHERE state = 'unknown'", [state]
    )
    till.later(hours=2)
    till.fetch_summaries()
    assert listed(till) == []
    assert eight(till)[0]
    till.stripe.faults.clear()
    till.run()
    assert till.states(anna)[-1][2] == "accepted"
    assert listed(till) == []


# ── an invoice that is void ─────────────────────────────────────────────────────────────────


def test_a_void_invoice_is_listed_since_nobody_owes_what_it_billed(till: ProductTill) -> None:
    anna = till.account()
    till.stripe.people.decline_cards(till.customer(anna))
    month(till, anna)
    till.at(31, 5)
    till.run()
    assert listed(till) == []
    made = invoice(till, own(till, anna))
    till.stripe.people.void_invoice(made)
    till.later(hours=2)
    till.run()
    (found,) = listed(till)
    assert found[0] == f"invoice {made} is void: nobody owes its 2000000 units (2.00 USD) any more"
    assert f"stripe settle --invoice {made}: --on-open-day" in found[1]
    ok, detail, rows = eight(till)
    assert (ok, rows) == (True, ())
    assert detail.endswith("1 invoice void, which bills nobody")
    assert till.due(anna) == {}


def test_what_was_not_fetched_is_told_from_what_was_never_told(till: ProductTill) -> None:
    """`--fetch` has nothing to ask where nothing was told; that it was not fetched would be no answer."""
    anna = till.account()
    till.at(1)
    till.run()
    till.fetch_summaries()
    since = till.day(0)

    def said() -> str:
        return reconcile(till.connection, ADMIN, till.now, since=since).said

    assert said() == "Nothing was told to Stripe since 2026-03-01, so it has nothing to compare."
    till.charge(anna, till.day(1), 100 * CENT * UNIT)
    till.at(2)
    till.run()
    assert (
        said() == "Nothing of Stripe's was fetched yet: --fetch asks it, and so does the daily job."
    )
    till.later(hours=2)
    till.fetch_summaries()
    assert said().startswith("1 day of 1 account as fetched")
