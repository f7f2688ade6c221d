"""No change of an owner and no re-read walks through all allocations: their key is (hour, number).

There is no other index on allocations, and a planner without skip scans (PostgreSQL 15 to 17) has
nothing for a namespace without its hours. A year of many clusters must not cost a minute.
"""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from core.db.queries import queries_beside
from core.metering import ownership, reattribute, revise
from tests.core.metering.site import FIRST, Begun, Site, hour

HOURS = 24 * 40
CLUSTERS, NAMESPACES = 10, 8
SPAN = {"cluster_id": 4, "since": "-infinity", "until": "infinity", "why": "owner"}
AT = {"cluster_id": 4, "hour": hour(7)}
_SQL = queries_beside(ownership.__file__)
QUESTIONS: dict[str, tuple[Callable[[], str], dict[str, Any]]] = {
    "the first hour that is nobody's": (
        lambda: _SQL["first_unowned_hour"],
        {"cluster_id": 4, "namespace": "ns-3"},
    ),
    "a new owner from the first hour on": (
        lambda: reattribute._REATTRIBUTE,
        SPAN | {"names": ["ns-3"]},
    ),
    "a new owner of this month": (
        lambda: reattribute._REATTRIBUTE,
        SPAN | {"names": ["ns-3"], "since": hour(HOURS - 100)},
    ),
    "whether anybody is charged by a plan": (
        lambda: _SQL["plan_charged"],
        {"plan_id": 1, "versions": [1]},
    ),
    "what a re-read would lose": (lambda: _SQL["shrinkage"], AT),
    "what a re-read no longer has": (lambda: _SQL["stage_vanished"], AT),
    "what a re-read changes": (lambda: revise._CHANGED, AT | {"raw_sha256": b"x"}),
    "what a re-read replaces": (
        lambda: revise._KEEP_REPLACED,
        AT | {"why": "restated", "raw_sha256": b"x"},
    ),
}


@pytest.mark.parametrize("what", QUESTIONS)
def test_a_question_about_a_namespace_goes_by_the_key(months: Site, what: str) -> None:
    query, values = QUESTIONS[what]
    with psycopg.ClientCursor(months.connection) as cursor:
        cursor.execute("EXPLAIN " + query(), values)
        plan = [str(row[0]) for row in cursor.fetchall()]
    walks = [
        line
        for line, below in pairwise([*plan, ""])
        if " on allocations_2026" in line and "Update on" not in line
        # A namespace in an hour, or one hour that is named: nothing else is little.
        if not ("Index" in line and re.search(r"\(hour = '|hour = .*namespace_id =", below))
    ]
    assert walks == [], "\n".join(plan)


FILL = """
SELECT ensure_partitions(month)
FROM generate_series(%(first)s, %(last)s, interval '1 month') month;
INSERT INTO collection_windows (cluster_id, hour, state, revision)
SELECT c.id, hour, 'settled', 1
FROM hopsworks_clusters c, generate_series(%(first)s, %(last)s, interval '1 hour') hour;
INSERT INTO namespaces (cluster_id, name, first_seen, last_seen)
SELECT c.id, 'ns-' || n, %(first)s, %(last)s
FROM hopsworks_clusters c, generate_series(1, %(namespaces)s) n;
INSERT INTO allocations
SELECT hour, n.id, n.cluster_id, 0, 0, 1, NULL, NULL, NULL,
       0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1
FROM generate_series(%(first)s, %(last)s, interval '1 hour') hour, namespaces n;
ANALYZE allocations, collection_windows, namespaces, hopsworks_clusters;
"""


@pytest.fixture
def months(begun: Begun) -> Iterator[Site]:
    with begun.after(filled) as (site, _):
        site.connection.execute(_SQL["staging"])
        yield site


def filled(site: Site) -> None:
    """Two months of ten clusters, as plain numbers."""
    for number in range(1, CLUSTERS + 1):
        site.cluster(f"eu-{number}")
    values = {"first": FIRST, "last": hour(HOURS - 1), "namespaces": NAMESPACES}
    with psycopg.ClientCursor(site.connection) as cursor:
        cursor.execute(FILL, values)
