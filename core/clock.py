"""Hours, windows, and the only call of datetime.now.

An hour is the aware UTC instant of its start; it means [start, start + 1 h).
"""

import re
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from core.errors import InputFault

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

YEARS = range(1000, 9999)
"""That are written with four digits, and have a day after their last one, which windows end with."""

Clock = Callable[[], datetime]
"""Tests and the sandbox pass a clock of their own; everything else passes `utc_now`."""

_HOUR_TEXT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2})(?::00(?::00)?)?Z?"  # no digits of other scripts
)
_DAY_TEXT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MONTH_TEXT = re.compile(r"([0-9]{4})-([0-9]{2})")


def utc_now() -> datetime:
    return datetime.now(UTC)


def monotonic_s() -> float:
    return time.monotonic()


def floor_hour(at: datetime) -> datetime:
    """Return the hour that holds `at` (aware; any zone)."""
    if at.tzinfo is None:
        raise ValueError("a time without a zone says no hour")
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def last_closed_hour(now: datetime, settle: timedelta = timedelta(0)) -> datetime:
    """Return the newest hour that ended at least `settle` before `now`."""
    return floor_hour(now - settle) - HOUR


def day_of(hour: datetime) -> date:
    return hour.astimezone(UTC).date()


def day_start(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def month_bounds(text: str) -> tuple[date, date]:
    """Read `2026-03` as [first day, first day of the next month)."""
    match = _MONTH_TEXT.fullmatch(text)
    if not match or int(match[1]) not in YEARS or not 1 <= int(match[2]) <= 12:
        raise InputFault(f"{text!r} is no month; write it like 2026-03.")
    first = date(int(match[1]), int(match[2]), 1)
    return first, (first + timedelta(days=32)).replace(day=1)


def parse_day(text: str) -> date:
    """Read `2026-03-01`."""
    try:
        if _DAY_TEXT.fullmatch(text) and (day := date.fromisoformat(text)).year in YEARS:
            return day
    except ValueError:
        pass
    raise InputFault(f"{text[:40]!r} is no day; write it like 2026-03-01. Nothing was changed.")


def parse_instant(text: str) -> datetime:
    """Read `2026-03-01T14:30:05Z`, `2026-03-01T14Z` or `2026-03-01` (its beginning), in UTC."""
    try:
        return parse_hour(text)
    except InputFault:
        pass
    try:
        read = datetime.fromisoformat(text)
        if read.year in YEARS:
            return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except ValueError:
        pass
    raise InputFault(f"{text[:40]!r} is no time; write it like 2026-03-01T14:30Z.")


def month_start(at: datetime) -> datetime:
    """Return the first hour of the UTC month that holds `at`."""
    return floor_hour(at).replace(day=1, hour=0)


def parse_hour(text: str) -> datetime:
    """Read `2026-03-01T14Z`, `2026-03-01T14:00` or `2026-03-01` (its first hour), in UTC."""
    whole = f"{text}T00" if _DAY_TEXT.fullmatch(text) else text
    match = _HOUR_TEXT.fullmatch(whole)
    try:
        if match and int(match[1]) in YEARS:
            year, month, day, hour = (int(part) for part in match.groups())
            return datetime(year, month, day, hour, tzinfo=UTC)
    except ValueError:
        pass
    raise InputFault(f"{text!r} is no hour; write it like 2026-03-01T14Z (UTC).")


def hour_text(hour: datetime) -> str:
    """Return an hour as people write it: `2026-03-01T14Z`."""
    return hour.astimezone(UTC).strftime("%Y-%m-%dT%HZ")
