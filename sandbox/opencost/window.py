"""OpenCost's `window` parameter, surprises included."""

import re
from datetime import UTC, datetime, timedelta

from core.clock import DAY, HOUR

_UNIX_PAIR = re.compile(r"(\d+)[,-](\d+)")
# Literal, as upstream's: no fractions of a second, no +00:00.
_RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
_RFC3339_PAIR = re.compile(rf"({_RFC3339}),({_RFC3339})")
_DURATION = re.compile(r"(\d+)(m|h|d|w)")
_OFFSET = re.compile(r"(\d+)(m|h|d|w) offset (\d+)(m|h|d|w)")
_UNITS = {"m": timedelta(minutes=1), "h": HOUR, "d": DAY, "w": 7 * DAY}


class IllegalWindow(ValueError):
    """OpenCost cannot read this window."""


def parse_window(text: str, now: datetime) -> tuple[datetime, datetime]:
    """Return [start, end) as OpenCost understands it at `now`; it may be inverted."""
    if match := _UNIX_PAIR.fullmatch(text):
        return _unix(match[1]), _unix(match[2])
    if match := _RFC3339_PAIR.fullmatch(text):
        try:
            return datetime.fromisoformat(match[1]), datetime.fromisoformat(match[2])
        except ValueError:
            raise IllegalWindow(text) from None
    if match := _OFFSET.fullmatch(text):
        end = now - int(match[3]) * _UNITS[match[4]]
        return end - int(match[1]) * _UNITS[match[2]], end
    if match := _DURATION.fullmatch(text):
        # Since 1.111 a duration is rounded *forward*: `1h` at 05:00:30 is [05:00, 06:00), thirty
        # seconds of data. This surprise cost a predecessor real money.
        unit = _UNITS[match[2]] if match[2] in "mh" else DAY
        end = _floor(now, unit) + unit
        return end - int(match[1]) * _UNITS[match[2]], end
    return _word(text, now)


def parse_step(text: str) -> timedelta:
    if match := _DURATION.fullmatch(text):
        return int(match[1]) * _UNITS[match[2]]
    raise IllegalWindow(text)


def _unix(text: str) -> datetime:
    try:
        return datetime.fromtimestamp(int(text), UTC)
    except (OverflowError, ValueError, OSError):
        raise IllegalWindow(text) from None


def _floor(at: datetime, unit: timedelta) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return at - (at - epoch) % unit


def _word(text: str, now: datetime) -> tuple[datetime, datetime]:
    today = _floor(now, DAY)
    sunday = today - timedelta(days=(today.weekday() + 1) % 7)
    month = today.replace(day=1)
    match text:
        case "today":
            return today, today + DAY
        case "yesterday":
            return today - DAY, today
        case "week":
            return sunday, today + DAY
        case "lastweek":
            return sunday - 7 * DAY, sunday
        case "month":
            return month, today + DAY
        case "lastmonth":
            return (month - DAY).replace(day=1), month
    raise IllegalWindow(text)
