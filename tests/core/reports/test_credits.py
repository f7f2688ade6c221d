"""When credits run out, what an account's sums are, and that both are what the books say."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import utc_now
from core.reports.credits import credit_line, find_line, lots_at, sums_at
from core.reports.ledger import statement
from core.reports.runway import Left, Pace, runs_out_on
from tests.core.billing.ledger_site import (
    adjusted,
    bill,
    books,
    day,
    expire,
    granted,
    pays,
    refunded,
)
from tests.core.billing.test_ledger import anna
from tests.core.metering.site import ADMIN, FIRST, Site, site
from tests.factories import User

__all__ = ["anna", "site"]

TODAY = date(2026, 3, 1)
WEEK = Pace(70, 7)


@pytest.mark.parametrize(
    ("lots", "pace", "on"),
    [
        ([(25, None)], WEEK, 2),
        ([(30, None)], WEEK, 3),
        ([(25, 1)], WEEK, 1),
        ([(100, 2), (25, None)], WEEK, 4),
        ([(5, 4), (100, 5)], WEEK, 5),
        ([(50, -1), (25, None)], WEEK, 2),
        ([(50, 0)], WEEK, 0),
        ([(25, None)], Pace(), None),
        ([(25, 40)], Pace(), 40),
        ([(25, None)], Pace(-7, 7), None),
        ([(1, None)], Pace(3, 7), 2),
        ([(10**9, None)], Pace(1, 7), None),
        ([], WEEK, 0),
    ],
)
def test_credits_last_until_they_are_used_up_or_expire(
    lots: list[tuple[int, int | None]], pace: Pace, on: int | None
) -> None:
    left = [Left(nano, None if end is None else TODAY + timedelta(days=end)) for nano, end in lots]
    expected = None if on is None else TODAY + timedelta(days=on)
    assert runs_out_on(left, pace, TODAY) == expected


@given(
    st.lists(st.tuples(st.integers(1, 60), st.none() | st.integers(-2, 30)), max_size=5),
    st.integers(1, 12),
)
def test_the_day_is_what_paying_day_after_day_finds(
    lots: list[tuple[int, int | None]], a_day: int
) -> None:
    ordered = sorted(lots, key=lambda lot: 99 if lot[1] is None else lot[1])
    left = [[nano, end] for nano, end in ordered]
    number = 0
    while True:
        due = a_day
        for lot in left:
            assert lot[0] is not None
            if lot[1] is None or lot[1] > number:
                part = min(lot[0], due)
                lot[0], due = lot[0] - part, due - part
        if due:
            break
        number += 1
    found = runs_out_on(
        [Left(n, None if e is None else TODAY + timedelta(days=e)) for n, e in ordered],
        Pace(a_day * 7, 7),
        TODAY,
    )
    assert found == TODAY + timedelta(days=number)


def test_what_came_less_what_went_is_what_is_left(site: Site, anna: User) -> None:
    pays(site, anna, "prepaid", 0)
    bought = granted(site, anna, 5, bought=True)
    granted(site, anna, 2, expires=1)
    bill(site, {"a": 1.25}, 0)
    adjusted(site, anna, -0.5, "x")
    refunded(site, anna, 1, "re_1", bought.lot)
    bill(site, {"a": 9}, 24)
    granted(site, anna, 7)
    site.now = FIRST + timedelta(days=5)
    expire(site)
    account = find_line(site.connection, ADMIN, anna.email, site.now)
    sums = sums_at(site.connection, account, utc_now())
    units = {name: nano / 10**9 for name, nano in vars(sums).items() if name != "account_no"}
    assert units == {
        "bought_nano": 5,
        "granted_nano": 8.5,
        "refunded_nano": 1,
        "used_nano": 10.25,
        "expired_nano": 0.25,
        "credits_nano": 2,
        "arrears_nano": 0,
        "receivable_nano": 0,
    }
    assert books(site, anna) == {"credits": 2}
    told = statement(site.connection, account, day(0), day(31))
    assert told.lines[-1].credits_after_nano == sums.credits_nano
    drawn = sum(draw.amount_nano for line in told.lines for draw in line.draws)
    assert drawn == sums.credits_nano


def test_every_moment_is_remembered(site: Site, anna: User) -> None:
    pays(site, anna, "hybrid", 0)
    moments, stood = [], []
    for step in range(4):
        if step % 2:
            bill(site, {"a": 1}, step)
        else:
            granted(site, anna, 1.5)
        moments.append(utc_now())
        stood.append(books(site, anna).get("credits", 0))
    account = find_line(site.connection, ADMIN, anna.id, site.now)
    for moment, credits_ in zip(moments, stood, strict=True):
        assert sums_at(site.connection, account, moment).credits_nano / 10**9 == credits_
        lots = lots_at(site.connection, account, moment)
        assert sum(lot.remaining_nano for lot in lots) / 10**9 == credits_
    assert lots_at(site.connection, account, moments[0] - timedelta(days=1)) == ()


def test_the_pace_is_the_mean_of_closed_days_since_the_first_charge(site: Site, anna: User) -> None:
    pays(site, anna, "prepaid", 0)
    granted(site, anna, 20)
    for number in range(4):
        bill(site, {"b": 1}, number * 24)
    bill(site, {"a": 4}, 4 * 24)
    bill(site, {"a": 2}, 5 * 24)
    bill(site, {"a": 100}, 6 * 24)
    site.now = FIRST + timedelta(days=6, hours=2)
    granted(site, anna, 95)
    line = credit_line(
        site.connection, find_line(site.connection, ADMIN, anna.id, site.now), site.now
    )
    assert (line.pace.days, line.pace.a_day_nano) == (2, 3 * 10**9)
    assert line.sums.credits_nano == 9 * 10**9
    assert line.runs_out_on == day(6 + 3)
