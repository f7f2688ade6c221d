"""A year of a site, as its own programs would leave it: 20 clusters × 100 namespaces × 8,760 hours.

The hours of the first day are stored by the real store and posted by the real posting, one by one; the
second day has the same allocations, also posted. From then on every day is the same: the other days of
the month repeat the second one in each table, and the months after it the first month, as many days as
they have. Nothing here says what the books should be: the proof does.
"""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import zstandard

from core.billing.posting.post import post_due
from core.clock import DAY, HOUR, day_start, month_bounds
from core.db.queries import queries_beside
from core.metering.attribution import Attribution
from core.metering.retention import prepare_months
from tests.bench.bodies import of_hour, template
from tests.bench.fleet import FIRST, Fleet, TeamAttribution

CLUSTERS, NAMESPACES, DAYS = 20, 100, 365
MONTHS = tuple(f"{FIRST + 31 * DAY * number:%Y-%m}" for number in range(12))
WITH_ANSWERS = (MONTHS[0], MONTHS[5], MONTHS[11])
"""Months whose raw answers are there; a check reads none of another month's."""
NOW = FIRST + (DAYS + 2) * DAY

_SQL = queries_beside(__file__)
_POSTED_AFTER = timedelta(minutes=70)
_TABLES = (
    "allocations",
    "windows",
    "cluster_days",
    "usage_daily",
    "cost_daily",
    "included_used",
    "postings",
    "posted_hours",
    "entries",
    "draws",
)

Connection = psycopg.Connection[Any]


class OwnAccounts(TeamAttribution):
    """Everybody pays for himself, as line 2 of the proof wants it while there are no teams."""

    _resolve = Attribution._resolve


class Year:
    """The year, in the empty database that `connection` is open on."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.templates = [
            [template(NAMESPACES, cluster * 24 + hour) for cluster in range(CLUSTERS)]
            for hour in range(24)
        ]
        self.fleet = Fleet(connection, "year", self.templates[0])
        self.fleet.attribution = OwnAccounts()
        for name in ("add_plans", "add_versions", "assign_plans"):
            connection.execute(_SQL[name], {"since": FIRST})
        connection.execute("UPDATE hopsmeter.ownership_epoch SET epoch = epoch + 1")

    def build(self) -> None:
        self._first_day()
        self._second_day()
        self._first_month()
        ids = self._entries_since(FIRST)
        for number, month in enumerate(MONTHS[1:], 1):
            self._another_month(month, number * ids)
        for name in ("balance", "draw_down", "go_on_after"):
            self.connection.execute(_SQL[name])
        for (statement,) in self.connection.execute(_SQL["tables"], {}).fetchall():
            self.connection.execute(statement)

    def drop_answers(self, month: str) -> None:
        """Drop a month's raw answers, as retention does once they are past their time."""
        first, _ = month_bounds(month)
        self.connection.execute("SELECT hopsmeter.drop_raw_answers(%s)", [day_start(first)])

    def _first_day(self) -> None:
        for number in range(24):
            self.fleet.bodies = self.templates[number]
            self.fleet.next_hour()
            self.fleet.store(raw=True)
            self.fleet.claim_again()  # a day later, the same answer: settled
            self.fleet.same_again()
            post_due(self.connection, self.fleet.hour + _POSTED_AFTER)

    def _second_day(self) -> None:
        """The first day's rows again, posted hour by hour; nothing is free any more."""
        since = FIRST + DAY
        values = _again(FIRST, DAY, since, posted=False)
        self.connection.execute(_SQL["repeat_allocations"], values)
        self._keep_answers(since, since + DAY)
        for number in range(24):
            hour = {"since": FIRST + number * HOUR, "until": FIRST + (number + 1) * HOUR}
            self.connection.execute(_SQL["repeat_windows"], {**values, **hour})
            post_due(self.connection, since + number * HOUR + _POSTED_AFTER)

    def _first_month(self) -> None:
        """Its other days are as the second one."""
        second, third = FIRST + DAY, FIRST + 2 * DAY
        until = day_start(month_bounds(MONTHS[0])[1])
        ids = self._entries_since(second)
        self._keep_answers(third, until)
        for number in range((until - third) // DAY):
            self._repeat(second, DAY, third + number * DAY, (number + 1) * ids)

    def _another_month(self, month: str, ids: int) -> None:
        since, until = map(day_start, month_bounds(month))
        with self.connection.transaction():  # into a table that is new in it: nothing is logged
            prepare_months(self.connection, since)
            if month in WITH_ANSWERS:
                self._keep_answers(since, until)
            self._repeat(FIRST, until - since, since, ids)

    def _repeat(self, source: datetime, length: timedelta, since: datetime, ids: int) -> None:
        values = {**_again(source, length, since, posted=True), "ids": ids}
        for name in _TABLES:
            self.connection.execute(_SQL[f"repeat_{name}"], values)

    def _entries_since(self, since: datetime) -> int:
        """Return how many numbers of entries the postings of these days took."""
        row = self.connection.execute(_SQL["posted_ids"], {"since": since.date()}).fetchone()
        assert row
        return int(row[1] - row[0] + 1)

    def _keep_answers(self, since: datetime, until: datetime) -> None:
        copy = (
            "COPY hopsmeter.raw_answers (hour, cluster_id, sha256, size_bytes, body, asked_at,"
            " verdict) FROM STDIN (FORMAT BINARY)"
        )
        with self.connection.cursor() as cursor, cursor.copy(copy) as sink:
            sink.set_types(["timestamptz", "int4", "bytea", "int4", "bytea", "timestamptz", "text"])
            for row in self._answers(since, until):
                sink.write_row(row)

    def _answers(self, since: datetime, until: datetime) -> Iterator[tuple[Any, ...]]:
        packer = zstandard.ZstdCompressor(level=1)
        for number in range((until - since) // HOUR):
            hour = since + number * HOUR
            asked_at = hour + _POSTED_AFTER
            for cluster_id, text in zip(self.fleet.ids, self.templates[number % 24], strict=True):
                body = of_hour(text, hour)
                sha256 = hashlib.sha256(body).digest()
                packed = packer.compress(body)
                yield hour, cluster_id, sha256, len(body), packed, asked_at, "stored"


def _again(source: datetime, length: timedelta, since: datetime, *, posted: bool) -> dict[str, Any]:
    """Return what the statements ask for: `length` from `source` on, once more from `since` on."""
    return {
        "shift": since - source,
        "days": (since - source).days,
        "since": source,
        "until": source + length,
        "first": source.date(),
        "after": (source + length).date(),
        "posted": posted,
    }
