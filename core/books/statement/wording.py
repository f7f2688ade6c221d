"""What every form of a statement says in the same words."""

from typing import Final

from core.books.completeness import ClusterHours, HourSpan
from core.books.statement.figures import Presented, Restated, RestatedDay, Told
from core.books.statement.proof import faults
from core.clock import hour_text
from core.money import text_from_nano

ROUNDING: Final = (
    "Charges are computed per namespace and hour, and rounded once, half to even, to nine decimals"
    " (a billionth of the currency). Nothing is rounded after that: sums are exact. Amounts with two"
    " decimals are those same amounts rounded half to even for reading, each by itself, so only the"
    " exact ones add up to the last digit."
)
_HOURS: Final = {
    "gap": "lost: the source no longer has it, and nothing is charged for it",
    "waived": "not metered, and not charged",
    "missing": "not read yet",
    "due": "not read yet",
    "failed": "could not be read yet",
    "refused": "read, and not believed yet",
    "held": "charged as first read; a later reading is being looked at",
    "collected": "charged, and read once more a day later",
}
"""By the state of an hour."""
RESTATED: Final = (
    "Charges of this month that were posted, and posted again when the source restated an hour, when"
    " it became this account's or ceased to be, or when a plan was dated back. The charges above have"
    " them in already. A minus means less is charged."
)
_CHANGES: Final = {
    "restated": "the source restated what they cost",
    "came": "became this account's later",
    "went": "ceased to be this account's",
    "owner": "mapped anew",
    "plan": "priced by another plan",
    "other": "attributed anew",
}
"""By what a restated day says."""
SHARED: Final = (
    "Where a plan includes something, what is free of an hour moves with all others of its month: such"
    " hours are named, and charged together."
)


def state(found: Presented) -> str:
    """Return whether the figures may still change, in a sentence."""
    if found.sha256 is None:
        return (
            "Provisional: the month is open, and its figures may still change until it is closed."
        )
    when = f" on {found.closed_at:%Y-%m-%d}" if found.closed_at else ""
    return (
        f"Final: the month was closed{when} and these are its frozen figures. What is corrected"
        " later stands in the statement of the month it is corrected in."
    )


def proof(found: Presented) -> str:
    """Return whether the statement adds up to the ledger, in a sentence; what does not is named."""
    wrong = faults(found.statement)
    if wrong:
        return f"This statement does not add up: {'; '.join(wrong)}."
    entries = found.statement.entries
    count = "1 ledger entry" if entries == 1 else f"{entries} ledger entries"
    return (
        f"All figures were compared with the {count} of the month, the hours they"
        " came of and the lots they drew from, and are equal to the last digit."
    )


def told(found: Told) -> list[tuple[str, int]]:
    """Return what was told to Stripe and settled outside of it, in words, with the amounts."""
    parts = [
        ("reported to Stripe", found.reports, "report", found.reported_nano),
        ("settled outside of Stripe", found.settlements, "settlement", found.settled_nano),
    ]
    return [
        (f"{what}, {number} {word}{'' if number == 1 else 's'}", nano)
        for what, number, word, nano in parts
        if number
    ]


def change(each: RestatedDay) -> str:
    """Return why hours were charged anew."""
    return _CHANGES.get(each.what, each.what)


def namespaces(each: RestatedDay) -> str:
    """Return the namespaces that a row names, and how many there are beside them."""
    named = ", ".join(each.namespaces)
    return f"{named} and {each.namespaces_more} more" if each.namespaces_more else named


def hours_of_day(each: RestatedDay) -> str:
    """Return its hours as spans: `00Z to 02Z, 05Z`."""
    spans: list[list[int]] = []
    for hour in each.hours:
        if spans and spans[-1][-1] == hour - 1:
            spans[-1][1:] = [hour]
        else:
            spans.append([hour])
    return ", ".join(" to ".join(f"{hour:02}Z" for hour in span) for span in spans)


def more(found: Restated) -> str:
    """Return what is not listed, in a sentence; nothing where all is."""
    if not found.more:
        return ""
    return f"and {found.more} more, {text_from_nano(found.more_nano, 9)} together."


def hours(each: ClusterHours) -> str:
    """Return how much of a cluster's month is in the books, in a sentence."""
    if each.hours == 1:
        return f"{each.cluster}: 1 hour, {'' if each.stored else 'not '}in the books."
    stored = "all" if each.hours == each.stored else each.stored or "none"
    return f"{each.cluster}: {each.hours} hours, {stored} of them in the books."


def span(each: HourSpan) -> str:
    """Return hours that are missing or not settled, as a sentence."""
    when = hour_text(each.first)
    if each.hours > 1:
        when += f" to {hour_text(each.last)} ({each.hours} hours)"
    why = f" ({each.why})" if each.why else ""
    return f"{when}: {_HOURS.get(each.state, each.state)}{why}."
