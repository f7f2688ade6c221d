"""What Stripe lacks of a day, and what of it is due again."""

import pytest

from core.billing.stripe.reporting.missing import Heard, Missing, missing

BEFORE, OWN = False, True


def heard(*pairs: tuple[int, bool]) -> list[Heard]:
    return [Heard(value, own) for value, own in pairs]


@pytest.mark.parametrize(("meter", "first"), [("daily", 9), ("sum", 4)])
def test_of_an_ordinary_day_all_that_is_lost_is_due(meter: str, first: int) -> None:
    rows = heard((9 - first, OWN), (first, OWN))
    assert missing(rows, meter, said=4, counted=9) == Missing(5, own=True, due=5)


@pytest.mark.parametrize("meter", ["daily", "sum"])
def test_what_somebody_else_sent_lowers_what_is_due(meter: str) -> None:
    assert missing(heard((5, OWN)), meter, said=7, counted=5) == Missing(-2, own=True, due=-2)


@pytest.mark.parametrize("meter", ["daily", "sum"])
@pytest.mark.parametrize(("counted", "due"), [(5, 5), (0, 0)])
def test_of_a_subscription_before_only_what_counts_as_told_is_due(
    meter: str, counted: int, due: int
) -> None:
    found = missing(heard((5, BEFORE)), meter, said=0, counted=counted)
    assert found == Missing(5, own=False, due=due)


def test_of_a_sum_that_two_share_the_event_that_is_missing_says_whose_it_was() -> None:
    rows = heard((4, BEFORE), (4, OWN), (5, OWN))
    assert missing(rows, "sum", said=8, counted=9) == Missing(5, own=True, due=5)
    rows = heard((3, BEFORE), (4, OWN), (5, OWN))
    assert missing(rows, "sum", said=9, counted=9) == Missing(3, own=False, due=0)
    assert missing(rows, "sum", said=9, counted=12) == Missing(3, own=False, due=3)


@pytest.mark.parametrize("said", [5, 6, 20])
def test_where_either_may_have_lost_it_nothing_is_said(said: int) -> None:
    """Two of the same size, one of no event's, and more than was sent."""
    assert missing(heard((4, BEFORE), (4, OWN), (1, OWN)), "sum", said=said, counted=5) is None


def test_of_a_daily_meter_the_last_event_is_what_is_missing() -> None:
    rows = heard((4, BEFORE), (9, OWN))
    assert missing(rows, "daily", said=4, counted=9) == Missing(5, own=True, due=5)
    rows = heard((4, OWN), (9, BEFORE))
    assert missing(rows, "daily", said=4, counted=0) == Missing(5, own=False, due=0)


@pytest.mark.parametrize("meter", ["daily", "sum"])
def test_where_it_is_not_known_what_counts_nothing_is_said(meter: str) -> None:
    assert missing(heard((5, OWN)), meter, said=0, counted=3) is None
