"""The account's state follows Stripe: fetched, of its own subscription alone, told of once."""

from datetime import UTC, datetime, timedelta

import pytest

from core.billing.stripe import state
from core.billing.stripe.gateway import Gateway
from core.billing.stripe.invoices import InvoiceSeen, invoices_of
from core.billing.stripe.linking import Linked
from core.billing.stripe.state import TOGETHER, fetch_account, keep_account
from core.errors import Conflict
from tests.core.billing.stripe.till import GRACE, Till
from tests.factories import User

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def anna(till: Till) -> User:
    who = till.customer()
    till.set_up()
    return who


def linked(till: Till, who: User) -> Linked:
    """Linked, with a card that pays."""
    done = till.link(who)
    assert done.customer_id is not None
    till.world.people.add_card(done.customer_id)
    till.pass_time(HOUR)
    till.refresh()
    return done


def account(till: Till) -> dict[str, object]:
    (row,) = till.site.all("SELECT * FROM stripe_accounts")
    return row


def test_a_link_keeps_what_reports_need(till: Till, anna: User) -> None:
    done = till.link(anna)
    assert done.subscription is not None
    row = account(till)
    assert row["meter"] == "daily"
    assert row["subscription_status"] == "active"
    assert row["billed_from"] == done.subscription.billed_from
    assert row["item_id"] == done.subscription.items[0].id
    assert row["period_end"] == datetime(2026, 4, 1, tzinfo=UTC)
    assert (row["has_card"], till.standing(anna)) == (False, ("good", ""))


def test_an_account_without_a_card_is_warned_then_to_stop_and_told_once(
    till: Till, anna: User
) -> None:
    done = till.link(anna)
    for _ in range(3):
        till.pass_time(DAY)
        till.refresh()
    assert till.standing(anna)[0] == "warned"
    assert till.told() == ["account.payment_due"]
    till.pass_time(GRACE)
    till.refresh()
    till.pass_time(HOUR)
    till.refresh()
    assert till.standing(anna) == ("suspend", "it has no payment method since 2026-03-01")
    assert till.told() == ["account.payment_due", "account.to_suspend"]
    till.world.people.add_card(done.customer_id or "")
    till.pass_time(HOUR)
    till.refresh()
    assert till.standing(anna) == ("good", "")
    assert till.told()[2:] == ["account.settled"]


def test_a_card_removed_with_usage_open_is_no_escape(till: Till, anna: User) -> None:
    done = linked(till, anna)
    till.world.people.remove_card(done.customer_id or "")
    till.site.connection.execute(
        "INSERT INTO stripe_days (account_no, day, posted_nano) VALUES (%s, '2026-03-02', 5000)",
        [anna.no],
    )
    till.pass_time(HOUR)
    till.refresh()
    till.pass_time(GRACE + DAY)
    till.refresh()
    assert till.standing(anna)[0] == "warned"
    assert "once what it owes is reported" in till.standing(anna)[1]
    till.site.connection.execute("UPDATE stripe_days SET snapshot_nano = posted_nano")
    till.pass_time(HOUR)
    till.refresh()
    assert till.standing(anna)[0] == "suspend"


def test_nobody_is_to_stop_while_a_posting_of_a_day_that_is_over_is_unread(
    till: Till, anna: User
) -> None:
    done = linked(till, anna)
    till.world.people.remove_card(done.customer_id or "")
    till.pass_time(HOUR)
    till.refresh()
    till.pass_time(GRACE + DAY)
    connection = till.site.connection
    connection.execute("INSERT INTO postings (day, no, entries) VALUES ('2026-03-02', 1, 1)")
    till.refresh()
    assert till.standing(anna)[0] == "warned"
    assert "once what it owes is reported" in till.standing(anna)[1]
    connection.execute("INSERT INTO stripe_days_read (day, posting_no) VALUES ('2026-03-02', 1)")
    till.pass_time(HOUR)
    till.refresh()
    assert till.standing(anna)[0] == "suspend"
    # Who is to stop already stays so: each later posting would take it back for an hour.
    connection.execute("INSERT INTO postings (day, no, entries) VALUES ('2026-03-02', 2, 1)")
    till.pass_time(HOUR)
    till.refresh()
    assert till.standing(anna)[0] == "suspend"
    assert till.told().count("account.to_suspend") == 1


def test_a_posting_of_the_day_that_runs_holds_nothing_up(till: Till, anna: User) -> None:
    done = linked(till, anna)
    till.world.people.remove_card(done.customer_id or "")
    till.pass_time(HOUR)
    till.refresh()
    till.pass_time(GRACE + DAY)
    till.site.connection.execute(
        "INSERT INTO postings (day, no, entries) VALUES (%s, 1, 1)", [till.clock().date()]
    )
    till.refresh()
    assert till.standing(anna)[0] == "suspend"


def test_an_unpaid_invoice_is_followed_until_it_is_paid(till: Till, anna: User) -> None:
    done = linked(till, anna)
    till.world.people.decline_cards(done.customer_id or "")
    till.use(done, 12_340_000)
    till.pass_time(datetime(2026, 4, 1, 3, tzinfo=UTC) - till.clock())
    till.refresh()
    (invoice,) = till.site.all("SELECT * FROM stripe_invoices WHERE units > 0")
    assert (invoice["units"], invoice["line_minor"]) == (12_340_000, 1234)
    assert invoice["usage_end"] == datetime(2026, 4, 1, tzinfo=UTC)
    assert invoice["finalized_at"] is not None
    assert till.standing(anna)[0] == "warned"
    till.world.people.decline_cards(done.customer_id or "", declines=False)
    till.world.people.pay_invoice(invoice["id"])
    till.pass_time(HOUR)
    till.refresh()
    assert till.standing(anna) == ("good", "")
    assert till.site.value("SELECT status FROM stripe_invoices WHERE units > 0") == "paid"


