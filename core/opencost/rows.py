"""From decoded rows to exact integers, with a complaint for each figure that is no number."""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from core.opencost import matrix
from core.opencost.answer import (
    FLAG_NEGATIVE_COST,
    FLAG_NEGATIVE_MINUTES,
    IDLE,
    QUANTITY_COLUMNS,
    TOTAL,
    UNMOUNTED,
    Complaint,
    IntArray,
)
from core.opencost.columns import FIGURES
from core.opencost.shape import ADJUSTMENTS, FIVE_DECIMALS, MONEY_KINDS, WHOLE
from core.opencost.words import some

MINUTES_SLACK = 0.01
ROUNDING_MAX_NANO = 1_000_000
"""Parts and total are rounded to 5 decimals each by itself; a thousandth apart is another story."""
EFFICIENCY_MAX = 2_000.0

_SPECIAL = {"__idle__": IDLE, "__unmounted__": UNMOUNTED}
_KINDS = len(MONEY_KINDS)
_MONEY = _KINDS + len(ADJUSTMENTS) + 1
_FIVE = _MONEY + len(FIVE_DECIMALS)
_ALL = _FIVE + len(WHOLE)
_MINUTES = _FIVE - 1

Shorts = NDArray[np.int16]


class ExactRows(TypedDict):
    """The figures' part of an Answer; shapes and units as told there."""

    names: list[str]
    special: Shorts
    flags: Shorts
    money: IntArray
    quantities: IntArray
    efficiency_ppm: NDArray[np.int32]
    remarks: list[str]


def exact_rows(
    figures: matrix.Floats, names: list[str], minutes_max: float, complaints: list[Complaint]
) -> ExactRows:
    """Turn every figure (columns as in `columns.FIGURES`) into its exact integer.

    What cannot be turned is a complaint. An idle row with such a figure is left out and told in
    the remarks: nobody pays for it.
    """
    remarks: list[str] = []
    special = special_rows(names)
    idle = np.flatnonzero(special == IDLE)
    if len(idle) and not _usable(figures[idle[0]]):
        remarks.append("idle-unreadable")
        figures, special = np.delete(figures, idle, axis=0), np.delete(special, idle)
        # By its place: two clusters in one answer have an idle row each.
        names = [*names[: idle[0]], *names[idle[0] + 1 :]]
    exact = exact_figures(figures)
    if exact.bad is not None:
        _complain(figures, exact.bad, names, complaints)
    money, flags = exact.money, flag_rows(exact.money, figures)
    odd = odd_minutes(exact.money, figures, minutes_max) & (special != IDLE)
    if odd.any():
        _complain_minutes(figures[:, _MINUTES], odd, names, complaints)
    remarks += remarks_of(int(np.bitwise_or.reduce(flags)), int(rounding_nano(money).max()))
    return {
        "names": names,
        "special": special,
        "flags": flags,
        "money": money,
        "quantities": exact.quantities,
        "efficiency_ppm": efficiency_ppm(figures),
        "remarks": remarks,
    }


def special_rows(names: list[str]) -> Shorts:
    """Return IDLE or UNMOUNTED for OpenCost's own rows and 0 for the others."""
    special = np.zeros(len(names), np.int16)
    for name, kind in _SPECIAL.items():
        if name in names:
            special[names.index(name)] = kind
    return special


def _usable(figures: matrix.Floats) -> bool:
    return bool(
        (np.abs(figures[:_FIVE]) <= matrix.FIGURE_MAX).all()
        and (np.abs(figures[_FIVE:_ALL]) <= matrix.WHOLE_MAX).all()
    )


@dataclass(frozen=True, eq=False)
class Exact:
    """`figures` are `money` and `quantities` as in an Answer, side by side.

    `bad` is where a figure (rows, _ALL) is no number, None where all are.
    """

    figures: IntArray
    bad: matrix.Bad | None

    @property
    def money(self) -> IntArray:
        return self.figures[:, : TOTAL + 1]

    @property
    def quantities(self) -> IntArray:
        return self.figures[:, TOTAL + 1 :]


