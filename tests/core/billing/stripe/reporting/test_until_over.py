"""An invoice is asked about until it is paid or void: whosever customer has it, and however long nobody asked."""

from datetime import timedelta

import pytest

from core.billing.stripe import state
from core.errors import Conflict
from tests.core.billing.stripe.bills.test_settle import CENT, invoices
from tests.core.billing.stripe.bills.test_unbilled import named, settle_all, whole
from tests.core.billing.stripe.reporting.conftest import product_till as till
from tests.core.billing.stripe.reporting.product_till import ProductTill
from tests.core.billing.stripe.reporting.till import UNIT
from tests.factories import User

__all__ = ["till"]

pytestmark = pytest.mark.long

AWAY_UNTIL = 108
"""March's invoice is older then than what a look lists whatever its state."""


def unpaid(till: ProductTill, user: User) -> str:
    """March costs ten, and its invoice is open: the card is declined, and the account is to stop."""
    till.stripe.people.decline_cards(till.customer(user))
    till.charge(user, till.day(0), 1_000 * CENT * UNIT)
    till.at(1)
    till.run()
    till.at(40)
    till.run()
    (invoice,) = (each for each in till.stripe.all("invoice") if each["total"])
    assert (invoice["status"], till.standing(user)) == ("open", "suspend")
    return str(invoice["id"])


def another_customer(till: ProductTill, user: User) -> None:
    """As docs/stripe.md says: the customer is deleted there, and another one linked."""
    till.client.v1.customers.delete(till.customer(user))
    till.hear(user)
    made = till.client.v1.customers.create({"name": "Anna"})
    till.link(user, till.meter, customer=made.id)
    till.later(hours=3)
    till.run()


def end(till: ProductTill, invoice: str, how: str) -> None:
    if how == "void":
        till.client.v1.invoices.void_invoice(invoice)
    elif how == "paid":
        till.client.v1.invoices.pay(invoice, {"paid_out_of_band": True})
    else:
        till.client.v1.invoices.mark_uncollectible(invoice)


def told_for(till: ProductTill, user: User, days: int) -> None:
    """Each of the first days costs a dollar, and is told."""
    for day in range(days):
        till.charge(user, till.day(day), 100 * CENT * UNIT)
    till.at(days + 1)
    till.run()


def kept(till: ProductTill, invoice: str) -> str:
    row = till.connection.execute(
        "SELECT status FROM hopsmeter.stripe_invoices WHERE id = %s", [invoice]
    ).fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize(("how", "listed"), [("void", ["void"]), ("paid", [])])
def test_the_open_invoice_of_a_customer_before_is_followed(
    till: ProductTill, how: str, listed: list[str]
) -> None:
    anna = till.account()
    invoice = unpaid(till, anna)
    another_customer(till, anna)
    assert till.standing(anna) == "suspend"
    till.later(days=2)
    till.run()
    end(till, invoice, how)
    till.later(hours=2)
    till.run()
    assert (kept(till, invoice), till.standing(anna)) == (how, "good")
    assert till.reasons(anna) == listed
    assert [each.amount_nano for each in till.listed(anna)] == [1_000 * CENT * UNIT for _ in listed]


def test_the_draft_of_a_customer_before_bills_nothing_until_it_is_made_final(
    till: ProductTill,
) -> None:
    till.stripe.settings.invoice_grace = timedelta(hours=72)
    anna = till.account()
    till.charge(anna, till.day(0), 1_000 * CENT * UNIT)
    till.at(1)
    till.run()
    till.at(31, 2)
    till.run()
    (draft,) = (each["id"] for each in till.stripe.all("invoice") if each["status"] == "draft")
    another_customer(till, anna)
    for _ in range(6):
        till.later(hours=24)
        till.run()
        assert till.reasons(anna) == ["before"]
    till.client.v1.invoices.finalize_invoice(draft)
    till.later(hours=2)
    till.run()
    row = till.connection.execute(
        "SELECT units, finalized_at IS NOT NULL FROM hopsmeter.stripe_invoices WHERE id = %s",
        [draft],
    ).fetchone()
    assert row == (1_000 * CENT, True)


@pytest.mark.parametrize("hears_first", [False, True], ids=["the job", "an event"])
def test_who_was_not_asked_about_for_eleven_weeks_is_billed_once(
    till: ProductTill, *, hears_first: bool
) -> None:
    anna = till.account()
    told_for(till, anna, 5)
    till.at(AWAY_UNTIL)
    if hears_first:
        till.hear(anna)
        assert whole(till, anna) == []
    till.run()
    till.later(hours=25)
    till.run()
    assert whole(till, anna) == []
    with pytest.raises(Conflict, match="Nothing is due"):
        settle_all(till, anna, "open-day")
    (invoice,) = invoices(till, anna)
    assert kept(till, invoice) == "paid"
    assert till.value("SELECT fetched_at FROM stripe_accounts") == till.now
    till.later(hours=2)
    assert named(till) == (True, 0, 0)
    assert sum(invoices(till, anna).values()) == 500
    till.must_add_up(anna)