def test_an_invoice_that_the_subscription_before_left_unpaid_counts(till: Till, anna: User) -> None:
    """Who has it cancelled and begins anew owes it still; a second one beside his own is no debt."""
    done = linked(till, anna)
    assert done.subscription is not None
    till.world.people.decline_cards(done.customer_id or "")
    till.use(done, 50_000_000)
    till.pass_time(timedelta(days=3))
    till.world.people.cancel_subscription(done.subscription.id, invoice_now=True)
    till.pass_time(HOUR)
    till.refresh()
    till.link(anna)
    till.pass_time(timedelta(days=2))
    till.refresh()
    assert till.standing(anna)[0] == "warned"
    till.pass_time(timedelta(days=20))
    till.refresh()
    assert till.standing(anna)[0] == "suspend"
    unpaid = till.site.value("SELECT id FROM stripe_invoices WHERE total_minor > paid_minor")
    till.world.people.decline_cards(done.customer_id or "", declines=False)
    till.world.people.pay_invoice(unpaid)
    till.pass_time(HOUR)
    till.refresh()
    assert till.standing(anna)[0] == "good"


def test_what_ends_or_is_paused_is_seen(till: Till, anna: User) -> None:
    done = linked(till, anna)
    assert done.subscription is not None
    till.world.people.pause_subscription(done.subscription.id)
    till.pass_time(HOUR)
    till.refresh()
    assert till.standing(anna) == ("warned", "its subscription is paused since 2026-03-01")
    assert account(till)["ended_since"] is None
    till.world.people.resume_subscription(done.subscription.id)
    till.pass_time(HOUR)
    till.refresh()
    assert till.standing(anna)[0] == "good"
    till.world.people.cancel_subscription(done.subscription.id)
    till.pass_time(HOUR)
    till.refresh()
    assert till.standing(anna) == ("warned", "its subscription ended since 2026-03-01")


def test_a_state_fetched_earlier_does_not_undo_a_later_one(till: Till, anna: User) -> None:
    done = linked(till, anna)
    till.pass_time(HOUR)
    early = till.run(lambda it: fetch_account(it, done.customer_id or "", till.clock()))
    till.world.people.remove_card(done.customer_id or "")
    till.pass_time(timedelta(minutes=1))
    till.refresh()
    said = keep_account(till.site.connection, early, GRACE)
    assert said == "auth0|anna is known of a later moment"
    assert account(till)["has_card"] is False


def test_accounts_that_stripe_never_answers_for_do_not_hold_up_the_others(
    till: Till, anna: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stay the oldest, and are asked about first; so a few may not end the round."""
    del anna
    names = ["ben", "cleo", "dora", "emil", "fred", "gwen", "hans", "ida", "jan", "kai"]
    whose = {name: till.link(till.customer(name)).customer_id or "" for name in names}
    lists_too_much = whose["fred"]

    async def invoices(opened: Gateway, customer: str, at: datetime) -> list[InvoiceSeen]:
        if customer == lists_too_much:
            raise Conflict("Stripe lists more than 10000 invoices.")
        return await invoices_of(opened, customer, at)

    monkeypatch.setattr(state, "invoices_of", invoices)
    for name in names[:4]:
        till.world.faults.add("error_500_before", holding=whose[name])
    till.pass_time(HOUR)
    done = till.refresh()
    assert sorted(done.faults) == [f"auth0|{name}" for name in names[:5]]
    assert done.fetched == len(names[5:])


def test_rounds_go_on_with_those_not_fetched_for_the_longest(till: Till, anna: User) -> None:
    del anna
    names = ["ben", "cleo", "dora", "emil", "fred"]
    for name in names:
        till.link(till.customer(name))
    connection = till.site.connection

    async def some(opened: Gateway) -> state.Refreshed:
        return await state.refresh(connection, opened, till.clock(), GRACE, accounts_max=2)

    till.pass_time(HOUR)
    begun = till.clock()
    for _ in range(3):
        assert till.run(some).fetched == 2
        till.pass_time(HOUR)
    assert (
        till.site.value("SELECT count(*) FROM stripe_accounts WHERE fetched_at >= %s", begun) == 5
    )


def test_a_round_ends_where_stripe_answers_nobody_and_where_it_is_to_stop(
    till: Till, anna: User
) -> None:
    linked(till, anna)
    for number in range(TOGETHER + 1):
        till.link(till.customer(f"user{number}"))
    till.pass_time(HOUR)
    connection = till.site.connection

    async def stopped(opened: Gateway) -> state.Refreshed:
        return await state.refresh(connection, opened, till.clock(), GRACE, stopping=lambda: True)

    assert till.run(stopped).fetched == 0
    outage = till.world.faults.add("outage")
    assert (till.refresh().fetched, len(till.refresh().faults)) == (0, TOGETHER)
    till.world.faults.remove(outage)
    assert till.refresh().fetched == TOGETHER + 2


def test_one_account_that_stripe_refuses_does_not_hold_up_the_others(
    till: Till, anna: User
) -> None:
    linked(till, anna)
    ben = till.customer("ben")
    other = till.link(ben)
    till.pass_time(HOUR)
    till.world.faults.add("error_500_before", holding=other.customer_id or "")
    done = till.refresh()
    assert done.fetched == 1
    assert list(done.faults) == [ben.id]
