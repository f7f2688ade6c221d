"""Answers of any size for benchmarks: the recorded row's 45 fields, seeded figures, any hour."""

import json
import random
from datetime import datetime
from pathlib import Path
from typing import Any

from core.clock import HOUR

_RECORDED = Path(__file__).parents[1] / "data" / "opencost"
_START, _END = b"2001-01-01T00:00:00Z", b"2001-01-01T01:00:00Z"


def _row(dice: random.Random, recorded: dict[str, Any], name: str) -> dict[str, Any]:
    row = {**recorded, "name": name, "minutes": 60, "gpuHours": 0, "gpuCost": 0}
    for field, most in (
        ("cpuCost", 2.0),
        ("ramCost", 0.5),
        ("pvCost", 0.1),
        ("networkCost", 0.01),
        ("cpuCoreHours", 40.0),
        ("ramByteHours", 2e11),
        ("pvByteHours", 1e12),
        ("networkTransferBytes", 1e10),
        ("networkReceiveBytes", 1e10),
        ("totalEfficiency", 1.0),
    ):
        row[field] = round(dice.random() * most, 5)
    if dice.random() < 0.1:
        row["gpuHours"], row["gpuCost"] = 2, round(dice.random() * 8, 5)
    costs = ("cpuCost", "ramCost", "pvCost", "networkCost", "gpuCost")
    row["totalCost"] = round(sum(row[field] for field in costs), 5)
    row["window"] = {"start": _START.decode(), "end": _END.decode()}
    return row


def template(namespaces: int, seed: int) -> bytes:
    """An answer with `namespaces` rows beside kube-system; `of_hour` sets its hour."""
    dice = random.Random(seed)
    text = next(_RECORDED.glob("01-*.json")).read_text(encoding="utf-8")
    recorded = next(iter(json.loads(text)["data"][0].values()))
    names = ["kube-system", *(f"project-{number:05}" for number in range(namespaces - 1))]
    rows = {f"default-cluster/{name}": _row(dice, recorded, name) for name in names}
    answer = {"code": 200, "status": "success", "data": [rows]}
    return json.dumps(answer, separators=(",", ":")).encode()


def of_hour(body: bytes, hour: datetime) -> bytes:
    start, end = f"{hour:%Y-%m-%dT%H:%M:%SZ}", f"{hour + HOUR:%Y-%m-%dT%H:%M:%SZ}"
    return body.replace(_START, start.encode()).replace(_END, end.encode())
