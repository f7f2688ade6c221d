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
        *((month_bounds, text) for text in ("0000-01", "0001-01", "9999-12", "2026-00", "2026-13")),
        *((parse_day, text) for text in ("0000-01-01", "0001-01-01", "9999-12-31", "2026-02-30")),
        *((parse_hour, text) for text in ("0001-01-01T00Z", "9999-12-31T23Z", "2026-03-01T24Z")),
        *((parse_instant, text) for text in ("0001-01-01T00:00+14:00", "9999-12-31T23:00-14:00")),
        (month_bounds, "２０２６-03"),
        (parse_day, "２０２６-03-01"),
        (parse_hour, "２０２６-03-01T14Z"),
        (parse_hour, "0000-03-01T14Z"),
        (parse_instant, "now"),
    ],
)
def test_what_no_calendar_can_count_from_is_told_in_a_sentence(
    read: Callable[[str], Any], text: str
) -> None:
    with pytest.raises(InputFault, match=r"is no (month|day|hour|time); write it like 2026-03"):
        read(text)


def test_a_day_that_is_none_is_told_as_it_was_typed() -> None:
    with pytest.raises(InputFault, match="'2026-99-28' is no hour"):
        parse_hour("2026-99-28")


def test_a_month_ends_where_the_next_begins() -> None:
    assert month_bounds("2026-12") == (date(2026, 12, 1), date(2027, 1, 1))


def test_a_moment_may_say_its_zone() -> None:
    assert parse_instant("2026-03-01T14:30+02:00") == datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    assert parse_instant("2026-03-01") == datetime(2026, 3, 1, tzinfo=UTC)
