"""Hours, days and months as people type them: read, or refused in a sentence."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from core.clock import month_bounds, parse_day, parse_hour, parse_instant
from core.errors import InputFault


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (month_bounds, "9999-12"),
        (month_bounds, "0000-01"),
        (month_bounds, "2026-13"),
        (month_bounds, "２０２６-03"),
        (parse_day, "２０２６-03-01"),
        (parse_day, "2026-02-30"),
        (parse_hour, "２０２６-03-01T14Z"),
        (parse_hour, "0000-03-01T14Z"),
        (parse_instant, "0001-01-01T00:00:00+14:00"),
        (parse_instant, "9999-12-31T23:30-12:00"),
        (parse_instant, "now"),
    ],
)
def test_what_is_no_time_is_refused_in_a_sentence(read: Callable[[str], Any], text: str) -> None:
    with pytest.raises(InputFault, match="write it like"):
        read(text)


def test_a_month_ends_where_the_next_begins() -> None:
    assert month_bounds("2026-12") == (date(2026, 12, 1), date(2027, 1, 1))
    assert month_bounds("0001-01")[1] == date(1, 2, 1)
    assert month_bounds("9999-11")[1] == date(9999, 12, 1)


def test_a_moment_may_say_its_zone() -> None:
    assert parse_instant("2026-03-01T14:30+02:00") == datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    assert parse_instant("2026-03-01") == datetime(2026, 3, 1, tzinfo=UTC)
