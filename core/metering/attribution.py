"""Whose each row of an answer is, and what prices it, as the periods say at that hour; kept while
nothing changes.

A store holds the advisory lock ATTRIBUTION shared, so the epoch it reads cannot pass while it
runs; what was resolved under the same epoch, for an hour in which no period begins or ends, is
used again without a query.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import psycopg

from core.clock import day_of
from core.db.queries import queries_beside
from core.metering.hours import Claim
from core.metering.pack import Attributed
from core.opencost.answer import SYSTEM, UNMAPPED, USER
from core.opencost.rows import special_rows

_SQL = queries_beside(__file__)
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(9999, 1, 1, tzinfo=UTC)
DEFAULT_PLAN = 0
"""The number of no account: under it stands the version that prices all without a plan of their own."""
CLUSTERS_MAX = 5_000
"""Clusters whose last answer is remembered; beyond it the oldest is resolved again."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, eq=False)
class _Resolved:
    epoch: int
    since: datetime
    until: datetime
    names: list[str]
    whose: Attributed
    seen_day: date

    def holds(self, hour: datetime, epoch: int) -> bool:
        return self.epoch == epoch and self.since <= hour < self.until


class Attribution:
    """Resolves answers to owners; one per storing connection, never shared between threads."""

    def __init__(self) -> None:
        self._ids: dict[int, dict[str, int]] = {}
        self._resolved: dict[int, _Resolved] = {}

    def forget(self) -> None:
        """Drop everything: after a rollback, what was learned in it may not exist."""
        self._ids.clear()
        self._resolved.clear()

    def known(self, claim: Claim, names: list[str], first: int, epoch: int) -> Attributed | None:
        """Return whose the rows `first` and on of an answer are, where that takes no question.

        A row's owner depends on its name and hour alone: so if these rows are called what those at
        this place were called last, it does not matter how the answer goes on.
        """
        known = self._resolved.get(claim.cluster_id)
        if known is None or not known.holds(claim.hour, epoch):
            return None
        rows = slice(first, first + len(names))
        if known.seen_day != day_of(claim.hour) or known.names[rows] != names:
            return None
        return known.whose.part(rows)

    def of(self, connection: Connection, claim: Claim, names: list[str], epoch: int) -> Attributed:
        """Return whose the rows of an answer are in its hour, under the lock ATTRIBUTION."""
        cluster_id, hour = claim.cluster_id, claim.hour
        known = self._resolved.get(cluster_id)
        if known is None or not known.holds(hour, epoch) or known.names != names:
            known = self._resolve(connection, cluster_id, hour, names, epoch)
        elif known.seen_day == day_of(hour):
            return known.whose
        ids = known.whose.namespace_ids.tolist()
        connection.execute(_SQL["seen_namespaces"], {"ids": ids, "hour": hour})
        self._remember(cluster_id, known, day_of(hour))
        return known.whose

    def _remember(self, cluster_id: int, known: _Resolved, day: date) -> None:
        if len(self._resolved) >= CLUSTERS_MAX:
            self._resolved.pop(next(iter(self._resolved)))
        self._resolved[cluster_id] = _Resolved(
            known.epoch, known.since, known.until, known.names, known.whose, day
        )

    def _resolve(
        self, connection: Connection, cluster_id: int, hour: datetime, names: list[str], epoch: int
    ) -> _Resolved:
        at = {"cluster_id": cluster_id, "hour": hour}
        ids = self._numbers(connection, cluster_id, hour, names)
        owners = dict(connection.execute(_SQL["owners_at"], at).fetchall())
        versions = dict(connection.execute(_SQL["plan_versions_at"], at).fetchall())
        span = connection.execute(_SQL["attribution_span"], at).fetchone()
        assert span is not None
        system, since, until = span
        whose = _attribute(names, ids, owners, frozenset(system), versions)
        return _Resolved(epoch, since or _BEGINNING, until or _END, names, whose, day_of(hour))

    def _numbers(
        self, connection: Connection, cluster_id: int, hour: datetime, names: list[str]
    ) -> list[int]:
        known = self._ids.get(cluster_id)
        if known is None or not known.keys() >= set(names):
            at = {"cluster_id": cluster_id}
            known = dict(connection.execute(_SQL["known_namespaces"], at).fetchall())
            new = [name for name in names if name not in known]
            if new:
                values = {**at, "names": new, "hour": hour}
                connection.execute(_SQL["add_namespaces"], values)
                known = dict(connection.execute(_SQL["known_namespaces"], at).fetchall())
            self._ids[cluster_id] = known
        return [known[name] for name in names]


def _attribute(
    names: list[str],
    ids: list[int],
    owners: dict[str, int],
    system: frozenset[str],
    plan_versions: dict[int, int],
) -> Attributed:
    """Give each row its kind and owner: OpenCost's own rows, then system, then whoever owns it.

    `plan_versions` has those of accounts, and under 0 that of all who have none of their own.
    """
    kinds = special_rows(names)
    users = np.zeros(len(ids), np.int32)
    versions = np.zeros(len(ids), np.int32)
    for row, name in enumerate(names):
        if kinds[row]:
            continue
        if name in system:
            kinds[row] = SYSTEM
            continue
        user = owners.get(name)
        kinds[row] = UNMAPPED if user is None else USER
        if user is not None:
            users[row] = user
            versions[row] = plan_versions.get(user) or plan_versions[DEFAULT_PLAN]
    # A user's account is the user himself until memberships come (part 5).
    return Attributed(np.array(ids, np.int32), kinds, users, users, versions)
