"""A whole column of figures at a time, exactly as core.opencost.figures does one by one.

numpy because the conversion of 10,000 rows × 22 figures in Python costs as much as decoding and
storing them together; the argument for exactness stands in core.opencost.figures, and a property
test compares the two with plain Decimal arithmetic.
"""

from collections.abc import Iterable
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from core.opencost.figures import NotANumberError, micro, nano

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bad = NDArray[np.bool_]

FIGURE_MAX = 6e8
"""Units or hours: no single figure of an hour is larger, and a row's fifteen fit a BIGINT's sum."""
WHOLE_MAX = 1e17
"""Bytes, or byte-hours: 100 petabytes in an hour. A day of such hours fits a BIGINT's sum."""


def table(rows: list[tuple[float | None, ...]], width: int) -> Floats:
    """Return (rows, width) float64, null as NaN."""
    try:
        flat = np.fromiter(chain.from_iterable(rows), np.float64, count=len(rows) * width)
        return flat.reshape(len(rows), width)
    except TypeError:
        return np.array(rows, dtype=np.float64).reshape(len(rows), width)


def nanos(figures: Floats) -> tuple[Ints, Bad]:
    """Return 10⁻⁹ units, and where a figure is null, not finite or out of range (0 stands there)."""
    return exact(figures, figures.shape[1])


def micros(figures: Floats) -> tuple[Ints, Bad]:
    """Return 10⁻⁶ of a quantity, and where that is not possible."""
    return exact(figures, 0)


def wholes(figures: Floats) -> tuple[Ints, Bad]:
    """Return whole numbers, half-even, and where that is not possible."""
    good, bad = _good(figures, WHOLE_MAX)
    return np.rint(good).astype(np.int64), bad


def _good(figures: Floats, most: float) -> tuple[Floats, Bad]:
    """Return the figures with 0 for each that is no number or beyond `most`, and which those are.

    Almost always none is, which the smallest and the largest tell (a NaN is both).
    """
    if figures.min(initial=0) >= -most and figures.max(initial=0) <= most:
        return figures, np.zeros(figures.shape, np.bool_)
    bad: Bad = ~(np.abs(figures) <= most)
    return np.where(bad, 0.0, figures), bad


def exact(figures: Floats, money: int) -> tuple[Ints, Bad]:
    """Return the first `money` columns in 10⁻⁹, the others in 10⁻⁶; and where that is not possible.

    Both in one go: an answer of a hundred rows costs as many calls of numpy as one of a million.
    """
    good, bad = _good(figures, FIGURE_MAX)
    k = np.rint(good * 1e5)
    found = k.astype(np.int64)
    found[:, :money] *= 10_000
    found[:, money:] *= 10
    other = k / 1e5 != good
    for row, column in _places(other) if other.any() else ():
        one = nano if column < money else micro
        try:
            found[row, column] = one(float(good[row, column]))
        except NotANumberError:
            bad[row, column] = True
    return found, bad


def _places(mask: Bad) -> Iterable[tuple[int, int]]:
    return ((int(row), int(column)) for row, column in np.argwhere(mask))
