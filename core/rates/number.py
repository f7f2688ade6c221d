"""Numbers of rates as people type them: exact, never below zero, within what the books can hold."""

import re
from dataclasses import dataclass
from decimal import Decimal

from core.errors import InputFault

_NUMBER = re.compile(r"(?P<sign>-?)(?P<whole>[0-9]{1,30})(\.(?P<part>[0-9]+))?")


@dataclass(frozen=True)
class Limits:
    """What one kind of number may be, and the words to say so."""

    what: str
    like: str
    decimals_max: int
    number_max: Decimal
    beyond: str
    """What a number above the greatest would mean."""


def read_number(text: str, limits: Limits) -> Decimal:
    """Read a number exactly; InputFault says what it should be."""
    what = limits.what
    said = _NUMBER.fullmatch(text)
    if said is None:
        raise InputFault(
            f"{text[:40]!r} is no {what}; write it like {limits.like}. Nothing was changed."
        )
    if said["sign"]:
        raise InputFault(f"A {what} is 0 (free) or more. Nothing was changed.")
    if len(said["part"] or "") > limits.decimals_max:
        raise InputFault(
            f"A {what} has at most {limits.decimals_max} decimals, {text[:40]} has"
            f" {len(said['part'])}. Nothing was changed."
        )
    number = Decimal(text)
    if number > limits.number_max:
        raise InputFault(
            f"A {what} is at most {limits.number_max}: {text} {limits.beyond}. Nothing was changed."
        )
    return number
