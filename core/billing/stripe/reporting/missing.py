"""What Stripe lacks of a day: which of it is due again, and which was taken back already."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heard:
    """What Stripe took of a day by one report: of a daily meter the whole, of a sum what it added."""

    value: int
    own: bool
    """Whether it is for an instant that the account's subscription bills, not one before it."""


@dataclass(frozen=True)
class Missing:
    """Units that Stripe accepted and does not count, of the subscription's own time or of before.

    `due` of them counted as told; the others were taken back when a subscription ended uninvoiced.
    Less than nothing, where Stripe counts more than it accepted.
    """

    units: int
    own: bool
    due: int


def missing(heard: Sequence[Heard], meter: str, *, said: int, counted: int) -> Missing | None:
    """Return what is missing of a day of which Stripe says that it has `said` units, the oldest report first.

    `counted` units count as told. None where it cannot be seen of whose time it is: each unit that counts
    as told by mistake is billed to nobody, and each that does not is billed twice.
    """
    whole = heard[-1].value if meter == "daily" and heard else sum(each.value for each in heard)
    mine = sum(each.value for each in heard if each.own)
    units = whole - said
    if meter == "daily":
        sides = {heard[-1].own} if heard else {True}
    else:
        sides = {each.own for each in heard} or {True}
        if len(sides) == 2:  # what was lost is an event
            sides = {each.own for each in heard if each.value == units}
    if len(sides) != 1:
        return None
    (own,) = sides
    if own and counted not in (whole, mine):
        return None
    return Missing(units, own, units if own or counted == whole else 0)
