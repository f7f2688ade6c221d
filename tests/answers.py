"""OpenCost's answers as a test wants them: valid by default, saying only what matters."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import zstandard

from core.clock import HOUR
from core.metering.hours import RawAnswer
from core.opencost.answer import Limits

HOUR_0 = datetime(2026, 3, 1, 14, tzinfo=UTC)
LIMITS = Limits(
    cost_max_nano=10_000 * 10**9,
    cores_max=10_000,
    gpus_max=1_000,
    ram_max_bytes=2**50,
    sentinel="kube-system",
)


def allocation(hour: datetime = HOUR_0, **fields: Any) -> dict[str, Any]:
    """One namespace's row in OpenCost's own shape and words; `cpuCost=2` makes it cost 2."""
    row: dict[str, Any] = {
        "window": {
            "start": f"{hour:%Y-%m-%dT%H:%M:%SZ}",
            "end": f"{hour + HOUR:%Y-%m-%dT%H:%M:%SZ}",
        },
        "minutes": 60,
        "cpuCoreHours": 1.5,
        "cpuCost": 0.04743,
        "cpuCostAdjustment": 0,
        "gpuHours": 0,
        "gpuCost": 0,
        "networkCost": 0,
        "loadBalancerCost": 0,
        "pvCost": 0.00137,
        "pvByteHours": 10737418240,
        "ramByteHours": 4294967296.5,
        "ramCost": 0.01696,
        "sharedCost": 0,
        "externalCost": 0,
        "totalEfficiency": 0.25,
    }
    row.update(fields)
    if "totalCost" not in fields:
        parts = [value for key, value in row.items() if "Cost" in key and value is not None]
        row["totalCost"] = round(sum(parts), 5)
    return row


def body_of(
    rows: Mapping[str, dict[str, Any]], *, cluster: str = "default-cluster", code: int = 200
) -> bytes:
    """Put rows under their names into one answer, as OpenCost would send it."""
    data = [{f"{cluster}/{name}": row for name, row in rows.items()}]
    return json.dumps({"code": code, "status": "success", "data": data}).encode()


def body(
    names: Mapping[str, float] | list[str],
    hour: datetime = HOUR_0,
    *,
    cluster: str = "default-cluster",
) -> bytes:
    """An answer with kube-system, idle and the given namespaces; a number is the CPU cost."""
    costs = names if isinstance(names, Mapping) else dict.fromkeys(names, 0.04743)
    rows = {
        "kube-system": allocation(hour),
        "__idle__": allocation(hour, cpuCost=1.25),
        **{name: allocation(hour, cpuCost=cost) for name, cost in costs.items()},
    }
    return body_of(rows, cluster=cluster)


def raw_of(content: bytes, at: datetime = HOUR_0) -> RawAnswer:
    return RawAnswer(
        hashlib.sha256(content).digest(),
        len(content),
        zstandard.ZstdCompressor(level=1).compress(content),
        at,
    )
