"""What an invoice counted of what Stripe was told, by its quantity."""

from datetime import date

import pytest

from core.billing.stripe.reporting.billed import Told, not_billed

MON, TUE = date(2026, 3, 9), date(2026, 3, 10)


def daily(day: date, value: int, *, within: bool = True) -> Told:
    return Told(day, "daily", value, within)


def added(day: date, value: int, *, within: bool = True) -> Told:
    return Told(day, "sum", value, within)


@pytest.mark.parametrize(
    ("told", "counted", "billed", "unheard"),
    [
        ([daily(MON, 3), daily(MON, 7)], {MON: 7}, 7, {}),
        ([daily(MON, 3), daily(MON, 7)], {MON: 7}, 3, {MON: 4}),
        ([daily(MON, 3), daily(TUE, 5)], {MON: 3, TUE: 5}, 0, {MON: 3, TUE: 5}),
        ([added(MON, 3), added(TUE, 5), added(MON, -1)], {MON: 2, TUE: 5}, 8, {MON: -1}),
        ([added(MON, 3), added(MON, -5)], {MON: -2}, 0, {MON: -2}),
        # Taken back before, as too late: Stripe has it, and it is not counted as told any more.
        ([added(MON, 3), added(MON, 5)], {MON: 3}, 3, {}),
    ],
)
def test_the_last_reports_are_those_that_came_too_late(
    told: list[Told], counted: dict[date, int], billed: int, unheard: dict[date, int]
) -> None:
    assert not_billed(told, counted, billed) == unheard


@pytest.mark.parametrize(
    ("told", "billed", "unheard"),
    [
        # The day's newest event is another subscription's: the invoice counts nothing of the day,
        ([daily(MON, 3), daily(TUE, 5), daily(TUE, 8, within=False)], 3, {TUE: 8}),
        # or the newest of its own time,
        ([daily(MON, 3), daily(TUE, 5), daily(TUE, 8, within=False)], 8, {TUE: 3}),
        # and a sum what is of its time, whatever was told in between.
        ([added(TUE, 5), added(TUE, 3, within=False), added(MON, 3)], 8, {TUE: 3}),
    ],
)
def test_of_a_day_that_is_shared_the_instants_of_events_decide(
    told: list[Told], billed: int, unheard: dict[date, int]
) -> None:
    assert not_billed(told, {MON: 3, TUE: 8}, billed) == unheard


def test_a_quantity_that_no_late_report_explains_is_left_alone() -> None:
    assert not_billed([daily(MON, 3), daily(MON, 7)], {MON: 7}, 5) is None
    assert not_billed([], {}, 5) is None
    assert not_billed([], {}, 0) == {}
