"""Billing periods: when a subscription's month (week, day, year) ends."""

import calendar
from datetime import UTC, datetime, timedelta

from sandbox.stripe.errors import StripeError, missing_param
from sandbox.stripe.form import Form, integer

MONTHS_AHEAD_MAX = 24


def anchor_of(config: Form | None, at: datetime) -> datetime:
    """Return the first instant after `at` that a `billing_cycle_anchor_config` names."""
    if not config:
        return at
    hour = _part(config, "hour", at.hour, (0, 23))
    minute = _part(config, "minute", at.minute, (0, 59))
    second = _part(config, "second", at.second, (0, 59))
    if not config.get("day_of_month"):
        raise missing_param("billing_cycle_anchor_config[day_of_month]")
    day = _part(config, "day_of_month", at.day, (1, 31))
    month = _part(config, "month", 0, (1, 12)) or None
    for ahead in range(MONTHS_AHEAD_MAX):
        anchor = _month(at, ahead, day).replace(
            hour=hour, minute=minute, second=second, microsecond=0
        )
        if anchor > at and month in (None, anchor.month):
            return anchor
    raise AssertionError(f"no anchor within {MONTHS_AHEAD_MAX} months of {at}")


def _part(config: Form, name: str, default: int, bounds: tuple[int, int]) -> int:
    value = integer(config, name)
    if value is None:
        return default
    if not bounds[0] <= value <= bounds[1]:
        raise StripeError(
            f"Invalid integer: must be {bounds[0]} to {bounds[1]}",
            param=f"billing_cycle_anchor_config[{name}]",
        )
    return value


def period_end(anchor: datetime, start: datetime, recurring: Form) -> datetime:
    """Return the end of the period that begins at `start`, by the day on which anchors fall."""
    count = int(recurring["interval_count"])
    if recurring["interval"] in {"month", "year"}:
        months = count * (12 if recurring["interval"] == "year" else 1)
        return _month(start, months, anchor.day).replace(
            hour=anchor.hour, minute=anchor.minute, second=anchor.second, microsecond=0
        )
    return start + timedelta(days=count * (7 if recurring["interval"] == "week" else 1))


def _month(at: datetime, ahead: int, day: int) -> datetime:
    months = at.year * 12 + at.month - 1 + ahead
    year, month = months // 12, months % 12 + 1
    last = calendar.monthrange(year, month)[1]
    return at.replace(year=year, month=month, day=min(day, last))


def instant(stamp: int) -> datetime:
    return datetime.fromtimestamp(stamp, UTC)
