"""What the next report of a day says: whole units, and the fraction that is carried on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """`units` is the day's total v with this report, `remainder_nano` what is left under a unit, R."""

    units: int
    remainder_nano: int


def next_step(
    *, total_nano: int, snapshot_nano: int, units: int, remainder_nano: int, unit_nano: int
) -> Step:
    """Return the step from what was reported of a day (s, v) to its total, with the remainder R.

    The remainder is the account's one, not the day's: fractions of all its days add up to units
    sooner or later, in whichever day is reported then. So the step may be -1, and no nano is lost.
    """
    assert 0 <= remainder_nano < unit_nano
    whole, rest = divmod(total_nano - snapshot_nano + remainder_nano, unit_nano)
    return Step(units + whole, rest)
