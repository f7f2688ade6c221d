"""A customer deleted at Stripe: its draft bills nobody, so what it would have billed is for a person."""

from stripe import StripeClient

from core.books.lines import CheckLine
from tests.core.billing.stripe.reporting.conftest import product_till as till
from tests.core.billing.stripe.reporting.product_till import ProductTill
from tests.core.books.stripe_story import proved
from tests.factories import User

__all__ = ["till"]


def drafted(till: ProductTill) -> User:
    """March was told, and is on a draft that was seen; in its grace the customer is deleted."""
    anna = till.account()
    till.charge(anna, till.day(0), 5_000)
    till.at(1)
    till.run()
    till.at(31, 0.5)
    till.run()
    draft = "SELECT units FROM stripe_invoices WHERE finalized_at IS NULL"
    assert till.value(draft) == 5
    return anna


def delete(till: ProductTill, user: User) -> None:
    client: StripeClient = till.client
    client.v1.customers.delete(till.customer(user))


def lines(till: ProductTill) -> list[CheckLine]:
    return list(proved(till.connection, till.now).values())


def test_what_the_draft_of_a_deleted_customer_would_have_billed_is_for_a_person(
    till: ProductTill,
) -> None:
    anna = drafted(till)
    delete(till, anna)
    till.hear(anna)
    for hours in (3, 96):
        till.later(hours=hours)
        till.run()
        (line,) = till.listed(anna)
        assert (line.reason, line.first_day, line.amount_nano) == ("ended", till.day(0), 5_000)
        assert line.why == "its customer was deleted at Stripe"
        assert "--customer" in line.next_step
    why = str(till.value("SELECT standing_why FROM stripe_accounts WHERE account_no = %s", anna.no))
    assert why.startswith("its customer was deleted at Stripe since 2026-04-01")
    assert [each for each in till.stripe.all("invoice") if each["total"] > 0] == []
    till.must_add_up(anna)
    till.fetch_summaries()
    till.later(hours=2)
    assert [each.rows for each in lines(till)] == [(), ()]


def test_a_new_customer_is_billed_what_the_draft_of_the_deleted_one_was_not(
    till: ProductTill,
) -> None:
    """Also where nothing told of the deletion before."""
    anna = drafted(till)
    delete(till, anna)
    made = till.client.v1.customers.create({"name": "Anna"})
    till.link(anna, till.meter, customer=made.id)
    till.later(hours=3)
    till.run()
    assert [(each.reason, each.amount_nano) for each in till.listed(anna)] == [("before", 5_000)]
    till.settle(anna, "open-day")
    till.later(hours=24)
    till.run()
    assert (till.listed(anna), till.receivable(anna)) == ([], 0)
    till.must_add_up(anna)


def test_an_invoice_that_a_person_makes_final_after_all_is_seen(till: ProductTill) -> None:
    anna = drafted(till)
    (draft,) = [each for each in till.stripe.all("invoice") if each["status"] == "draft"]
    delete(till, anna)
    till.hear(anna)
    till.client.v1.invoices.finalize_invoice(draft["id"])
    till.later(hours=3)
    till.run()
    assert till.listed(anna) == []
    assert (
        till.value("SELECT units FROM stripe_invoices WHERE finalized_at IS NOT NULL AND units > 0")
        == 5
    )
    assert [each.rows for each in lines(till)] == [(), ()]
