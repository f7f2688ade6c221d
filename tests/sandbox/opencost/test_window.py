from datetime import UTC, datetime, timedelta

import pytest

from sandbox.opencost.window import IllegalWindow, parse_window

NOW = datetime(2026, 3, 4, 5, 0, 30, tzinfo=UTC)  # a Wednesday


def at(day: int, hour: int = 0, minute: int = 0, second: int = 0, month: int = 3) -> datetime:
    return datetime(2026, month, day, hour, minute, second, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("1772582400,1772586000", at(4), at(4, 1)),
        ("1772582400-1772586000", at(4), at(4, 1)),
        ("2026-03-01T14:00:00Z,2026-03-01T15:00:00Z", at(1, 14), at(1, 15)),
        ("1h offset 1h", at(4, 3, 0, 30), at(4, 4, 0, 30)),
        ("24h", at(3, 6), at(4, 6)),
        ("7d", at(26, month=2), at(5)),
        ("today", at(4), at(5)),
        ("yesterday", at(3), at(4)),
        ("week", at(1), at(5)),
        ("lastweek", at(22, month=2), at(1)),
        ("month", at(1), at(5)),
        ("lastmonth", at(1, month=2), at(1)),
    ],
)
def test_windows_are_read_as_opencost_reads_them(text: str, start: datetime, end: datetime) -> None:
    assert parse_window(text, NOW) == (start, end)


def test_one_hour_means_the_hour_that_has_just_begun() -> None:
    start, end = parse_window("1h", NOW)
    assert (start, end) == (at(4, 5), at(4, 6))
    assert NOW - start == timedelta(seconds=30)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bogus",
        "1y",
        "2026-03-01T14:00:00.000Z,2026-03-01T15:00:00Z",
        "2026-03-01T14:00:00+00:00,2026-03-01T15:00:00+00:00",
        "2026-13-01T14:00:00Z,2026-03-01T15:00:00Z",
        "99999999999999999,99999999999999999",
    ],
)
def test_other_ways_to_write_a_window_are_refused(text: str) -> None:
    with pytest.raises(IllegalWindow):
        parse_window(text, NOW)
