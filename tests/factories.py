"""Rows that are valid by default: a test says only what matters to it."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from core.clock import HOUR, day_of

Connection = psycopg.Connection[Any]

NOW = datetime(2026, 3, 3, 14, 13, 11, tzinfo=UTC)
"""What a frozen clock says; the newest closed hour is 13Z."""
SINCE = datetime(2026, 3, 1, tzinfo=UTC)
KINDS = {"unmapped": 0, "user": 1, "system": 2, "idle": 3, "unmounted": 4}


@dataclass(frozen=True)
class Cluster:
    id: int
    name: str


@dataclass(frozen=True)
class User:
    no: int
    id: str
    email: str


def _insert(connection: Connection, table: str, values: dict[str, Any], returning: str) -> Any:
    statement = sql.SQL("INSERT INTO hopsmeter.{} ({}) VALUES ({}) RETURNING {}").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(map(sql.Placeholder, values)),
        sql.Identifier(returning),
    )
    row = connection.execute(statement, values).fetchone()
    assert row is not None
    return row[0]


def add_cluster(connection: Connection, name: str = "eu-1", **changes: Any) -> Cluster:
    """Add a cluster that is active, answered just now, and is metered since SINCE."""
    values: dict[str, Any] = {
        "name": name,
        "api_url": f"https://{name}.example.test",
        "kubeconfig_sealed": b"sealed",
        "server_url": f"https://{name}.kube.example.test:6443",
        "system_namespaces": ["kube-system"],
        "cost_max_nano": 10**15,
        "cores_max": 10_000,
        "gpus_max": 1_000,
        "ram_max_bytes": 10**15,
        "metering_since": SINCE,
        "last_asked_at": NOW - timedelta(minutes=2),
        "last_answered_at": NOW - timedelta(minutes=2),
        "last_outcome": "1 hour collected",
        **changes,
    }
    return Cluster(_insert(connection, "hopsworks_clusters", values, "id"), name)


def add_user(connection: Connection, email: str = "anna@example.test", **changes: Any) -> User:
    """Add a user who pays for himself."""
    user_id = changes.pop("id", "auth0|" + email.split("@", maxsplit=1)[0].replace(" ", "-"))
    values = {"id": user_id, "email": email, **changes}
    return User(_insert(connection, "users", values, "no"), user_id, email)


def add_window(
    connection: Connection, cluster: Cluster, hour: datetime, state: str = "settled", **changes: Any
) -> None:
    """Add an hour's row in the ledger of hours; kept states get an answer's hash."""
    values: dict[str, Any] = {"cluster_id": cluster.id, "hour": hour, "state": state}
    if state in ("collected", "settled", "held"):
        seen = f"{cluster.name} {hour.isoformat()}".encode()
        values |= {
            "revision": 1,
            "raw_sha256": hashlib.sha256(seen).digest(),
            "collected_at": hour + HOUR + timedelta(minutes=11),
        }
    _insert(connection, "collection_windows", values | changes, "hour")


def add_namespace(connection: Connection, cluster: Cluster, name: str = "ml-train") -> int:
    """Return the namespace's number, added where it is new."""
    found = connection.execute(
        "SELECT id FROM hopsmeter.namespaces WHERE cluster_id = %s AND name = %s",
        [cluster.id, name],
    ).fetchone()
    if found is not None:
        return int(found[0])
    values = {"cluster_id": cluster.id, "name": name, "first_seen": SINCE, "last_seen": SINCE}
    return int(_insert(connection, "namespaces", values, "id"))


def add_allocation(
    connection: Connection,
    cluster: Cluster,
    hour: datetime,
    namespace: str = "ml-train",
    *,
    user: User | None = None,
    kind: str = "",
    cost_nano: int = 10**9,
    **changes: Any,
) -> None:
    """Add what a namespace cost in an hour, half CPU and half memory, on a day that is open.

    Its hour's row must exist; its total grows with it.
    """
    kind = kind or ("user" if user else "unmapped")
    values: dict[str, Any] = dict.fromkeys(_FIGURES, 0) | {
        "hour": hour,
        "namespace_id": add_namespace(connection, cluster, namespace),
        "cluster_id": cluster.id,
        "kind": KINDS[kind],
        "flags": 0,
        "revision": 1,
        "user_no": user.no if user else None,
        "account_no": user.no if user else None,
        "plan_version_id": 1 if user else None,
        "cpu_nano": cost_nano // 2,
        "ram_nano": cost_nano - cost_nano // 2,
        "total_nano": cost_nano,
        "cpu_core_hours_micro": 2_000_000,
        "ram_byte_hours": 8 * 2**30,
        "minutes_micro": 60_000_000,
        "efficiency_ppm": 420_000,
        **changes,
    }
    connection.execute("SELECT hopsmeter.ensure_partitions(%s)", [hour])
    _insert(connection, "allocations", values, "hour")
    connection.execute(
        "UPDATE hopsmeter.collection_windows SET total_nano = total_nano + %s,"
        " row_count = row_count + 1 WHERE cluster_id = %s AND hour = %s",
        [values["total_nano"], cluster.id, hour],
    )
    connection.execute(
        "INSERT INTO hopsmeter.cluster_days (cluster_id, day) VALUES (%s, %s)"
        " ON CONFLICT DO NOTHING",
        [cluster.id, day_of(hour)],
    )


_FIGURES = (
    *(
        f"{kind}_nano"
        for kind in (
            "cpu",
            "gpu",
            "ram",
            "pv",
            "network",
            "load_balancer",
            "shared",
            "external",
            "adjustment",
            "rounding",
            "total",
        )
    ),
    "cpu_core_hours_micro",
    "gpu_hours_micro",
    "ram_byte_hours",
    "pv_byte_hours",
    "network_transfer_bytes",
    "network_receive_bytes",
    "minutes_micro",
)


def add_daemon(connection: Connection, name: str = "host-1", **changes: Any) -> None:
    """Add a daemon's heartbeat of four seconds ago."""
    values = {
        "name": name,
        "pid": 4242,
        "version": "0.1.0",
        "started_at": NOW - timedelta(hours=3),
        "seen_at": NOW - timedelta(seconds=4),
        **changes,
    }
    _insert(connection, "daemons", values, "name")


def close_day(connection: Connection, cluster: Cluster, hour: datetime) -> None:
    """Write the hour's day down and close it, as posting does once a day is over."""
    day = day_of(hour)
    connection.execute(
        "INSERT INTO hopsmeter.cost_daily SELECT * FROM hopsmeter.cost_of_day(%s, ARRAY[%s::int])",
        [day, cluster.id],
    )
    connection.execute(
        "UPDATE hopsmeter.cluster_days SET closed_at = now() WHERE cluster_id = %s AND day = %s",
        [cluster.id, day],
    )
