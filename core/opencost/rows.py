"""From decoded rows to exact integers, with a complaint for each figure that is no number."""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from core.opencost import matrix
from core.opencost.answer import (
    FLAG_NEGATIVE_COST,
    FLAG_NEGATIVE_MINUTES,
    IDLE,
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
    special = _special(names)
    idle = np.flatnonzero(special == IDLE)
    if len(idle) and not _usable(figures[idle[0]]):
        remarks.append("idle-unreadable")
        figures, special = np.delete(figures, idle, axis=0), np.delete(special, idle)
        names = [name for name in names if name != "__idle__"]
    money, quantities = _exact(figures, names, complaints)
    flags = _flags(money, figures[:, _MINUTES], special, names, minutes_max, complaints)
    remarks += _remarks(money, flags)
    return {
        "names": names,
        "special": special,
        "flags": flags,
        "money": money,
        "quantities": quantities,
        "efficiency_ppm": _efficiency(figures[:, _ALL]),
        "remarks": remarks,
    }


def _special(names: list[str]) -> Shorts:
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


def _exact(
    figures: matrix.Floats, names: list[str], complaints: list[Complaint]
) -> tuple[IntArray, IntArray]:
    found, bad_five = matrix.exact(figures[:, :_FIVE], _MONEY)
    whole, bad_whole = matrix.wholes(figures[:, _FIVE:_ALL])
    if bad_five.any() or bad_whole.any():
        _complain(figures, np.hstack((bad_five, bad_whole)), names, complaints)
    money_in, five = found[:, :_MONEY], found[:, _MONEY:]
    money = np.empty((len(figures), TOTAL + 1), np.int64)
    money[:, :_KINDS] = money_in[:, :_KINDS]
    money[:, _KINDS] = money_in[:, _KINDS : _MONEY - 1].sum(axis=1)
    money[:, TOTAL] = money_in[:, _MONEY - 1]
    money[:, TOTAL - 1] = money[:, TOTAL] - money[:, : TOTAL - 1].sum(axis=1)
    # Columns: core-hours, GPU-hours | the four whole ones | minutes.
    return money, np.hstack((five[:, :2], whole, five[:, 2:]))


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


def _flags(
    money: IntArray,
    minutes: NDArray[np.float64],
    special: Shorts,
    names: list[str],
    minutes_max: float,
    complaints: list[Complaint],
) -> Shorts:
    flags = np.where((money[:, :_KINDS] < 0).any(axis=1) | (money[:, TOTAL] < 0), 1, 0)
    assert FLAG_NEGATIVE_COST == 1
    free = ~money.any(axis=1)
    flags[(minutes < 0) & free] |= FLAG_NEGATIVE_MINUTES
    odd = ((minutes < 0) & ~free) | (minutes > minutes_max + MINUTES_SLACK)
    odd &= special != IDLE
    if odd.any():
        said = [f"{names[row]} ({minutes[row]:g} minutes)" for row in np.flatnonzero(odd)]
        message = f"{some(said)}: an hour has 0 to 60 minutes, and these cost money."
        complaints.append(Complaint("minutes", message))
    return flags.astype(np.int16)


def _remarks(money: IntArray, flags: Shorts) -> list[str]:
    remarks = []
    if (flags & FLAG_NEGATIVE_COST).any():
        remarks.append("negative-cost")
    if (flags & FLAG_NEGATIVE_MINUTES).any():
        remarks.append("negative-minutes")
    if (np.abs(money[:, TOTAL - 1]) > ROUNDING_MAX_NANO).any():
        remarks.append("parts-differ")
    return remarks


def _efficiency(figures: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return parts per million, -1 where there is none; what is beyond 2000 means nothing."""
    known = (figures >= 0) & (figures <= EFFICIENCY_MAX)
    return np.where(known, np.rint(np.where(known, figures, 0) * 1e6), -1).astype(np.int32)
