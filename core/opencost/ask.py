"""The one question that is put to OpenCost: what did each namespace cost in one closed hour."""

from datetime import datetime

from core.clock import HOUR, floor_hour

HEALTH_PATH = "/healthz"


def allocation_path(hour: datetime) -> str:
    """Return path and query for [hour, hour + 1 h), by unix seconds.

    Never `window=1h`: since OpenCost 1.111 that is the hour that is still running. Never
    `accumulate` or `filter`: both change the shape of an empty answer. `aggregate=cluster,…`
    makes two clusters in one Prometheus visible, which would else be added up silently.
    """
    if floor_hour(hour) != hour:
        raise ValueError(f"{hour} is not the start of an hour")
    start, end = int(hour.timestamp()), int((hour + HOUR).timestamp())
    return (
        f"/allocation?window={start},{end}&aggregate=cluster,namespace"
        "&includeIdle=true&includeAggregatedMetadata=false"
    )
