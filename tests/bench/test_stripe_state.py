"""How long a round over accounts' state takes within Stripe's limits, and what it leaves to the others.

Stripe is the sandbox's, as a process of its own with the limits of a live account: 100 requests a second, 25
of them at one endpoint, meter events apart. The rounds run in a process of their own, so that its peak is its own;
beside the long one the same accounts are told to Stripe, as both jobs do at each full hour, and now and then one
is fetched as for a webhook.
"""

import asyncio
import concurrent.futures
import multiprocessing
import resource
import sys
import tempfile
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import httpx
import psycopg
import pytest

from core.billing.stripe import catalogue, gateway
from core.billing.stripe.gateway import Door, Gateway
from core.billing.stripe.reporting.run import report
from core.billing.stripe.state import Refreshed, fetch_account, refresh
from core.db.connect import connect
from core.db.embedded import start
from core.db.migrate import upgrade
from core.identity.principal import Principal
from core.secret import Secret
from sandbox.clock import WorldClock
from sandbox.remote import RemoteStripe, world_process
from tests.bench.charged import charge_everybody

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

NOW = datetime(2026, 3, 10, 1, tzinfo=UTC)
BEGAN = NOW - timedelta(days=5)
GRACE = timedelta(days=7)
SIZES = (200, 1_000)
QUESTIONS = 4
QUESTIONS_AT_ONE = 2
"""Of the four: invoices of late, and older ones that are open."""
MEMORY_BOUND = 1.1
LATE_BOUND = 2.0
"""Against what the rate at which one endpoint may be asked, and what that leaves to reporting, come to: eight
accounts go together, and nobody asks while they are written down."""
PROBE_EACH_S = 4.0
PROBE_BOUND_S = 2.0

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Round:
    """What one round did, and took; and beside it reporting, and the longest fetch for a webhook."""

    accounts: int
    fetched: int
    faults: int
    seconds: float
    cpu_s: float
    peak_mib: float
    told: int
    told_s: float
    longest_s: float


def fetch(url: str, stripe_url: str, key: str, size: int) -> Round:
    """In a process of its own: what the job does each hour, of so many accounts."""
    door = Door(stripe_url, Secret(key))
    over = threading.Event()
    with (
        connect(url, name="bench") as connection,
        patch.multiple(
            gateway,
            RATE_SANDBOX=gateway.RATE_LIVE,
            RATE_SANDBOX_ENDPOINT=gateway.RATE_ENDPOINT,
        ),
        concurrent.futures.ThreadPoolExecutor(2) as pool,
    ):
        connection.execute("UPDATE hopsmeter.stripe_accounts SET fetched_at = NULL")
        telling, probing = pool.submit(_tell, url, door), pool.submit(_probe, url, door, over)
        began = perf_counter()
        done = asyncio.run(_refresh(connection, door, size))
        took_s = perf_counter() - began
        over.set()
        told, told_s = telling.result()
        longest_s = probing.result()
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s, peak_mib = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    faults = len(done.faults)
    return Round(size, done.fetched, faults, took_s, cpu_s, peak_mib, told, told_s, longest_s)


async def _refresh(connection: Connection, door: Door, size: int) -> Refreshed:
    async with Gateway(door) as opened:
        return await refresh(connection, opened, NOW, GRACE, accounts_max=size)


def _tell(url: str, door: Door) -> tuple[int, float]:
    began = perf_counter()
    with connect(url, name="bench tells") as connection:
        done = asyncio.run(report(connection, door, WorldClock(NOW)))
    return done.sent.accepted, perf_counter() - began


def _probe(url: str, door: Door, over: threading.Event) -> float:
    """Fetch an account now and then, as a webhook has it fetched; return the longest, in seconds."""
    with connect(url, name="bench probes") as connection:
        row = connection.execute("SELECT max(stripe_customer_id) FROM hopsmeter.users").fetchone()
    assert row is not None

    async def one() -> float:
        began = perf_counter()
        async with Gateway(door) as opened:
            await fetch_account(opened, row[0], NOW)
        return perf_counter() - began

    longest_s = 0.0
    while not over.wait(PROBE_EACH_S):
        longest_s = max(longest_s, asyncio.run(one()))
    return longest_s


