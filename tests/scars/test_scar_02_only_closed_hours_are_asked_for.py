"""`window=1h` slides with the clock, so runs overlapped or left gaps."""

from datetime import timedelta

import pytest

from core.clock import HOUR
from core.opencost.ask import allocation_path
from tests.answers import body
from tests.core.metering.site import Site, hour


@pytest.mark.parametrize("minute", [0, 1, 9, 10, 37, 59])
def test_at_any_minute_only_hours_that_are_over_are_asked_for(site: Site, minute: int) -> None:
    site.cluster()
    site.now = hour(5) + timedelta(minutes=minute)
    site.collect()
    closed = 5 if minute >= 10 else 4  # the last samples come late
    assert [asked for _, asked in site.asked] == [hour(number) for number in range(closed)]
    assert all(asked + HOUR <= site.now for _, asked in site.asked)


def test_the_question_names_start_and_end_and_no_duration() -> None:
    asked = allocation_path(hour(0))
    start = int(hour(0).timestamp())
    assert f"window={start},{start + 3600}&" in asked
    assert "1h" not in asked


@pytest.mark.parametrize("shift", [timedelta(minutes=30), HOUR, -HOUR])
def test_an_answer_of_another_window_is_refused(site: Site, shift: timedelta) -> None:
    site.cluster()
    site.say(body(["ml-train"], hour(0) + shift))
    site.collect()
    assert site.window()["fault"] == "other-window"
    assert site.rows() == {}
