"""Clocks of ours that are wrong for a while lose nothing that is told later."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from core.billing.stripe import state
from core.billing.stripe.fetch import fetched_since
from core.billing.stripe.gateway import Gateway
from core.billing.stripe.handlers import stripe_handlers
from core.billing.stripe.invoices import InvoiceSeen, keep_invoice
from core.billing.stripe.moments import OVERTAKEN_MAX, date_of, right
from core.billing.stripe.reading import read_event
from core.billing.stripe.site import account_behind, gateway_of, read_site
from core.billing.stripe.state import Refreshed, refresh
from core.webhooks.handle import handle_due
from core.webhooks.store import store
from tests.core.billing.stripe.till import GRACE, Till
from tests.database import Database
from tests.factories import User, add_user

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def anna(till: Till) -> User:
    who = till.customer()
    till.set_up()
    return who


def linked(till: Till, who: User) -> str:
    done = till.link(who)
    till.world.people.add_card(done.customer_id or "")
    till.deliver()
    return done.customer_id or ""


def left_by_a_clock_ahead(till: Till, by: timedelta) -> None:
    till.site.connection.execute(
        "UPDATE hopsmeter.stripe_accounts SET fetched_at = %s", [till.clock() + by]
    )


def has_card(till: Till) -> bool:
    return bool(till.site.value("SELECT has_card FROM stripe_accounts"))


@pytest.mark.parametrize("by", ["event", "hourly look"])
def test_an_account_that_a_clock_ahead_left_is_fetched_again(
    till: Till, anna: User, by: str
) -> None:
    customer = linked(till, anna)
    left_by_a_clock_ahead(till, 300 * DAY)
    till.world.people.remove_card(customer)
    if by == "event":
        till.deliver()
    else:
        assert till.refresh().fetched == 1
    assert has_card(till) is False
    assert till.site.value("SELECT fetched_at FROM stripe_accounts") == till.clock()


def test_since_when_something_is_so_is_no_moment_to_come(till: Till, anna: User) -> None:
    customer = linked(till, anna)
    till.world.people.remove_card(customer)
    till.run(lambda it: refresh(till.site.connection, it, till.clock() + 300 * DAY, GRACE))
    till.pass_time(HOUR)
    till.refresh()
    assert till.site.value("SELECT no_card_since FROM stripe_accounts") == till.clock()


@pytest.mark.parametrize("off", [300 * DAY, -300 * DAY, HOUR, -HOUR], ids=str)
def test_a_look_is_dated_by_stripe_s_clock_where_ours_is_far_off(
    till: Till, anna: User, off: timedelta
) -> None:
    customer = linked(till, anna)
    till.world.people.remove_card(customer)
    till.pass_time(2 * HOUR)

    async def by_a_wrong_clock(gateway: Gateway) -> Refreshed:
        await account_behind(gateway)  # as the job does: whose is the key?
        return await refresh(till.site.connection, gateway, till.clock() + off, GRACE)

    assert till.run(by_a_wrong_clock).fetched == 1
    (row,) = till.site.all("SELECT fetched_at, no_card_since, standing FROM stripe_accounts")
    assert row == {"fetched_at": till.clock(), "no_card_since": till.clock(), "standing": "good"}


def test_an_event_is_dated_by_stripe_s_clock_where_ours_is_far_off(till: Till, anna: User) -> None:
    customer = linked(till, anna)
    till.world.people.remove_card(customer)
    site = read_site(till.site.connection)
    store(till.site.connection, [read_event(till.world.all("event")[-1], live=False)])

    async def handle() -> None:
        async with gateway_of(till.door, site) as gateway:
            clock = lambda: till.clock() - 300 * DAY  # noqa: E731 - a clock is a function
            await handle_due(till.site.connection, "stripe", stripe_handlers(GRACE), gateway, clock)

    asyncio.run(handle())
    (row,) = till.site.all("SELECT fetched_at, has_card FROM stripe_accounts")
    assert row == {"fetched_at": till.clock(), "has_card": False}


@pytest.mark.parametrize("ahead", [300 * DAY, OVERTAKEN_MAX + HOUR])
def test_an_invoice_that_a_clock_ahead_left_is_kept_anew(
    database: Database, ahead: timedelta
) -> None:
    connection = database.connect()
    anna = add_user(connection)

    def keep(status: str, at: datetime) -> bool:
        invoice = InvoiceSeen(
            *("in_1", "cus_1", "sub_1", None, status, "USD"), (), *(0, 0, NOW, None, False, None)
        )
        return keep_invoice(connection, anna.no, invoice, {"price_1"}, at)

    assert keep("draft", NOW + ahead)
    assert keep("open", NOW)
    assert not keep("draft", NOW - OVERTAKEN_MAX / 2)


@pytest.mark.parametrize(("age", "is_fetched"), [(HOUR, True), (DAY, False), (-300 * DAY, False)])
def test_sums_that_a_clock_ahead_left_do_not_count_as_fetched_of_late(
    database: Database, age: timedelta, is_fetched: bool
) -> None:
    connection = database.connect()
    anna = add_user(connection)
    connection.execute(
        "INSERT INTO hopsmeter.stripe_summaries (account_no, day, units, fetched_at)"
        " VALUES (%s, %s, 1, %s)",
        [anna.no, NOW, NOW - age],
    )
    assert fetched_since(connection, NOW - 23 * HOUR) is is_fetched


def test_ours_counts_unless_it_is_far_off() -> None:
    near, far = NOW + OVERTAKEN_MAX, NOW + OVERTAKEN_MAX + timedelta(seconds=1)
    assert [right(NOW, theirs) for theirs in (None, near, far)] == [NOW, NOW, far]


def test_the_date_of_an_answer_is_read_or_is_none() -> None:
    assert date_of({"date": "Tue, 10 Mar 2026 12:00:00 GMT"}) == NOW
    assert [date_of(each) for each in ({}, {"date": ""}, {"date": "soon"})] == [None] * 3


def test_an_account_that_takes_too_long_is_fetched_by_another_run(
    till: Till, anna: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked(till, anna)
    till.pass_time(HOUR)
    monkeypatch.setattr(state, "FETCH_MAX_S", 0.0)
    found = till.refresh()
    assert (found.fetched, "within 0 s" in found.faults[anna.id]) == (0, True)
    monkeypatch.undo()
    assert till.refresh().fetched == 1
