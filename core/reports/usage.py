"""What users used in some days, from `usage_daily`: what is posted, to the last stored hour."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg.rows import class_row

_USAGE = """
SELECT u.id AS user_id, u.email, a.id AS account_id, c.name AS cluster, c.currency,
       count(DISTINCT d.date)::int AS days,
       sum(d.opencost_cpu_nano)::bigint AS cpu_nano, sum(d.opencost_gpu_nano)::bigint AS gpu_nano,
       sum(d.opencost_ram_nano)::bigint AS ram_nano, sum(d.opencost_pv_nano)::bigint AS pv_nano,
       sum(d.opencost_network_nano)::bigint AS network_nano,
       sum(d.opencost_other_nano)::bigint AS other_nano,
       sum(d.opencost_total_nano)::bigint AS total_nano, sum(d.charge_nano)::bigint AS charge_nano,
       sum(d.charge_nano - d.opencost_total_nano)::bigint AS margin_nano
FROM hopsmeter.usage_daily d
JOIN hopsmeter.users u ON u.no = d.user_no
JOIN hopsmeter.users a ON a.no = d.account_no
JOIN hopsmeter.hopsworks_clusters c ON c.id = d.cluster_id
WHERE d.date >= %(first)s AND d.date < %(after)s
  AND (%(user_id)s::text IS NULL OR u.id = %(user_id)s)
GROUP BY u.id, u.email, a.id, c.name, c.currency
ORDER BY sum(d.charge_nano) DESC, u.id, c.name
"""


@dataclass(frozen=True)
class Usage:
    """One user's use of one cluster over some days, and who pays; never two currencies in one."""

    user_id: str
    email: str
    account_id: str
    cluster: str
    currency: str
    days: int
    cpu_nano: int
    gpu_nano: int
    ram_nano: int
    pv_nano: int
    network_nano: int
    other_nano: int
    total_nano: int
    charge_nano: int
    margin_nano: int
    """Charge less cost."""


def usage(
    connection: psycopg.Connection[Any], first: date, after: date, *, user_id: str | None = None
) -> tuple[Usage, ...]:
    """Return use in [first, after) by user, account and cluster, dearest first."""
    values = {"first": first, "after": after, "user_id": user_id}
    with connection.cursor(row_factory=class_row(Usage)) as cursor:
        return tuple(cursor.execute(_USAGE, values))


def hours_unposted(connection: psycopg.Connection[Any], first: date, after: date) -> int:
    """Return how many stored hours of [first, after) are not in `usage_daily` yet."""
    row = connection.execute(
        "SELECT count(*) FROM hopsmeter.collection_windows WHERE stored_no <> posted_no"
        " AND hour >= %(first)s::timestamp AT TIME ZONE 'UTC'"
        " AND hour < %(after)s::timestamp AT TIME ZONE 'UTC'",
        {"first": first, "after": after},
    ).fetchone()
    assert row is not None
    return int(row[0])
