"""Figures become exact integers: the same as plain Decimal arithmetic on the printed text."""

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Context, Decimal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.opencost import matrix
from core.opencost.figures import INT64_MAX, NotANumberError, micro, nano, whole

BIG = Context(prec=800, rounding=ROUND_HALF_EVEN)
FLOAT_MAX = float(matrix.FIGURE_MAX)

figures = st.floats(-FLOAT_MAX, FLOAT_MAX, allow_nan=False)
printed = st.integers(-(10**14), 10**14).map(lambda k: float(Decimal(k).scaleb(-5)))
nonsense = st.sampled_from([float("inf"), float("-inf"), float("nan"), 1e300, -1.97e25])


def plain(text: str, decimals: int) -> int:
    """What a person with pencil and paper makes of the text."""
    return int(BIG.quantize(BIG.scaleb(Decimal(text), decimals), Decimal(1)))


@given(figures | printed)
@example(5e-10)
@example(1.5e-9)
@example(2.5e-9)
@example(0.1 + 0.2)
@example(-0.0)
@example(5e-324)
@example(999_999_999.999_99)
def test_any_float_becomes_the_nano_of_its_shortest_text(figure: float) -> None:
    assert nano(figure) == plain(repr(figure), 9)
    assert micro(figure) == plain(repr(figure), 6)


@given(st.integers(-(10**14), 10**14))
def test_five_printed_decimals_are_kept_to_the_last(k: int) -> None:
    text = str(Decimal(k).scaleb(-5))
    assert nano(float(text)) == k * 10_000
    assert micro(float(text)) == k * 10


@given(st.floats(-(2.0**53), 2.0**53))
@example(0.5)
@example(1.5)
@example(4294967296.5)
def test_parts_of_a_byte_round_half_even(figure: float) -> None:
    assert whole(figure) == plain(repr(figure), 0)


@given(st.integers(0, 10**9))
def test_halves_of_a_nano_go_to_the_even_side(number: int) -> None:
    text = f"{number}e-9"
    half = Decimal(text) + Decimal("0.5e-9")
    shortest = float(half)
    if Decimal(repr(shortest)) == half:
        assert nano(shortest) == number + number % 2


@pytest.mark.parametrize("convert", [nano, micro, whole])
@pytest.mark.parametrize("figure", [None, float("inf"), float("-inf"), float("nan"), 1e300, -1e19])
def test_what_is_no_number_or_beyond_a_bigint_is_said(
    convert: Callable[[float | None], int], figure: float | None
) -> None:
    if convert is micro and figure == -1e19:
        figure = -1e13
    with pytest.raises(NotANumberError):
        convert(figure)


@given(st.lists(st.tuples(figures | printed | nonsense | st.none()), min_size=1, max_size=30))
def test_columns_convert_as_single_figures_do(rows: list[tuple[float | None, ...]]) -> None:
    table = matrix.table(rows, 1)
    for convert, decimals in ((matrix.nanos, 9), (matrix.micros, 6)):
        exact, bad = convert(table)
        for (figure,), integer, is_bad in zip(rows, exact[:, 0], bad[:, 0], strict=True):
            usable = figure is not None and abs(figure) <= FLOAT_MAX
            assert bool(is_bad) is not usable
            assert int(integer) == (plain(repr(figure), decimals) if usable else 0)


@given(st.lists(st.tuples(st.floats() | st.none()), min_size=1, max_size=30))
def test_columns_of_bytes_say_what_they_cannot_hold(rows: list[tuple[float | None, ...]]) -> None:
    exact, bad = matrix.wholes(matrix.table(rows, 1))
    for (figure,), integer, is_bad in zip(rows, exact[:, 0], bad[:, 0], strict=True):
        usable = figure is not None and abs(figure) <= matrix.WHOLE_MAX
        assert bool(is_bad) is not usable
        assert int(integer) == (round(figure) if usable and figure is not None else 0)


def test_no_column_can_overflow_the_sum_of_its_row() -> None:
    most, bad = matrix.nanos(np.full((1, 15), FLOAT_MAX))
    assert not bad.any()
    assert sum(most[0].tolist()) <= INT64_MAX
