"""Webhooks about accounts: fetched, kept, and of the own subscription alone."""

from datetime import UTC, datetime, timedelta

import pytest

from core.billing.stripe.linking import Linked
from core.billing.stripe.reading import read_event
from core.webhooks.store import store
from tests.core.billing.stripe.test_purchases import backwards, doubled
from tests.core.billing.stripe.till import Till
from tests.factories import User

HOUR = timedelta(hours=1)


@pytest.fixture
def anna(till: Till) -> User:
    who = till.customer()
    till.set_up()
    return who


def linked(till: Till, who: User) -> Linked:
    done = till.link(who)
    till.pass_time(HOUR)
    till.world.people.complete_setup(till.session())
    till.deliver()
    return done


def column(till: Till, name: str) -> object:
    return till.site.value(f"SELECT {name} FROM stripe_accounts")


def test_a_card_that_was_left_is_what_invoices_are_paid_with(till: Till, anna: User) -> None:
    linked(till, anna)
    (customer,) = till.world.all("customer")
    (method,) = till.world.all("payment_method")
    assert customer["invoice_settings"]["default_payment_method"] == method["id"]
    assert (column(till, "has_card"), till.standing(anna)[0]) == (True, "good")


def test_a_detached_card_is_noticed_by_its_webhook_alone(till: Till, anna: User) -> None:
    done = linked(till, anna)
    till.world.people.remove_card(done.customer_id or "")
    events = till.world.all("event")
    (detached,) = [one for one in events if one["type"] == "payment_method.detached"]
    till.delivered = len(events)
    till.deliver(lambda _: [detached])
    assert column(till, "has_card") is False
    assert column(till, "no_card_since") is not None


def test_what_happens_in_a_month_is_followed_in_any_order(till: Till, anna: User) -> None:
    done = linked(till, anna)
    till.use(done, 20_000_000)
    till.pass_time(datetime(2026, 4, 1, 4, tzinfo=UTC) - till.clock())
    till.deliver(backwards)
    (invoice,) = till.site.all("SELECT * FROM stripe_invoices WHERE units > 0")
    assert (invoice["status"], invoice["units"], invoice["paid_minor"]) == (
        "paid",
        20_000_000,
        2000,
    )
    assert column(till, "period_end") == datetime(2026, 5, 1, tzinfo=UTC)
    till.deliver(doubled, fresh=False)
    assert till.standing(anna) == ("good", "")
    assert till.told() == []


def test_a_deleted_customer_ends_the_account(till: Till, anna: User) -> None:
    done = linked(till, anna)
    till.run(
        lambda it: it.ask(lambda client: client.v1.customers.delete_async(done.customer_id or ""))
    )
    till.deliver()
    assert column(till, "customer_deleted") is True
    assert till.standing(anna)[0] == "warned"


def test_a_customer_who_is_nobody_here_is_left_alone(till: Till, anna: User) -> None:
    linked(till, anna)
    till.run(
        lambda it: it.ask(lambda client: client.v1.customers.create_async({"name": "a stranger"}))
    )
    stranger = till.world.all("customer")[-1]["id"]
    till.world.people.add_card(stranger)
    till.deliver()
    said = till.site.value("SELECT said FROM webhook_events ORDER BY id DESC LIMIT 1")
    assert said == f"{stranger} is no account's customer"


