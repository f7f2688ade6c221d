"""Which of two looks at Stripe was the later one, though a clock of ours may be wrong for a while.

The order of looks is kept by our clock, which is finer than the seconds that Stripe's answers carry; where
the two are far apart, Stripe's counts.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from core.clock import monotonic_s

OVERTAKEN_MAX: Final = timedelta(minutes=10)
"""So much later another fetch can have overtaken ours. What is known of a moment further on was fetched
under a clock that was ahead, and nothing that is fetched now is older than that."""


def ahead_of(at: datetime) -> datetime:
    """Return the moment after which nothing that is known at `at` can have been fetched."""
    return at + OVERTAKEN_MAX


def right(ours: datetime, theirs: datetime | None) -> datetime:
    """Return the time by our clock, or by Stripe's where ours is off by more than a look can take."""
    return ours if theirs is None or abs(ours - theirs) <= OVERTAKEN_MAX else theirs


def moments_since(now: datetime) -> Callable[[], datetime]:
    """Return what tells the time of a run that began at `now`, in whole minutes since.

    A run takes longer than one look can overtake another, and each look needs its own moment. Rounded
    down it is never after the look began.
    """
    begun_s = monotonic_s()
    return lambda: now + timedelta(minutes=int((monotonic_s() - begun_s) // 60))


def date_of(headers: Mapping[str, str]) -> datetime | None:
    """Return the Date of an answer, None where it has none that can be read."""
    text = headers.get("date")
    try:
        at = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return None if at is None else at.replace(tzinfo=at.tzinfo or UTC)