def test_a_last_invoice_that_nobody_saw_for_eleven_weeks_is_not_taken_back(
    till: ProductTill,
) -> None:
    anna = till.account()
    told_for(till, anna, 5)
    living = till.living(anna)
    assert living is not None
    till.stripe.people.cancel_subscription(living["id"], invoice_now=True)
    till.at(AWAY_UNTIL)
    till.hear(anna)
    till.tell()
    assert whole(till, anna) == []
    till.run()
    till.later(hours=25)
    till.run()
    assert whole(till, anna) == []
    assert sum(invoices(till, anna).values()) == 500
    till.must_add_up(anna)


@pytest.mark.parametrize("days_away", [0, AWAY_UNTIL])
def test_what_a_customer_left_while_nobody_asked_is_not_taken_back(
    till: ProductTill, days_away: int
) -> None:
    """Its last invoice was made after the last look at it, and no event told of that."""
    anna = till.account()
    told_for(till, anna, 5)
    living = till.living(anna)
    assert living is not None
    till.stripe.people.cancel_subscription(living["id"], invoice_now=True)
    till.later(days=days_away, hours=1)
    till.client.v1.customers.delete(till.customer(anna))
    made = till.client.v1.customers.create({"name": "Anna"})
    till.link(anna, till.meter, customer=made.id)
    for hours in (1, 3, 25):
        till.later(hours=hours)
        till.run()
        assert whole(till, anna) == []
    assert sum(each["total"] for each in till.stripe.all("invoice")) == 500
    till.must_add_up(anna)


@pytest.mark.parametrize("hears_first", [False, True], ids=["the job", "an event"])
def test_a_draft_that_was_made_final_while_nobody_asked_is_not_listed(
    till: ProductTill, *, hears_first: bool
) -> None:
    till.stripe.settings.invoice_grace = timedelta(hours=72)
    anna = till.account()
    told_for(till, anna, 5)
    till.at(32)
    till.run()
    assert till.connection.execute(
        "SELECT count(*) FROM hopsmeter.stripe_invoices WHERE status = 'draft' AND units > 0"
    ).fetchone() == (1,)
    till.at(AWAY_UNTIL)
    if hears_first:
        till.hear(anna)
        assert whole(till, anna) == []
    till.run()
    assert whole(till, anna) == []
    till.later(hours=2)
    assert named(till) == (True, 0, 0)


def test_a_draft_that_was_not_asked_about_since_it_was_young_is_not_listed(
    till: ProductTill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of an account that has more of them than one look asks about."""
    monkeypatch.setattr(state, "ASKED_MAX", 0)
    till.stripe.settings.invoice_grace = timedelta(hours=72)
    anna = till.account()
    told_for(till, anna, 5)
    for day in (32, AWAY_UNTIL):
        till.at(day)
        till.run()
    assert whole(till, anna) == []


@pytest.mark.parametrize("between", ["open", "uncollectible"])
def test_an_old_invoice_that_is_paid_at_last_is_known_of_without_an_event(
    till: ProductTill, between: str
) -> None:
    anna = till.account()
    invoice = unpaid(till, anna)
    till.at(AWAY_UNTIL)
    if between == "uncollectible":
        end(till, invoice, between)
    till.run()
    assert (kept(till, invoice), till.standing(anna)) == (between, "suspend")
    end(till, invoice, "paid")
    till.later(hours=2)
    till.run()
    assert (kept(till, invoice), till.standing(anna)) == ("paid", "good")


def test_of_many_those_not_asked_about_for_the_longest_come_first(
    till: ProductTill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "ASKED_MAX", 1)
    till.stripe.settings.after_retries = "past_due"
    anna = till.account()
    till.stripe.people.decline_cards(till.customer(anna))
    for day in (0, 31):
        till.charge(anna, till.day(day), 1_000 * CENT * UNIT)
        till.at(day + 1)
        till.run()
    till.at(65)
    till.run()
    both = [each["id"] for each in till.stripe.all("invoice") if each["total"]]
    assert [kept(till, each) for each in both] == ["open", "open"]
    another_customer(till, anna)
    till.later(days=2)
    till.run()
    first, other = sorted(both)
    end(till, other, "paid")
    for _ in both:
        till.later(hours=2)
        till.run()
    assert (kept(till, first), kept(till, other)) == ("open", "paid")


def test_a_draft_that_stripe_has_no_more_is_over(till: ProductTill) -> None:
    anna = till.account()
    till.connection.execute(
        "INSERT INTO hopsmeter.stripe_invoices (id, account_no, status, currency, total_minor,"
        " created_at, fetched_at) VALUES ('in_gone', %s, 'draft', 'USD', 5, %s, %s)",
        [anna.no, till.now, till.now],
    )
    till.later(hours=1)
    till.run()
    assert kept(till, "in_gone") == "deleted"
