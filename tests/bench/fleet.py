"""Clusters of a benchmark: hours opened, claimed, answered and stored, round after round."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import numpy as np
import psycopg
import zstandard

from core.billing.posting import post
from core.clock import HOUR
from core.db.queries import queries_beside
from core.metering import windows
from core.metering.attribution import Attribution
from core.metering.hours import Asked, Claim, RawAnswer, Stored
from core.metering.policy import Policy
from core.metering.store import store_answers
from core.opencost.answer import Limits
from tests.bench.bodies import of_hour

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
NOW = FIRST + timedelta(days=60)
POLICY = Policy()
LIMITS = Limits(2**62, 2**31 - 1, 2**31 - 1, 2**62, "kube-system", "default-cluster")
"""Of clusters whose source is known, as it is from the first stored hour on."""

Connection = psycopg.Connection[Any]
_POSTING = queries_beside(post.__file__)


class Fleet:
    """Clusters of one way of doing it, whose hours go on from round to round.

    Each way has a day of its own: the clusters of one installation share their hours, those of
    several ways of doing the same do not.
    """

    def __init__(
        self, connection: Connection, name: str, bodies: list[bytes], day: int = 0
    ) -> None:
        self.connection, self.bodies = connection, bodies
        self.attribution = TeamAttribution()
        self.hour = FIRST + timedelta(days=day) - HOUR
        self.ids = [add_cluster(connection, f"{name}-{each}") for each in range(len(bodies))]
        _add_owners(connection, self.ids, bodies)
        self.claims: list[Claim] = []
        self.answers: list[bytes] = []

    def next_hour(self) -> None:
        """Open and claim the next hour of each cluster, and write its answers."""
        self.hour += HOUR
        connection = self.connection
        backend = (connection.info.backend_pid, "bench")
        self.claims = []
        for cluster_id in self.ids:
            windows.open_span(connection, cluster_id, self.hour, self.hour)
            self.claims += windows.claim(
                connection, cluster_id, NOW, policy=POLICY, store_backend=backend
            )
        self.answers = [of_hour(body, self.hour) for body in self.bodies]

    def claim_again(self) -> None:
        self.connection.execute(
            "UPDATE hopsmeter.collection_windows SET next_try_at = %s"
            " WHERE cluster_id = ANY (%s) AND hour = %s",
            [NOW, self.ids, self.hour],
        )
        backend = (self.connection.info.backend_pid, "bench")
        self.claims = [
            claim
            for cluster_id in self.ids
            for claim in windows.claim(
                self.connection, cluster_id, NOW, policy=POLICY, store_backend=backend
            )
        ]

    def store(self, *, raw: bool) -> None:
        self._store(
            [
                Asked(claim, body, LIMITS, _raw(body, kept=raw))
                for claim, body in zip(self.claims, self.answers, strict=True)
            ]
        )

    def store_apart(self) -> None:
        """As `store`, but each cluster in a commit of its own."""
        for claim, body in zip(self.claims, self.answers, strict=True):
            self._store([Asked(claim, body, LIMITS, _raw(body, kept=True))])

    def _store(self, asked: list[Asked]) -> None:
        """As the daemon's writer does."""
        came = store_answers(
            self.connection, asked, attribution=self.attribution, policy=POLICY, now=NOW
        )
        outcomes = {each.outcome for each in came.values() if isinstance(each, Stored)}
        assert (len(came), outcomes) == (len(asked), {"stored"})

    def forget_posting(self) -> None:
        """So that another way's posting does not find the hours that this one only stored."""
        self.connection.execute(
            "UPDATE hopsmeter.collection_windows SET posted_no = stored_no"
            " WHERE cluster_id = ANY (%s) AND stored_no <> posted_no",
            [self.ids],
        )

    def post(self) -> None:
        done = post.post_due(self.connection, FIRST)
        assert done.rows
        assert done.entries

    def post_daily(self) -> None:
        """As `post`, without the ledger."""
        with patch.object(post, "enter_changes", _enter_nothing):
            assert post.post_due(self.connection, FIRST).rows

    def same_again(self) -> None:
        hashes = [hashlib.sha256(body).digest() for body in self.answers]
        assert hashes == [claim.raw_sha256 for claim in self.claims]
        windows.unchanged(self.connection, self.claims, NOW, POLICY)


