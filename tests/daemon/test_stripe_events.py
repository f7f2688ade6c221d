"""From the sandbox's Stripe to the mark: doubled, shuffled, lost, and with a daemon that is killed."""

import signal
from pathlib import Path
from typing import Any

import pytest

from core.billing.stripe.gateway import API_VERSION
from core.db.locks import Lock, take
from sandbox.stripe.world import StripeWorld
from tests.daemon.hooked import at_stripe, belongs_to, private, url_of
from tests.daemon.process import Daemon
from tests.database import Connection, Database

DELIVERED_S = 60.0


@pytest.fixture
def connection(database: Database, stripe: StripeWorld) -> Connection:
    connection = database.connect()
    belongs_to(connection, stripe)
    return connection


def endpoint(stripe: StripeWorld, daemon: Daemon, around: dict[str, str]) -> None:
    """Make an endpoint at Stripe, and give the daemon its secret."""
    form = {"url": url_of(daemon), "enabled_events[]": "*", "api_version": API_VERSION}
    made = at_stripe(stripe, "/v1/webhook_endpoints", form)
    path = Path(around["HOPSMETER_STRIPE_SIGNING_FILE"])
    private(path, f"{made['secret']}\n")


def make(stripe: StripeWorld, number: int) -> set[str]:
    with stripe.account.lock:
        return {
            stripe.events.emit("customer.updated", {"id": f"cus_{at % 3}", "object": "customer"})[
                "id"
            ]
            for at in range(number)
        }


def by_state(connection: Connection) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for state, event_id in connection.execute(
        "SELECT state, event_id FROM webhook_events WHERE type = 'customer.updated'"
    ).fetchall():
        found.setdefault(state, set()).add(event_id)
    return found


def done_once(daemon: Daemon) -> list[Any]:
    return sorted(line["event_id"] for line in daemon.log if line["event"] == "event done")


def test_doubled_and_shuffled_deliveries_are_handled_once_each(
    stripe: StripeWorld, around: dict[str, str], connection: Connection
) -> None:
    with Daemon(around) as daemon:
        daemon.ready()
        endpoint(stripe, daemon, around)
        stripe.deliveries.doubled = stripe.deliveries.shuffled = True
        stripe.settings.delivery_pauses_s = (0.3,) * 10
        ids = make(stripe, 40)
        stripe.deliveries.await_idle(DELIVERED_S)
        daemon.until(lambda: by_state(connection) == {"done": ids})
        daemon.until(lambda: done_once(daemon) == sorted(ids))
    row = connection.execute(
        "SELECT min(deliveries) FROM webhook_events WHERE type = 'customer.updated'"
    ).fetchone()
    assert row == (2,)


@pytest.mark.long
def test_killed_between_store_and_handling_it_is_handled_by_the_next(
    stripe: StripeWorld, around: dict[str, str], connection: Connection, database: Database
) -> None:
    with Daemon(around) as daemon:
        daemon.ready()
        endpoint(stripe, daemon, around)
        stripe.settings.delivery_pauses_s = (0.3,) * 10
        with database.connect() as holder, holder.transaction():
            take(holder, Lock.WEBHOOKS)
            ids = make(stripe, 5)
            stripe.deliveries.await_idle(DELIVERED_S)
            assert by_state(connection) == {"due": ids}
            assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
    with Daemon(around) as daemon:
        daemon.ready()
        daemon.until(lambda: by_state(connection) == {"done": ids})
        daemon.until(lambda: done_once(daemon) == sorted(ids))


def test_events_of_a_time_without_a_daemon_are_fetched_at_the_start(
    stripe: StripeWorld, around: dict[str, str], connection: Connection
) -> None:
    ids = make(stripe, 7)
    with Daemon(around) as daemon:
        daemon.ready()
        daemon.until(lambda: by_state(connection) == {"done": ids})
        assert daemon.wait_for("missed")["new"] == 7