def exact_figures(figures: matrix.Floats) -> Exact:
    """Turn figures (columns as in `columns.FIGURES`) into exact integers; 0 where one is bad."""
    found, bad_five = matrix.exact(figures[:, :_FIVE], _MONEY)
    whole, bad_whole = matrix.wholes(figures[:, _FIVE:_ALL])
    # A column in one piece, as in `figures`: sums over the kinds then run down whole columns.
    exact = np.empty((TOTAL + 1 + len(QUANTITY_COLUMNS), len(figures)), np.int64).T
    money, quantities = exact[:, : TOTAL + 1], exact[:, TOTAL + 1 :]
    money[:, :_KINDS] = found[:, :_KINDS]
    money[:, _KINDS] = found[:, _KINDS : _MONEY - 1].sum(axis=1)
    money[:, TOTAL] = found[:, _MONEY - 1]
    money[:, TOTAL - 1] = money[:, TOTAL] - money[:, : TOTAL - 1].sum(axis=1)
    # Columns: core-hours, GPU-hours | the four whole ones | minutes.
    quantities[:, :2] = found[:, _MONEY : _MONEY + 2]
    quantities[:, 2:-1] = whole
    quantities[:, -1] = found[:, _MONEY + 2]
    wrong = bad_five.any() or bad_whole.any()
    return Exact(exact, np.hstack((bad_five, bad_whole)) if wrong else None)


def _complain(
    figures: matrix.Floats, bad: matrix.Bad, names: list[str], complaints: list[Complaint]
) -> None:
    missing = bad & ~np.isfinite(figures[:, :_ALL])
    for mask, fault, word in (
        (missing, "no-number", "no finite number"),
        (bad & ~missing, "out-of-range", "beyond anything an hour can hold"),
    ):
        places = [f"{names[row]}.{FIGURES[column]}" for row, column in np.argwhere(mask)]
        if places:
            message = f"{some(places)}: {word}."
            complaints.append(
                Complaint("no-number" if fault == "no-number" else "out-of-range", message)
            )


def flag_rows(money: IntArray, figures: matrix.Floats) -> Shorts:
    """Return the bits of FLAG_WORDS: a cost below zero, or minutes below zero without any money."""
    assert FLAG_NEGATIVE_COST == 1
    if money[:, :_KINDS].min(initial=0) < 0 or money[:, TOTAL].min(initial=0) < 0:
        below = (money[:, :_KINDS] < 0).any(axis=1) | (money[:, TOTAL] < 0)
        flags = below.astype(np.int16)
    else:
        flags = np.zeros(len(money), np.int16)
    negative = figures[:, _MINUTES] < 0
    if negative.any():
        flags[negative & ~money.any(axis=1)] |= FLAG_NEGATIVE_MINUTES
    return flags


def odd_minutes(money: IntArray, figures: matrix.Floats, minutes_max: float) -> matrix.Bad:
    """Say which rows have more minutes than the hour, or cost something below none."""
    minutes = figures[:, _MINUTES]
    odd: matrix.Bad = minutes > minutes_max + MINUTES_SLACK
    negative = minutes < 0
    if negative.any():
        odd |= negative & money.any(axis=1)
    return odd


def _complain_minutes(
    minutes: NDArray[np.float64], odd: matrix.Bad, names: list[str], complaints: list[Complaint]
) -> None:
    said = [f"{names[row]} ({minutes[row]:g} minutes)" for row in np.flatnonzero(odd)]
    message = f"{some(said)}: an hour has 0 to 60 minutes, and these cost money."
    complaints.append(Complaint("minutes", message))


def rounding_nano(money: IntArray) -> NDArray[np.int64]:
    """Return how far each row's parts are from its total."""
    return np.abs(money[:, TOTAL - 1])


def remarks_of(flags: int, rounding_max_nano: int) -> list[str]:
    """Return the words for what is odd and kept, from all rows' flags and widest rounding."""
    remarks = []
    if flags & FLAG_NEGATIVE_COST:
        remarks.append("negative-cost")
    if flags & FLAG_NEGATIVE_MINUTES:
        remarks.append("negative-minutes")
    if rounding_max_nano > ROUNDING_MAX_NANO:
        remarks.append("parts-differ")
    return remarks


def efficiency_ppm(figures: matrix.Floats) -> NDArray[np.int32]:
    """Return parts per million, -1 where there is none; what is beyond 2000 means nothing."""
    said = figures[:, _ALL]
    known = (said >= 0) & (said <= EFFICIENCY_MAX)
    if known.all():
        return np.rint(said * 1e6).astype(np.int32)
    return np.where(known, np.rint(np.where(known, said, 0) * 1e6), -1).astype(np.int32)
