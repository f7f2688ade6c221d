"""Billing periods: when a subscription's month (week, day, year) ends."""

import calendar
from datetime import UTC, datetime, timedelta

from sandbox.stripe.form import Form, integer

MONTHS_AHEAD_MAX = 24


def anchor_of(config: Form | None, at: datetime) -> datetime:
    """Return the first instant after `at` that a `billing_cycle_anchor_config` names."""
    if not config:
        return at
    hour = integer(config, "hour", at.hour) or 0
    minute = integer(config, "minute", at.minute) or 0
    second = integer(config, "second", at.second) or 0
    day = integer(config, "day_of_month", at.day) or at.day
    month = integer(config, "month")
    for ahead in range(MONTHS_AHEAD_MAX):
        anchor = _month(at, ahead, day).replace(
            hour=hour, minute=minute, second=second, microsecond=0
        )
        if anchor > at and month in (None, anchor.month):
            return anchor
    raise AssertionError(f"no anchor within {MONTHS_AHEAD_MAX} months of {at}")


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
