"""When credits run out at the present pace: the rule alone, as a function of values."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from typing import Final

PACE_DAYS: Final = 7
"""Closed days whose mean charge is the pace."""
AHEAD_DAYS_MAX: Final = 3650
"""Further ahead than ten years nothing is foretold."""


@dataclass(frozen=True)
class Left:
    """What is left in a lot, which pays the days before `expires_on`."""

    remaining_nano: int
    expires_on: date | None


@dataclass(frozen=True)
class Pace:
    """What an account was charged over some closed days."""

    charged_nano: int = 0
    days: int = 0

    @property
    def a_day_nano(self) -> int:
        """Return the mean of a day, for people; what is computed with it stays exact."""
        return self.charged_nano // self.days if self.days else 0


def runs_out_on(lots: Iterable[Left], pace: Pace, today: date) -> date | None:
    """Return the day on which nothing is left of lots in the order of use; None: not in ten years.

    A lot lasts until it is used up, or until its date, when the rest of it expires.
    """
    daily = Fraction(max(pace.charged_nano, 0), pace.days) if pace.days else Fraction(0)
    spent_days = Fraction(0)
    for lot in lots:
        lasts_days = lot.remaining_nano / daily if daily else Fraction(AHEAD_DAYS_MAX + 1)
        if lot.expires_on is not None:
            until_days = Fraction((lot.expires_on - today).days)
            if until_days <= spent_days:
                continue  # past its date: it pays no day to come
            lasts_days = min(lasts_days, until_days - spent_days)
        spent_days += lasts_days
        if spent_days > AHEAD_DAYS_MAX:
            return None
    return today + timedelta(days=int(spent_days))
