"""The books of a run by names: numbers that a database gives out differ from run to run."""

from collections import Counter
from typing import Any

import psycopg

from core.metering.pack import COLUMNS

Books = dict[str, Counter[tuple[Any, ...]]]

_NUMBERED = {
    "hour",
    "namespace_id",
    "cluster_id",
    "revision",
    "user_no",
    "account_no",
    "plan_version_id",
}
_FIGURES = ", ".join(f"a.{column}" for column in COLUMNS if column not in _NUMBERED)
_USAGE = ", ".join(
    f"d.opencost_{kind}_nano" for kind in ("cpu", "gpu", "ram", "pv", "network", "other", "total")
)
_COSTS = (
    "d.kind, d.hours, d.cpu_nano, d.gpu_nano, d.ram_nano, d.pv_nano, d.network_nano, d.other_nano,"
    " d.total_nano, d.charge_nano, d.first_hour, d.last_hour, d.cpu_core_hours_micro,"
    " d.gpu_hours_micro, d.ram_byte_hours, d.pv_byte_hours, d.used_weighted_nano"
)
_CLUSTER = "JOIN hopsworks_clusters c ON c.id = {0}.cluster_id"
_NAMED = "JOIN namespaces n ON n.id = {0}.namespace_id " + _CLUSTER
_OWNED = "LEFT JOIN users u ON u.no = {0}.user_no LEFT JOIN users p ON p.no = {0}.account_no"

_PARTS = {
    "allocations": (
        f"SELECT c.name, n.name, a.hour, u.id, p.id, v.valid_from, v.factor, {_FIGURES}"
        f" FROM allocations a {_NAMED.format('a')} {_OWNED.format('a')}"
        " LEFT JOIN rate_plan_versions v ON v.id = a.plan_version_id"
    ),
    "hours": (
        "SELECT c.name, w.hour, w.state, w.raw_sha256, w.row_count, w.total_nano, w.flags, w.fault,"
        " w.accepted, w.pending_sha256, w.stored_no = w.posted_no, w.tries, w.lease_token"
        f" FROM collection_windows w {_CLUSTER.format('w')}"
    ),
    "answers": (
        "SELECT c.name, r.hour, r.sha256, r.size_bytes, r.body, r.verdict"
        f" FROM raw_answers r {_CLUSTER.format('r')}"
    ),
    "usage_daily": (
        f"SELECT c.name, d.date, u.id, p.id, {_USAGE}, d.charge_nano,"
        " CASE WHEN d.date < %(today)s THEN d.project_breakdown::text END"
        f" FROM usage_daily d {_CLUSTER.format('d')} {_OWNED.format('d')}"
    ),
    "cost_daily": (
        f"SELECT c.name, n.name, d.date, u.id, p.id, {_COSTS}"
        f" FROM cost_daily d {_NAMED.format('d')} {_OWNED.format('d')} WHERE d.date < %(today)s"
    ),
    "cost_by_day": (
        f"SELECT c.name, n.name, d.date, u.id, p.id, {_COSTS}"
        f" FROM cost_by_day d {_NAMED.format('d')} {_OWNED.format('d')}"
    ),
    "restated": (
        f"SELECT c.name, n.name, a.hour, u.id, p.id, {_FIGURES} FROM allocation_history a"
        f" {_NAMED.format('a')} {_OWNED.format('a')} WHERE a.replaced_why = 'restated'"
    ),
    "owners": (
        "SELECT c.name, o.namespace, u.id, o.valid::text, o.source"
        f" FROM user_projects o {_CLUSTER.format('o')} JOIN users u ON u.no = o.user_no"
    ),
    "commands": (
        "SELECT name, arguments::text, state, sealed::text, lease_token,"
        " (SELECT count(*) FROM audit_log l WHERE l.command_id = k.id) FROM commands k"
    ),
    "audit": "SELECT actor, action, subject, why FROM audit_log",
}


def read_books(connection: psycopg.Connection[Any], today: Any) -> Books:
    """Return every row that must not depend on what died on the way, how often it is there."""
    return {
        part: Counter(
            tuple(str(value) if isinstance(value, list) else value for value in row)
            for row in connection.execute(query, {"today": today}).fetchall()
        )
        for part, query in _PARTS.items()
    }


def require_equal(found: Books, wanted: Books) -> None:
    """Assert that two runs kept the same books; name the first rows that differ."""
    for part, rows in wanted.items():
        missing, surplus = rows - found[part], found[part] - rows
        assert not missing, f"{part}: {missing.total()} missing, such as {next(iter(missing))}"
        assert not surplus, f"{part}: {surplus.total()} too many, such as {next(iter(surplus))}"
