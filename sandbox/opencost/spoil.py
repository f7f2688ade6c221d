"""Answers spoilt in the ways that real servers were seen to spoil them."""

import copy
from collections.abc import Callable
from datetime import datetime, timedelta

from sandbox.faults import Fault
from sandbox.opencost.shape import Row, Rows, go_time

HUGE_BYTES = 64 * 2**20
SCALED = [
    "cpuCores",
    "cpuCoreRequestAverage",
    "cpuCoreUsageAverage",
    "cpuCoreHours",
    "cpuCost",
    "gpuHours",
    "gpuCost",
    "gpuCount",
    "networkTransferBytes",
    "networkReceiveBytes",
    "networkCost",
    "networkInternetCost",
    "loadBalancerCost",
    "pvBytes",
    "pvByteHours",
    "pvCost",
    "ramBytes",
    "ramByteRequestAverage",
    "ramByteUsageAverage",
    "ramByteHours",
    "ramCost",
    "totalCost",
]


def sets(sets: list[Rows], struck: dict[str, Fault], cluster_id: str) -> list[Rows]:
    """Return the sets with the faults that concern their contents."""
    if "empty_set" in struck:
        sets = [[] for _ in sets]
    for kind, change in _CHANGES.items():
        if kind in struck:
            sets = [change(rows, struck[kind], cluster_id) for rows in sets]
    return sets + copy.deepcopy(sets[:1]) if "two_sets" in struck else sets


def body(body: bytes, struck: dict[str, Fault]) -> bytes:
    """Return the encoded answer with the faults that concern its bytes."""
    if fault := struck.get("huge"):
        # Padding that any JSON reader takes: only a limit on size can tell.
        body = body[:-1] + b" " * max(0, (fault.bytes or HUGE_BYTES) - len(body)) + b"}"
    if "truncated" in struck:
        body = body[: len(body) // 2]
    return body


def _namespace(key: str) -> str:
    return key.rsplit("/", 1)[-1]


def _chosen(rows: Rows, fault: Fault) -> list[Row]:
    """Return the rows that the fault names, or the first that belongs to a project."""
    named = [row for key, row in rows if _namespace(key) in fault.namespaces]
    return named or [row for key, row in rows if _is_project(key)][:1]


def _is_project(key: str) -> bool:
    name = _namespace(key)
    return not name.startswith("__") and name not in ("kube-system", "opencost", "hopsworks")


def _restated(rows: Rows, fault: Fault, _cluster_id: str) -> Rows:
    for key, row in rows:
        if not fault.namespaces or _namespace(key) in fault.namespaces:
            row.update({name: row[name] * fault.factor for name in SCALED})
    return rows


def _shrunken(rows: Rows, fault: Fault, _cluster_id: str) -> Rows:
    lost = set(fault.namespaces)
    if not lost:
        lost = {_namespace(key) for key, _ in sorted(rows, key=_first) if _is_project(key)}
        lost = set(sorted(lost)[::2])
    return [(key, row) for key, row in rows if _namespace(key) not in lost]


def _first(pair: tuple[str, Row]) -> str:
    return pair[0]


def _negative_idle(rows: Rows, _fault: Fault, _cluster_id: str) -> Rows:
    for key, row in rows:
        if _namespace(key) == "__idle__":
            row.update(cpuCost=-157.66357, ramCost=-28.90743, gpuCost=0.0, totalCost=-186.571)
    return rows


def _negative_minutes(rows: Rows, fault: Fault, _cluster_id: str) -> Rows:
    for row in _chosen(rows, fault):
        start = datetime.fromisoformat(row["start"])
        row.update(dict.fromkeys(SCALED, 0.0), pvs=None)
        row.update(minutes=-2.45, end=go_time(start - timedelta(seconds=147)))
    return rows


def _absurd(rows: Rows, fault: Fault, _cluster_id: str) -> Rows:
    for row in _chosen(rows, fault):
        start = datetime.fromisoformat(row["start"])
        row.update(
            minutes=-4435032.0,
            cpuCost=-1.97e25,
            cpuCoreHours=-1.39e14,
            totalCost=-1.97e25,
            start=go_time(start + timedelta(days=1830)),
            end=go_time(start - timedelta(minutes=4435032 - 1830 * 1440)),
        )
    return rows


def _null_total(rows: Rows, fault: Fault, _cluster_id: str) -> Rows:
    for row in _chosen(rows, fault):
        row["totalCost"] = float("nan")
    return rows


def _long_minutes(rows: Rows, fault: Fault, _cluster_id: str) -> Rows:
    for row in _chosen(rows, fault):
        start = datetime.fromisoformat(row["start"])
        row.update(minutes=75.0, end=go_time(start + timedelta(minutes=75)))
    return rows


def _no_sentinel(rows: Rows, _fault: Fault, _cluster_id: str) -> Rows:
    return [(key, row) for key, row in rows if _namespace(key) != "kube-system"]


def _double_name(rows: Rows, fault: Fault, _cluster_id: str) -> Rows:
    doubles = {row["name"] for row in _chosen(rows, fault)}
    return rows + [(key, copy.deepcopy(row)) for key, row in rows if row["name"] in doubles]


def _two_clusters(rows: Rows, _fault: Fault, cluster_id: str) -> Rows:
    """A second cluster behind the same Prometheus, with namespaces of the same names."""
    other = f"{cluster_id}-2"
    twins = []
    for key, row in rows[: max(2, len(rows) // 2)]:
        twin = copy.deepcopy(row)
        twin["name"] = key.replace(f"{cluster_id}/", f"{other}/", 1)
        twin["properties"]["cluster"] = other
        twins.append((twin["name"], twin))
    return rows + [(key, row) for key, row in twins if other in key]


_CHANGES: dict[str, Callable[[Rows, Fault, str], Rows]] = {
    "restated": _restated,
    "shrunken": _shrunken,
    "negative_idle": _negative_idle,
    "negative_minutes": _negative_minutes,
    "absurd": _absurd,
    "null_total": _null_total,
    "long_minutes": _long_minutes,
    "no_sentinel": _no_sentinel,
    "double_name": _double_name,
    "two_clusters": _two_clusters,
}