def _enter_nothing(connection: Connection, _: object) -> int:
    connection.execute(_POSTING["plan_as_usual"])
    return 0


def _raw(body: bytes, *, kept: bool) -> RawAnswer:
    if not kept:
        return RawAnswer(bytes(32), len(body), None, NOW)
    packed = zstandard.ZstdCompressor(level=1).compress(body)
    return RawAnswer(hashlib.sha256(body).digest(), len(body), packed, NOW)


def add_cluster(connection: Connection, name: str, since: datetime = FIRST) -> int:
    row = connection.execute(
        "INSERT INTO hopsmeter.hopsworks_clusters (name, api_url, kubeconfig_sealed, server_url,"
        " system_namespaces, cost_max_nano, cores_max, gpus_max, ram_max_bytes, metering_since)"
        " VALUES (%(name)s, 'https://bench', ''::bytea, %(name)s, '{kube-system}', 1000000000000000,"
        " 10000, 10000, 1125899906842624, %(since)s) RETURNING id",
        {"name": name, "since": since},
    ).fetchone()
    assert row
    return int(row[0])


USERS = 6_666
TEAM = 4
"""Users of one account, as where the bounds come from: 20,000 rows of 6,666 users, 1,666 accounts."""
LOT_NANO = 10**15


def _add_owners(connection: Connection, ids: list[int], bodies: list[bytes]) -> None:
    """A user for every three namespaces, and one namespace in ten that is nobody's."""
    _add_accounts(connection)
    for place, (cluster_id, body) in enumerate(zip(ids, bodies, strict=True)):
        count = body.count(b'"totalCost"')
        connection.execute(
            "INSERT INTO hopsmeter.user_projects"
            " (cluster_id, namespace, user_no, valid, created_by)"
            " SELECT %s, 'project-' || lpad(g::text, 5, '0'), u.no, tstzrange(%s, NULL), 'bench'"
            " FROM generate_series(0, %s) g"
            " JOIN hopsmeter.users u ON u.id = 'bench|' || (%s + g / 3) %% %s"
            " WHERE g %% 10 <> 0",
            [cluster_id, FIRST, count, place * (1 + count // 3), USERS],
        )
    connection.execute("UPDATE hopsmeter.ownership_epoch SET epoch = epoch + 1")
    connection.execute("ANALYZE hopsmeter.user_projects")


class TeamAttribution(Attribution):
    """As the daemon's, with teams: a member's account is his owner's (in the product from part 5)."""

    def _resolve(self, *what: Any) -> Any:
        found = super()._resolve(*what)
        whose = found.whose
        owners = np.where(whose.user_nos > 0, (whose.user_nos - 1) // TEAM * TEAM + 1, 0)
        return replace(found, whose=replace(whose, account_nos=owners.astype(np.int32)))


def _add_accounts(connection: Connection) -> None:
    """A third pays afterwards, a third ahead and a third by credits first, from two lots each."""
    if connection.execute("SELECT 1 FROM hopsmeter.users LIMIT 1").fetchone():
        return
    connection.execute(
        "INSERT INTO hopsmeter.users (id, email, currency)"
        " SELECT 'bench|' || g, g || '@example.com', 'USD' FROM generate_series(0, %s) g",
        [USERS - 1],
    )
    connection.execute(
        "INSERT INTO hopsmeter.billing_modes (account_no, mode, valid, created_by)"
        " SELECT no, CASE no %% 3 WHEN 1 THEN 'prepaid' ELSE 'hybrid' END,"
        " daterange(%s, NULL), 'bench' FROM hopsmeter.users WHERE no %% 3 > 0",
        [FIRST.date()],
    )
    connection.execute(
        "SELECT count(hopsmeter.add_credits(no, 13::smallint, %s, 'lot ' || lot, %s, NULL,"
        " 50::smallint, NULL)) FROM hopsmeter.users, generate_series(1, 2) lot WHERE no %% 3 > 0",
        [LOT_NANO, FIRST.date()],
    )
    connection.execute("ANALYZE")
