"""Proving one month of the books inside a year of 17.5 million allocations: under a minute, and flat."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import psycopg
import pytest

from core.books.checks import check_books
from core.clock import DAY, HOUR, month_bounds
from core.db.connect import connect
from core.db.embedded import start
from core.db.migrate import upgrade
from tests.bench.year import NOW, WITH_ANSWERS, Year

pytestmark = pytest.mark.bench

BOUND_S = 60.0
FLAT = 1.3
"""The slowest month against the fastest, by the hour: months have 28 to 31 days."""

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """It need not be durable: a proof writes nothing."""
    with (
        tempfile.TemporaryDirectory() as folder,
        start(Path(folder) / "postgres", durable=False) as running,
    ):
        upgrade(running.url)
        yield running.url


def test_a_month_of_a_year_is_proved_within_a_minute(server: str) -> None:
    with connect(server, name="bench") as connection:
        connection.execute("SET statement_timeout = '10min'")
        year = Year(connection)
        year.build()
        kept = {month: _seconds(connection, month) for month in WITH_ANSWERS}
        for month in WITH_ANSWERS:
            year.drop_answers(month)
        dropped = {month: _seconds(connection, month) for month in WITH_ANSWERS}
    _show(kept, dropped)
    assert max(*kept.values(), *dropped.values()) < BOUND_S
    assert _spread(kept) <= FLAT
    assert _spread(dropped) <= FLAT


def _seconds(connection: Connection, month: str) -> float:
    began = perf_counter()
    lines = check_books(connection, NOW, month=month)
    taken = perf_counter() - began
    assert [line for line in lines if not line.ok] == []
    return taken


def _hours(month: str) -> int:
    first, after = month_bounds(month)
    return (after - first).days * (DAY // HOUR)


def _spread(seconds: dict[str, float]) -> float:
    by_hour = [taken / _hours(month) for month, taken in seconds.items()]
    return max(by_hour) / min(by_hour)


def _show(kept: dict[str, float], dropped: dict[str, float]) -> None:
    lines = [
        "",
        "| month | hours | with raw answers, s | without, s | bound |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {month} | {_hours(month)} | {taken:.1f} | {dropped[month]:.1f} | {BOUND_S:g} |"
            for month, taken in kept.items()
        ),
        (
            f"| slowest to fastest, by the hour | | {_spread(kept):.2f} | {_spread(dropped):.2f}"
            f" | {FLAT} |"
        ),
        "",
    ]
    sys.stdout.write("\n".join(lines))
