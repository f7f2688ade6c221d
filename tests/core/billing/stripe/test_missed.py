"""Events that never came are fetched from Stripe's list: once, and as far back as Stripe has them."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from core.billing.stripe import missed
from core.billing.stripe.gateway import Door, Gateway
from core.billing.stripe.missed import Missed, fetch_missed
from core.db.connect import connect
from core.errors import StripeAway
from core.secret import Secret
from core.webhooks.store import store
from sandbox.clock import WorldClock
from sandbox.stripe.world import StripeWorld
from tests.core.webhooks.effects import delivery
from tests.database import Connection, Database

NOW = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)


@pytest.fixture
def clock() -> WorldClock:
    return WorldClock(NOW)


@pytest.fixture
def stripe(clock: WorldClock) -> Iterator[StripeWorld]:
    with StripeWorld(now=clock, seed=7) as stripe:
        yield stripe


@pytest.fixture
def connection(database: Database) -> Connection:
    connection = database.connect()
    connection.execute("INSERT INTO stripe_meters VALUES ('daily', 'mtr_1', 'usage', 'prod_1')")
    connection.execute(
        "INSERT INTO stripe_site (stripe_account, livemode, default_meter, set_up_at)"
        " VALUES ('acct_1', false, 'daily', %s)",
        [NOW],
    )
    return connection


def fetch(database: Database, stripe: StripeWorld) -> Missed:
    async def run() -> Missed:
        with connect(database.url, name="missed") as line:
            door = Door(stripe.url, Secret(stripe.api_key))
            async with Gateway(door, tries_max=1) as gateway:
                return await fetch_missed(line, gateway)

    return asyncio.run(run())


def make(stripe: StripeWorld, number: int, kind: str = "customer.updated") -> list[str]:
    """Let things happen; return the ids of their events."""
    with stripe.account.lock:
        return [
            stripe.events.emit(
                kind, {"id": f"cus_{at}", "object": "customer", "client_secret": "hush"}
            )["id"]
            for at in range(number)
        ]


def kept(connection: Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT event_id FROM webhook_events").fetchall()}


def read_to(connection: Connection) -> datetime | None:
    row = connection.execute("SELECT events_read_to FROM stripe_site").fetchone()
    assert row is not None
    return None if row[0] is None else row[0].astimezone(UTC)


def test_missed_events_are_fetched_page_by_page_and_kept_once(
    connection: Connection, database: Database, stripe: StripeWorld, clock: WorldClock
) -> None:
    clock.advance(timedelta(minutes=1))
    ids = make(stripe, 250)
    store(connection, [delivery(ids[3])])
    clock.advance(timedelta(hours=20))
    ids += make(stripe, 5, "charge.dispute.closed")
    make(stripe, 5, "radar.early_fraud_warning.created")
    found = fetch(database, stripe)
    assert (found.new, found.gap) == (254, None)
    assert kept(connection) == set(ids)
    assert read_to(connection) == clock()
    assert fetch(database, stripe).new == 0
    row = connection.execute(
        "SELECT came, deliveries, about->>'customer', state, note FROM webhook_events"
        " WHERE event_id = %s",
        [ids[0]],
    ).fetchone()
    assert row == ("fetched", 0, "cus_0", "due", None)


def test_thin_events_are_fetched_as_well(
    connection: Connection, database: Database, stripe: StripeWorld, clock: WorldClock
) -> None:
    stripe.people.lose_meter("gone", "x-1")
    assert fetch(database, stripe).new == 1
    row = connection.execute("SELECT type, came FROM webhook_events").fetchone()
    assert row == ("v1.billing.meter.no_meter_found", "fetched")


def test_nothing_is_fetched_before_the_set_up(
    connection: Connection, database: Database, stripe: StripeWorld, clock: WorldClock
) -> None:
    make(stripe, 3)
    connection.execute("DELETE FROM stripe_site")
    assert fetch(database, stripe) == Missed(None)
    assert kept(connection) == set()


def test_what_lies_beyond_thirty_days_is_said_to_be_gone(
    connection: Connection, database: Database, stripe: StripeWorld, clock: WorldClock
) -> None:
    clock.advance(timedelta(minutes=1))
    make(stripe, 2)
    clock.advance(timedelta(days=33))
    recent = make(stripe, 2)
    found = fetch(database, stripe)
    assert found.gap is not None
    assert found.gap[0] == NOW - missed.EDGE
    assert found.gap[1] - found.gap[0] > timedelta(days=3)
    assert kept(connection) == set(recent)
    assert fetch(database, stripe).gap is None


def test_an_outage_in_the_middle_keeps_what_was_read(
    connection: Connection, database: Database, stripe: StripeWorld, clock: WorldClock
) -> None:
    make(stripe, 3)
    clock.advance(timedelta(hours=60))
    make(stripe, 3)
    stripe.faults.add("outage", path="/v1/events", holding=str(int(clock().timestamp())))
    with pytest.raises(StripeAway):
        fetch(database, stripe)
    reached = read_to(connection)
    assert reached is not None
    assert NOW < reached < clock()
    stripe.faults.clear()
    assert fetch(database, stripe).new == 3
    assert len(kept(connection)) == 6
