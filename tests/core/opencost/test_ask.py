"""The one question: a closed UTC hour by unix seconds."""

from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.opencost.ask import allocation_path


@given(st.integers(0, 500_000))
def test_the_question_names_one_hour_by_its_seconds(number: int) -> None:
    hour = datetime.fromtimestamp(number * 3600, UTC)
    asked = parse_qs(urlsplit(allocation_path(hour)).query)
    assert asked["window"] == [f"{number * 3600},{number * 3600 + 3600}"]
    assert asked["aggregate"] == ["cluster,namespace"]
    assert not asked.keys() & {"accumulate", "filter", "step", "resolution"}


@pytest.mark.parametrize("off", [{"minutes": 30}, {"seconds": 1}, {"microseconds": 1}])
def test_a_part_of_an_hour_is_never_asked_for(off: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not the start of an hour"):
        allocation_path(datetime(2026, 3, 1, 14, tzinfo=UTC) + timedelta(**off))


def test_an_hour_of_half_an_hour_east_is_no_utc_hour() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    with pytest.raises(ValueError, match="not the start of an hour"):
        allocation_path(datetime(2026, 3, 1, 14, tzinfo=india))
