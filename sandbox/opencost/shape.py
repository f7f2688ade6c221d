"""Rows and numbers as OpenCost prints them.

Each number is rounded to 5 decimals by itself, so parts and total differ by some 1e-5. Go prints
the shortest digits that read back the same, without an exponent below 1e21, and NaN as null.
"""

import json
import math
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sandbox.story import GIB, Flow, Rates

Row = dict[str, Any]
COSTS = ("cpuCost", "gpuCost", "networkCost", "loadBalancerCost", "pvCost", "ramCost")
"""What totalCost adds up; the adjustments are 0 here, as they are in any hour of OpenCost."""
Rows = list[tuple[str, Row]]
"""A set of an answer: (key, row); a list, so that a fault can name a key twice."""

_EXPONENT_FROM = 1e21


def go_number(value: float) -> str:
    """Print a number as Go's encoding/json does after OpenCost rounded it to 5 decimals."""
    if not math.isfinite(value):
        return "null"
    rounded = round(value, 5)
    if rounded == 0:
        return "0"
    text = repr(rounded)
    if text.endswith(".0"):
        return text[:-2]
    if "e" not in text or abs(rounded) >= _EXPONENT_FROM:
        return text
    return format(Decimal(text), "f")


def go_json(value: Any) -> str:
    """Encode as Go does; objects keep their order (structs), callers sort what is a map."""
    if isinstance(value, float):
        return go_number(value)
    if isinstance(value, dict):
        return "{" + ",".join(f'"{k}":{go_json(v)}' for k, v in value.items()) + "}"
    if isinstance(value, list):
        return f"[{','.join(map(go_json, value))}]"
    return json.dumps(value, ensure_ascii=False)


def go_rows(rows: Rows) -> str:
    """Encode one set: a map, so its keys are sorted."""
    ordered = sorted(rows, key=lambda pair: pair[0])
    return "{" + ",".join(f"{json.dumps(key)}:{go_json(row)}" for key, row in ordered) + "}"


def go_time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


_FIELDS = (
    "name properties window start end minutes "
    "cpuCores cpuCoreRequestAverage cpuCoreLimitAverage cpuCoreUsageAverage cpuCoreHours "
    "cpuCost cpuCostAdjustment cpuCostIdle cpuEfficiency "
    "gpuCount gpuRequestAverage gpuUsageAverage gpuHours "
    "gpuCost gpuCostAdjustment gpuCostIdle gpuEfficiency "
    "networkTransferBytes networkReceiveBytes networkCost networkCrossZoneCost "
    "networkCrossRegionCost networkInternetCost networkCostAdjustment "
    "loadBalancerCost loadBalancerCostAdjustment "
    "pvBytes pvByteHours pvCost pvs pvCostAdjustment "
    "ramBytes ramByteRequestAverage ramByteLimitAverage ramByteUsageAverage ramByteHours "
    "ramCost ramCostAdjustment ramCostIdle ramEfficiency "
    "externalCost sharedCost totalCost totalEfficiency "
    "proportionalAssetResourceCosts lbAllocations sharedCostBreakdown"
)
_BARE: Row = dict.fromkeys(_FIELDS.split(), 0.0) | {
    "proportionalAssetResourceCosts": {},
    "lbAllocations": None,
    "sharedCostBreakdown": {},
}
"""All fields in the order of Go's struct; a row fills in what is not zero."""


def row_of(
    name: str,
    properties: dict[str, Any],
    window: tuple[datetime, datetime],
    alive: tuple[datetime, datetime],
    used: Flow,
    rates: Rates,
) -> Row:
    """Return the allocation of `used` (quantities summed over the window), unrounded."""
    minutes = (alive[1] - alive[0]) / timedelta(minutes=1)
    hours = minutes / 60 or 1.0
    network = used.sent_bytes / GIB * rates.network_gib
    pv = used.pv_bh / GIB * rates.pv_gib_hour
    row = _BARE | {
        "name": name,
        "properties": properties,
        "window": {"start": go_time(window[0]), "end": go_time(window[1])},
        "start": go_time(alive[0]),
        "end": go_time(alive[1]),
        "minutes": minutes,
        "gpuCount": used.gpu_h / hours,
        "gpuRequestAverage": used.gpu_h / hours,
        "gpuHours": used.gpu_h,
        "gpuCost": used.gpu_h * rates.gpu_hour,
        "networkTransferBytes": used.sent_bytes,
        "networkReceiveBytes": used.received_bytes,
        "networkCost": network,
        "networkInternetCost": network,
        "loadBalancerCost": used.lb_h * rates.balancer_hour,
        "pvBytes": used.pv_bh / hours,
        "pvByteHours": used.pv_bh,
        "pvCost": pv,
        "pvs": _volumes(name, properties, used.pv_bh, pv),
    }
    row.update(_cpu_and_ram(used, hours, rates))
    row["totalCost"] = sum(row[cost] for cost in COSTS)
    return row


def _cpu_and_ram(used: Flow, hours: float, rates: Rates) -> Row:
    """OpenCost charges the greater of request and usage."""
    cpu_h = max(used.cpu_request_h, used.cpu_use_h)
    ram_bh = max(used.ram_request_bh, used.ram_use_bh)
    cpu, ram = cpu_h * rates.cpu_core_hour, ram_bh / GIB * rates.ram_gib_hour
    cpu_efficiency = _share(used.cpu_use_h, used.cpu_request_h)
    ram_efficiency = _share(used.ram_use_bh, used.ram_request_bh)
    return {
        "cpuCores": cpu_h / hours,
        "cpuCoreRequestAverage": used.cpu_request_h / hours,
        "cpuCoreUsageAverage": used.cpu_use_h / hours,
        "cpuCoreHours": cpu_h,
        "cpuCost": cpu,
        "cpuEfficiency": cpu_efficiency,
        "ramBytes": ram_bh / hours,
        "ramByteRequestAverage": used.ram_request_bh / hours,
        "ramByteUsageAverage": used.ram_use_bh / hours,
        "ramByteHours": ram_bh,
        "ramCost": ram,
        "ramEfficiency": ram_efficiency,
        "totalEfficiency": _share(cpu * cpu_efficiency + ram * ram_efficiency, cpu + ram),
    }


def _volumes(
    name: str, properties: dict[str, Any], byte_hours: float, cost: float
) -> dict[str, Any] | None:
    if not byte_hours:
        return None
    volume = f"cluster={properties.get('cluster', '')}:name=pvc-{name.rsplit('/', 1)[-1]}"
    return {volume: {"byteHours": float(byte_hours), "cost": cost, "providerID": volume[-40:]}}
