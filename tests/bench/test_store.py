"""Storing and posting an hour, against the least that any program would have to do.

Floor: msgspec decode of the same bytes into a Struct of the same fields, binary COPY of the same
rows into a bare table (no key, no partition), one commit. The server is durable (fsync on).
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from core.billing.posting.post import post_due
from core.clock import HOUR
from core.db.connect import connect
from core.db.embedded import start
from core.db.migrate import upgrade
from tests.bench.bodies import template
from tests.bench.fleet import Fleet
from tests.bench.harness import Race, Way, race

pytestmark = pytest.mark.bench

ROUNDS = 15
ROUNDS_OF_SMALL = 45
"""An hour of a small cluster takes milliseconds, and whatever else the machine does is a part of them."""
DAYS_APART = 2
"""From one way's hours to the next one's: as many as the rounds reach over."""

Connection = psycopg.Connection[Any]


class LeanRow(msgspec.Struct, gc=False, rename="camel"):
    """What the floor decodes: the same fields, without a reader's care."""

    minutes: float
    cpu_cost: float
    gpu_cost: float
    ram_cost: float
    pv_cost: float
    network_cost: float
    load_balancer_cost: float
    shared_cost: float
    external_cost: float
    cpu_cost_adjustment: float
    gpu_cost_adjustment: float
    ram_cost_adjustment: float
    pv_cost_adjustment: float
    network_cost_adjustment: float
    load_balancer_cost_adjustment: float
    total_cost: float
    cpu_core_hours: float
    gpu_hours: float
    ram_byte_hours: float
    pv_byte_hours: float
    network_transfer_bytes: float
    network_receive_bytes: float
    total_efficiency: float


class LeanAnswer(msgspec.Struct, gc=False):
    data: list[dict[str, LeanRow]]


_LEAN = msgspec.json.Decoder(LeanAnswer)
_TYPES = ["timestamptz", "int4", "int4", "int2", "int2", *["int4"] * 4, *["int8"] * 18, "int4"]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, start(Path(folder) / "postgres") as running:
        upgrade(running.url)
        yield running.url


class Floor:
    """Decode the same bytes, COPY the same rows into a table without anything, commit once."""

    def __init__(self, connection: Connection, fleet: Fleet) -> None:
        self.connection, self.fleet = connection, fleet
        connection.execute("CREATE TABLE IF NOT EXISTS bare (LIKE hopsmeter.allocations)")
        fleet.next_hour()
        fleet.store(raw=False)
        self.rows = connection.execute(
            "SELECT * FROM hopsmeter.allocations WHERE cluster_id = ANY (%s) AND hour = %s",
            [fleet.ids, fleet.hour],
        ).fetchall()

    def run(self) -> None:
        for body in self.fleet.answers:
            _LEAN.decode(body)
        copy = "COPY bare FROM STDIN (FORMAT BINARY)"
        with (
            self.connection.transaction(),
            self.connection.cursor() as cursor,
            cursor.copy(copy) as sink,
        ):
            sink.set_types(_TYPES)
            for row in self.rows:
                sink.write_row(row)


BOUNDS = {
    "store": 1.5,
    "store + raw": 2.5,
    "store + daily": 2.2,
    "store + raw + daily": 3.0,
    "store + daily + ledger": 2.7,
    "store + raw + daily + ledger": 3.7,
    "the same again": 0.7,
}


@pytest.mark.parametrize(("clusters", "namespaces"), [(1, 1_000), (1, 10_000), (200, 100)], ids=str)
def test_store_stays_near_the_floor(server: str, clusters: int, namespaces: int) -> None:
    with connect(server, name="bench") as connection:
        connection.execute("SET statement_timeout = '10min'")
        measured = _race(connection, clusters, namespaces)
    measured.show(BOUNDS)
    assert not measured.beyond(BOUNDS)


def _race(connection: Connection, clusters: int, namespaces: int) -> Race:
    bodies = [template(namespaces, seed) for seed in range(clusters)]
    size = f"{clusters}x{namespaces}"
    fleets = {
        name: Fleet(connection, f"{size}-{number}", bodies, day=DAYS_APART * number)
        for number, name in enumerate(["floor", *BOUNDS])
    }
    floor = Floor(connection, fleets["floor"])
    again = fleets["the same again"]
    again.next_hour()
    again.store(raw=True)
    for fleet in fleets.values():
        fleet.forget_posting()
    ways = [
        Way("floor", floor.run),
        *(
            Way(
                name,
                _doing(fleets[name], name),
                before=fleets[name].next_hour,
                after=fleets[name].forget_posting,
            )
            for name in list(BOUNDS)[:6]
        ),
        Way("the same again", again.same_again, before=again.claim_again),
    ]
    rounds = ROUNDS if clusters * namespaces > 1_000 else ROUNDS_OF_SMALL
    return race(f"one hour of {clusters} × {namespaces:,} namespaces", *ways, rounds=rounds)


def _doing(fleet: Fleet, name: str) -> Any:
    raw, daily, ledger = (word in name for word in ("raw", "daily", "ledger"))

    def run() -> None:
        fleet.store(raw=raw)
        if ledger:
            fleet.post()
        elif daily:
            fleet.post_daily()

    return run


def test_nothing_is_written_for_the_same_hours_again(server: str) -> None:
    """The bound above is only worth something if no fact and no daily row is touched."""
    with connect(server, name="bench") as connection:
        fleet = Fleet(connection, "untouched", [template(100, 1)])
        fleet.next_hour()
        fleet.store(raw=True)
        fleet.post()
        versions = _versions(connection)
        fleet.claim_again()
        fleet.same_again()
        assert post_due(connection, fleet.hour + HOUR).rows == 0
        assert _versions(connection) == versions


def _versions(connection: Connection) -> list[tuple[Any, ...]]:
    return [
        connection.execute(f"SELECT count(*), max(xmin::text::bigint) FROM {table}").fetchone()
        or ()
        for table in (
            "hopsmeter.allocations",
            "hopsmeter.allocation_history",
            "hopsmeter.usage_daily",
            "hopsmeter.cost_daily",
        )
    ]