@pytest.mark.parametrize("how", ["void", pytest.param("paid", marks=pytest.mark.long)])
@pytest.mark.parametrize("is_held", [True, False], ids=["held", "of its subscription"])
def test_an_event_of_an_invoice_that_a_customer_before_left_finds_its_account(
    till: Till, anna: User, how: str, *, is_held: bool
) -> None:
    done = linked(till, anna)
    old = done.customer_id or ""
    till.world.people.decline_cards(old)
    till.use(done, 20_000_000)
    till.pass_time(datetime(2026, 4, 9, tzinfo=UTC) - till.clock())
    till.deliver()
    (invoice,) = till.site.all("SELECT id, status FROM stripe_invoices WHERE units > 0")
    assert (invoice["status"], till.standing(anna)[0]) == ("open", "suspend")
    another_customer(till, anna, old)
    assert till.standing(anna)[0] == "suspend"
    if not is_held:
        # As after some time away: of its subscription an older one is known, which Stripe lists no more.
        till.site.connection.execute("DELETE FROM hopsmeter.stripe_invoices WHERE units > 0")
        till.site.connection.execute(
            "UPDATE hopsmeter.stripe_invoices SET id = 'in_older' WHERE subscription_id = %s",
            [done.subscription.id if done.subscription else None],
        )
    if how == "void":
        till.world.people.void_invoice(invoice["id"])
    else:
        till.world.people.pay_invoice(invoice["id"])
    till.deliver()
    found = till.site.value("SELECT status FROM stripe_invoices WHERE id = %s", invoice["id"])
    assert (found, till.standing(anna)) == (how, ("good", ""))
    said = till.site.value(
        "SELECT said FROM webhook_events WHERE type = %s ORDER BY id DESC LIMIT 1",
        "invoice.voided" if how == "void" else "invoice.paid",
    )
    assert said == f"auth0|anna: invoices of {old}, its customer before, now good"


def another_customer(till: Till, who: User, old: str) -> None:
    """The customer is deleted at Stripe, and another one linked, with a card that pays."""
    till.run(lambda it: it.ask(lambda client: client.v1.customers.delete_async(old)))
    till.deliver()
    till.run(lambda it: it.ask(lambda client: client.v1.customers.create_async({"name": "Anna"})))
    made = till.world.all("customer")[-1]["id"]
    till.link(who, customer=made)
    till.world.people.add_card(made)
    till.deliver()


PARKED = "SELECT account_no, parked_why FROM stripe_accounts WHERE parked_at IS NOT NULL"


def accepted(till: Till, who: User, customer: str) -> str:
    """A report of a day that Stripe took; return its identifier."""
    till.site.connection.execute(
        "INSERT INTO stripe_reports (account_no, meter, day, seq, snapshot_nano, units_before, units,"
        " unit_nano, remainder_nano, identifier, event_at, state) VALUES (%s, 'daily', '2026-03-01',"
        " 1, 5000, 0, 5, 1000, 0, %s, '2026-03-01', 'accepted')",
        [who.no, f"{customer}:2026-03-01:1:5"],
    )
    return f"{customer}:2026-03-01:1:5"


@pytest.mark.parametrize("kind", ["meter error", "no meter"])
def test_a_report_that_could_not_be_counted_parks_its_account_once(
    till: Till, anna: User, kind: str
) -> None:
    report = accepted(till, anna, str(linked(till, anna).customer_id))
    till.link(till.customer("ben"))
    uncounted(till, kind, report)
    (row,) = till.site.all(PARKED)
    assert row["account_no"] == anna.no
    assert "took the report of 2026-03-01, and could not count it (" in row["parked_why"]
    till.site.connection.execute("UPDATE stripe_accounts SET parked_at = NULL, parked_why = NULL")
    uncounted(till, kind, report)
    assert till.site.all(PARKED) == []


@pytest.mark.parametrize("has_another", [True, False])
def test_a_report_of_a_customer_that_was_deleted_parks_nobody(
    till: Till, anna: User, *, has_another: bool
) -> None:
    """There is nothing to mend: what it counted is taken back by itself, and another one is told as before."""
    old = str(linked(till, anna).customer_id)
    report = accepted(till, anna, old)
    if has_another:
        another_customer(till, anna, old)
    else:
        till.run(lambda it: it.ask(lambda client: client.v1.customers.delete_async(old)))
        till.deliver()
    uncounted(till, "no meter", report)
    assert till.site.all(PARKED) == []


def uncounted(till: Till, kind: str, report: str) -> None:
    """Let Stripe tell of a report that it could not count."""
    if kind == "no meter":
        till.world.people.lose_meter("hopsmeter_daily", report)
    else:
        till.world.people.fail_meter(till.world.all("billing.meter")[0]["id"], report)
        till.pass_time(HOUR)
    event = till.world.all("v2.core.event")[-1]
    store(till.site.connection, [read_event(event, live=False)])
    till.handle()