def test_a_round_over_accounts_keeps_to_the_limits_and_starves_nobody() -> None:
    world = ("--stripe", "--clusters", "1", "--namespaces", "1", "--now", BEGAN.isoformat())
    rounds: list[Round] = []
    with (
        world_process(*world) as remote,
        tempfile.TemporaryDirectory() as folder,
        start(Path(folder) / "postgres") as server,
    ):
        stripe = remote.stripe
        upgrade(server.url)
        with connect(server.url, name="bench") as connection:
            price = asyncio.run(_set_up(connection, stripe))
            _add_accounts(connection, stripe, SIZES[-1], price)
        remote.advance((NOW - BEGAN).total_seconds())
        stripe.catch_up()
        stripe.set(requests_per_s=100, requests_per_s_endpoint=25, meter_events_per_s=1_000)
        for size in SIZES:
            with connect(server.url, name="bench") as connection:
                charge_everybody(connection, NOW)
            spawn = multiprocessing.get_context("spawn")
            with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool:
                given = (server.url, stripe.url, stripe.api_key, size)
                rounds.append(pool.submit(fetch, *given).result())
    _show(rounds)
    small, large = rounds
    assert [(each.fetched, each.faults) for each in rounds] == [(size, 0) for size in SIZES]
    assert [each.told for each in rounds] == [SIZES[-1]] * 2
    assert large.peak_mib <= small.peak_mib * MEMORY_BOUND
    asked_s = SIZES[-1] * QUESTIONS_AT_ONE / gateway.RATE_ENDPOINT
    assert large.seconds <= asked_s * LATE_BOUND
    left = gateway.RATE_LIVE - QUESTIONS * gateway.RATE_ENDPOINT / QUESTIONS_AT_ONE
    assert large.told_s <= SIZES[-1] / left * LATE_BOUND
    assert large.longest_s <= PROBE_BOUND_S


async def _set_up(connection: Connection, stripe: RemoteStripe) -> str:
    """As `stripe setup` does; return the daily price."""
    async with Gateway(Door(stripe.url, Secret(stripe.api_key))) as opened:
        found = await catalogue.build(opened, connection, ["USD"], dry_run=False)
    admin = Principal("admin", "auth0|admin")
    with connection.transaction():
        catalogue.write_down(connection, admin, found, meter=None, why="bench")
    return found.prices["daily", "USD"]


def _add_accounts(connection: Connection, stripe: RemoteStripe, count: int, price: str) -> None:
    """Customers with a subscription, and the rows of who was linked."""
    made: list[tuple[str, str]] = []
    with httpx.Client(base_url=stripe.url, auth=(stripe.api_key, ""), trust_env=False) as http:
        for _ in range(count):
            customer = http.post("/v1/customers", data={"name": "bench"}).raise_for_status().json()
            form = {
                "customer": customer["id"],
                "items[0][price]": price,
                "billing_cycle_anchor_config[day_of_month]": "1",
                "billing_cycle_anchor_config[hour]": "0",
                "billing_cycle_anchor_config[minute]": "0",
                "billing_cycle_anchor_config[second]": "0",
            }
            began = http.post("/v1/subscriptions", data=form).raise_for_status().json()
            made.append((customer["id"], began["id"]))
    with connection.transaction():
        connection.execute(
            "INSERT INTO hopsmeter.users (id, email, currency, stripe_customer_id,"
            " stripe_subscription_id) SELECT 'bench|' || c, c || '@example.com', 'USD', c, s"
            " FROM unnest(%s::text[], %s::text[]) AS made (c, s)",
            [*map(list, zip(*made, strict=True))],
        )
        connection.execute(
            "INSERT INTO hopsmeter.stripe_accounts (account_no, meter, billed_from)"
            " SELECT no, 'daily', %s FROM hopsmeter.users",
            [BEGAN],
        )
    connection.execute("ANALYZE")


def _show(rounds: list[Round]) -> None:
    lines = [
        "| accounts | seconds | a second | CPU s | peak MiB | reporting beside it s | longest fetch s |",
        "|---:|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {each.accounts:,} | {each.seconds:.1f} | {each.fetched / each.seconds:.1f}"
            f" | {each.cpu_s:.1f} | {each.peak_mib:.1f} | {each.told_s:.1f} | {each.longest_s:.2f} |"
            for each in rounds
        ),
    ]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
