"""From the story to the rows of one set."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from core.clock import HOUR
from sandbox.opencost.shape import Rows, row_of
from sandbox.story import Flow, Story, hours_between

MINUTE = timedelta(minutes=1)
Window = tuple[datetime, datetime]
Total = tuple[Window, Flow]
"""When the namespace was alive within the window, and what it used."""


@dataclass(frozen=True)
class Scope:
    """What one request may see, and how it wants it grouped."""

    story: Story
    cluster_id: str
    from_at: datetime
    """Prometheus has forgotten what was before."""
    until_at: datetime
    """Now: the rest of the open hour has not happened yet."""
    aggregate: str
    idle: bool
    metadata: bool


def gather(scope: Scope, window: Window) -> Rows:
    """Return the rows of one set; none when nothing is known of this window."""
    totals: dict[str, Total] = {}
    seen = (max(window[0], scope.from_at), min(window[1], scope.until_at))
    for hour in hours_between(*seen):
        for namespace, flow in _flows(scope, hour):
            part = _cut(hour, flow, seen)
            if part is None:
                continue
            known = totals.get(namespace)
            totals[namespace] = part if known is None else _merge(known, part)
    return _rows(scope, window, totals)


def _flows(scope: Scope, hour: datetime) -> Iterator[tuple[str, Flow]]:
    flows = scope.story.hour(hour)
    yield from flows.items()
    yield "__unmounted__", scope.story.unmounted(hour)
    if scope.idle:
        yield "__idle__", scope.story.idle(hour, flows)


def _cut(hour: datetime, flow: Flow, seen: Window) -> Total | None:
    """Return the part of an hour's flow that lies in the window, None when nothing does."""
    if seen[0] <= hour and hour + HOUR <= seen[1]:
        return (hour + flow.begin_min * MINUTE, hour + flow.end_min * MINUTE), flow
    begin = max(seen[0], hour + flow.begin_min * MINUTE)
    end = min(seen[1], hour + flow.end_min * MINUTE)
    if begin >= end:
        return None
    share = (end - begin) / MINUTE / (flow.end_min - flow.begin_min)
    return (begin, end), Flow(*flow[:2], *(share * quantity for quantity in flow[2:]))


def _merge(one: Total, other: Total) -> Total:
    alive = min(one[0][0], other[0][0]), max(one[0][1], other[0][1])
    sums = (a + b for a, b in zip(one[1][2:], other[1][2:], strict=True))
    return alive, Flow(0, 0, *sums)


def _rows(scope: Scope, window: Window, totals: dict[str, Total]) -> Rows:
    grouped: dict[str, Total] = {}
    namespaces: dict[str, str] = {}
    for namespace, total in totals.items():
        key = _key(scope, namespace)
        grouped[key] = _merge(grouped[key], total) if key in grouped else total
        namespaces[key] = namespace
    return [
        (
            key,
            row_of(
                key,
                _properties(scope, namespaces[key]),
                window,
                total[0],
                total[1],
                scope.story.rates,
            ),
        )
        for key, total in grouped.items()
    ]


def _key(scope: Scope, namespace: str) -> str:
    """Return the key under `aggregate`; words that OpenCost does not know are dropped.

    With none left everything merges into one row named "", as it does upstream.
    """
    if not scope.aggregate:
        return f"{scope.cluster_id}/node-1/{namespace}/{namespace}-0/main"
    words = [word.strip() for word in scope.aggregate.split(",")]
    if namespace == "__idle__" and "namespace" not in words:
        return namespace
    known = {"cluster": scope.cluster_id, "namespace": namespace}
    return "/".join(known[word] for word in words if word in known)


def _properties(scope: Scope, namespace: str) -> dict[str, Any]:
    properties: dict[str, Any] = {"cluster": scope.cluster_id}
    if namespace == "__idle__" or "namespace" not in scope.aggregate:
        return properties
    properties["namespace"] = namespace
    if not namespace.startswith("__"):
        properties["namespaceLabels"] = {"kubernetes_io_metadata_name": namespace}
        if scope.metadata:
            properties["labels"] = {"app": namespace, "kubernetes_io_metadata_name": namespace}
    return properties
