"""What every form of a statement says in the same words."""

from typing import Final

from core.books.completeness import ClusterHours, HourSpan
from core.books.statement.figures import Presented
from core.books.statement.proof import faults
from core.clock import hour_text

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
    return (
        f"All figures were compared with the {entries} ledger entries of the month, the hours they"
        " came of and the lots they drew from, and are equal to the last digit."
    )


def hours(each: ClusterHours) -> str:
    """Return how much of a cluster's month is in the books, in a sentence."""
    stored = "all of them" if each.hours == each.stored else f"{each.stored} of them"
    return f"{each.cluster}: {each.hours} hours, {stored} in the books."


def span(each: HourSpan) -> str:
    """Return hours that are missing or not settled, as a sentence."""
    when = hour_text(each.first)
    if each.hours > 1:
        when += f" to {hour_text(each.last)} ({each.hours} hours)"
    why = f" ({each.why})" if each.why else ""
    return f"{when}: {_HOURS.get(each.state, each.state)}{why}."
