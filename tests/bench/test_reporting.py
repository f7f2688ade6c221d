"""Ten thousand accounts told to Stripe within its limits, in memory that does not grow with them.

Stripe is the sandbox's, as a process of its own that refuses more than 100 requests a second, as a live
account does; the reporting is a process of its own as well, so that its peak is its own.
"""

import asyncio
import concurrent.futures
import multiprocessing
import resource
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from unittest.mock import patch

import httpx
import psycopg
import pytest

from core.billing.stripe import gateway
from core.billing.stripe.gateway import Door
from core.billing.stripe.reporting.run import report
from core.db.connect import connect
from core.db.embedded import start
from core.db.migrate import upgrade
from core.secret import Secret
from sandbox.clock import WorldClock
from sandbox.remote import RemoteStripe, world_process
from tests.bench.charged import charge_everybody

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

NOW = datetime(2026, 3, 10, 1, tzinfo=UTC)
SIZES = (1_000, 10_000)
STRIPE_ALLOWS = 100
MEMORY_BOUND = 1.15
"""Of 10,000 accounts against 1,000: the rows of a batch, and what Python keeps."""
LATE_BOUND = 1.1
"""Against accounts ÷ the rate that we keep to: what the database and the rest may add."""


@dataclass(frozen=True)
class Told:
    """What one run did, and took."""

    accepted: int
    again: int
    seconds: float
    peak_mib: float


@pytest.fixture
def stripe() -> Iterator[RemoteStripe]:
    world = ("--stripe", "--clusters", "1", "--namespaces", "1", "--now", NOW.isoformat())
    with world_process(*world) as remote:
        yield remote.stripe


def tell(url: str, stripe_url: str, key: str) -> Told:
    """In a process of its own: what the job does each hour."""
    began = perf_counter()
    with (
        connect(url, name="bench") as connection,
        patch.object(gateway, "RATE_SANDBOX", gateway.RATE_LIVE),
    ):
        done = asyncio.run(report(connection, Door(stripe_url, Secret(key)), WorldClock(NOW)))
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Told(done.sent.accepted, done.sent.again, perf_counter() - began, peak_mib)


def test_ten_thousand_accounts_are_told_within_the_limits(stripe: RemoteStripe) -> None:
    found: dict[int, Told] = {}
    with tempfile.TemporaryDirectory() as folder, start(Path(folder) / "postgres") as server:
        upgrade(server.url)
        with connect(server.url, name="bench") as connection:
            meter = _set_up(connection, stripe)
            for size in SIZES:
                stripe.set(requests_per_s=None)
                _add_accounts(connection, stripe, size - sum(found), meter)
                charge_everybody(connection, NOW)
                stripe.set(requests_per_s=STRIPE_ALLOWS)
                spawn = multiprocessing.get_context("spawn")
                with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool:
                    found[size] = pool.submit(tell, server.url, stripe.url, stripe.api_key).result()
    _show(found)
    small, large = (found[size] for size in SIZES)
    assert [each.accepted for each in found.values()] == [*SIZES]
    assert [each.again for each in found.values()] == [0, 0]
    assert large.peak_mib <= small.peak_mib * MEMORY_BOUND
    assert large.seconds <= SIZES[1] / gateway.RATE_LIVE * LATE_BOUND


def _set_up(connection: "psycopg.Connection[tuple[object, ...]]", stripe: RemoteStripe) -> str:
    with httpx.Client(base_url=stripe.url, auth=(stripe.api_key, ""), trust_env=False) as http:
        form = {
            "display_name": "Usage",
            "event_name": "hopsmeter_daily",
            "default_aggregation[formula]": "sum",
            "event_time_window": "day",
        }
        meter = str(http.post("/v1/billing/meters", data=form).raise_for_status().json()["id"])
    connection.execute(
        "INSERT INTO hopsmeter.stripe_meters (kind, meter_id, event_name, product_id)"
        " VALUES ('daily', %s, 'hopsmeter_daily', 'prod_bench')",
        [meter],
    )
    return meter


def _add_accounts(
    connection: "psycopg.Connection[tuple[object, ...]]",
    stripe: RemoteStripe,
    count: int,
    meter: str,
) -> None:
    with httpx.Client(base_url=stripe.url, auth=(stripe.api_key, ""), trust_env=False) as http:
        customers = [
            http.post("/v1/customers", data={"name": "bench"}).raise_for_status().json()["id"]
            for _ in range(count)
        ]
    with connection.transaction():
        connection.execute(
            "INSERT INTO hopsmeter.users (id, email, currency, stripe_customer_id,"
            " stripe_subscription_id) SELECT 'bench|' || c, c || '@example.com', 'USD', c, 'sub_' || c"
            " FROM unnest(%s::text[]) c",
            [customers],
        )
        connection.execute(
            "INSERT INTO hopsmeter.stripe_accounts (account_no, meter, billed_from)"
            " SELECT no, 'daily', %s FROM hopsmeter.users ON CONFLICT DO NOTHING",
            [NOW - timedelta(days=5)],
        )
    connection.execute("ANALYZE")


def _show(found: dict[int, Told]) -> None:
    lines = [
        "| accounts | seconds | a second | tried again | peak MiB |",
        "|---:|---:|---:|---:|---:|",
        *(
            f"| {size:,} | {told.seconds:.1f} | {told.accepted / told.seconds:.1f} | {told.again}"
            f" | {told.peak_mib:.1f} |"
            for size, told in found.items()
        ),
    ]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
