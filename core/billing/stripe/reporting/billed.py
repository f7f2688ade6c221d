"""What an invoice counted of what Stripe was told: found from its quantity, by how metering goes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Told:
    """What Stripe has of a day by one report: of a daily meter the whole, of a sum what it added."""

    day: date
    meter: str
    value: int
    within: bool
    """Whether it is for an instant that the invoice bills: a last invoice ends within its day."""


def not_billed(
    told: Sequence[Told], counted: Mapping[date, int], billed: int
) -> dict[date, int] | None:
    """Return by day the units that are counted as told, and that an invoice of `billed` did not count.

    `told` are an invoice's days, the oldest report first. Reports of an account go one after the other,
    so what came too late are the last of them. Less than nothing is billed as nothing: then what is
    below it was not billed either. None where no number of late reports explains the invoice.
    """
    heard: dict[date, list[Told]] = defaultdict(list)
    for each in told:
        heard[each.day].append(each)
    # Of a day that another subscription shares it is not known whether Stripe looks for the day's last
    # event among all, or among those of the invoice's own time: what fits is taken.
    pairs = {day: (_day(rows, own=False), _day(rows, own=True)) for day, rows in heard.items()}
    for late in range(len(told) + 1):
        if late:
            day = told[-late].day
            heard[day].pop()
            pairs[day] = (_day(heard[day], own=False), _day(heard[day], own=True))
        for way in (0, 1):
            by_day = {day: pair[way] for day, pair in pairs.items()}
            total = sum(by_day.values())
            if max(total, 0) != billed:
                continue
            if total < 0:
                by_day[told[-late - 1].day] -= total
            unheard = {day: counted.get(day, 0) - by_day.get(day, 0) for day in {*counted, *by_day}}
            return {day: units for day, units in sorted(unheard.items()) if units}
    return None


def _day(rows: Sequence[Told], *, own: bool) -> int:
    """Return what an invoice counts of a day by these reports; `own`: by those of its own time alone."""
    if own:
        rows = [each for each in rows if each.within]
    if not rows:
        return 0
    if rows[-1].meter == "daily":
        return rows[-1].value if rows[-1].within else 0
    return sum(each.value for each in rows if each.within)
