"""A key that opens another Stripe account, or the other mode: what came waits, and nothing is asked."""

import pytest

from core.webhooks.store import store
from sandbox.stripe.profile import Profile
from sandbox.stripe.world import StripeWorld
from tests.core.webhooks.effects import delivery
from tests.daemon.hooked import belongs_to
from tests.daemon.process import once
from tests.database import Connection, Database
from tests.factories import add_user

CUSTOMER = "cus_1"


@pytest.fixture
def connection(database: Database, stripe: StripeWorld) -> Connection:
    """An installation of that Stripe, with a linked account."""
    connection = database.connect()
    anna = add_user(connection, currency="EUR", stripe_customer_id=CUSTOMER)
    belongs_to(connection, stripe)
    connection.execute(
        "INSERT INTO stripe_accounts (account_no, meter) VALUES (%s, 'daily')", [anna.no]
    )
    return connection


@pytest.fixture(params=["another account", pytest.param("the other mode", marks=pytest.mark.long)])
def says(request: pytest.FixtureRequest, connection: Connection) -> str:
    """Let the installation belong to another account than the key's; return how it is told."""
    if request.param == "another account":
        connection.execute("UPDATE stripe_site SET stripe_account = 'acct_other'")
        return "belongs to the Stripe account acct_other (test mode), and the key opens acct_"
    connection.execute("UPDATE stripe_site SET livemode = true")
    return " (live), and the key opens acct_"


def asked(stripe: StripeWorld) -> set[str]:
    return {each.path for each in stripe.api.exchanges}


def make_good(connection: Connection, stripe: StripeWorld) -> None:
    connection.execute(
        "UPDATE stripe_site SET stripe_account = %s, livemode = false", [Profile(stripe.account).id]
    )


def test_no_event_is_handled_by_a_key_of_somebody_else(
    says: str, connection: Connection, around: dict[str, str], stripe: StripeWorld
) -> None:
    types = ("customer.updated", "checkout.session.completed", "v1.billing.meter.no_meter_found")
    for number, kind in enumerate(types):
        about = {"customer": CUSTOMER, "session": "cs_1"}
        store(connection, [delivery(f"evt_{number}", f"{number}", type=kind, about=about)])
    once("tick", "webhooks", around=around)
    assert asked(stripe) == {"/v1/account"}
    found = connection.execute("SELECT state, tries, error FROM webhook_events").fetchall()
    assert [row[:2] for row in found] == [("due", 1)] * 3
    for _, _, error in found:
        assert says in error
        assert "Use a key of that account" in error
    kept = connection.execute("SELECT fetched_at, parked_at, standing FROM stripe_accounts")
    assert kept.fetchall() == [(None, None, "good")]
    make_good(connection, stripe)
    connection.execute("UPDATE webhook_events SET next_try_at = clock_timestamp()")
    once("tick", "webhooks", around=around)
    state = connection.execute("SELECT state FROM webhook_events WHERE type = 'customer.updated'")
    assert state.fetchall() == [("done",)]


def test_no_missed_event_is_listed_by_a_key_of_somebody_else(
    says: str, connection: Connection, around: dict[str, str], stripe: StripeWorld
) -> None:
    with stripe.account.lock:
        stripe.events.emit("customer.updated", {"id": CUSTOMER, "object": "customer"})
    ended = once("tick", "missed", around=around)
    assert ended.returncode != 0
    assert says in ended.stderr
    assert "Use a key of that account" in ended.stderr
    assert asked(stripe) == {"/v1/account"}
    assert connection.execute("SELECT count(*) FROM webhook_events").fetchone() == (0,)
    assert connection.execute("SELECT events_read_to FROM stripe_site").fetchone() == (None,)
    make_good(connection, stripe)
    assert once("tick", "missed", around=around).returncode == 0
    assert connection.execute("SELECT came FROM webhook_events").fetchall() == [("fetched",)]
