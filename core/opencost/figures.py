"""From the numbers that OpenCost prints to exact integers.

OpenCost's figures are float64 and it prints the shortest text that means the same float64, so
reading that text as a float64 loses nothing: it is OpenCost's own number again. What a person
reads off it is its shortest decimal, and that decimal is what we round, once, half-even.

The fast way: almost every figure is k · 10⁻⁵, since OpenCost rounds to five decimals. If k / 10⁵
is again the same float64 and k has at most 15 digits, k · 10⁻⁵ *is* the shortest decimal (two
decimals of 15 digits never share a float64), and the integer follows without any rounding.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from math import isfinite

INT64_MAX = 2**63 - 1
_DIGITS_15 = 10**15
_CONTEXT = Context(prec=400, rounding=ROUND_HALF_EVEN)
_ONE = Decimal(1)


class NotANumberError(ValueError):
    """A figure is null, not finite, or beyond what a BIGINT holds."""


def _rounded(figure: float | None, decimals: int) -> int:
    if figure is None or not isfinite(figure):
        raise NotANumberError
    scaled = _CONTEXT.scaleb(Decimal(repr(figure)), decimals)
    whole = int(_CONTEXT.quantize(scaled, _ONE))
    if abs(whole) > INT64_MAX:
        raise NotANumberError
    return whole


def nano(figure: float | None) -> int:
    """Return 10⁻⁹ units of a money figure; NotANumberError for null, NaN, ∞ and overflow."""
    if not figure:
        if figure is None:
            raise NotANumberError
        return 0
    try:
        k = round(figure * 1e5)
    except (ValueError, OverflowError):
        raise NotANumberError from None
    if k / 1e5 == figure and -_DIGITS_15 < k < _DIGITS_15:
        # 9.2 thousand million units is the most a BIGINT of nano-units holds.
        if not -INT64_MAX <= k * 10_000 <= INT64_MAX:
            raise NotANumberError
        return k * 10_000
    return _rounded(figure, 9)


def micro(figure: float | None) -> int:
    """Return 10⁻⁶ of a quantity (core-hours, GPU-hours, minutes), as `nano` does for money."""
    if not figure:
        if figure is None:
            raise NotANumberError
        return 0
    try:
        k = round(figure * 1e5)
    except (ValueError, OverflowError):
        raise NotANumberError from None
    if k / 1e5 == figure and -_DIGITS_15 < k < _DIGITS_15:
        return k * 10
    return _rounded(figure, 6)


def whole(figure: float | None) -> int:
    """Return whole bytes or byte-hours, half-even; OpenCost prints parts of a byte."""
    if figure is None:
        raise NotANumberError
    try:
        rounded = round(figure)
    except (ValueError, OverflowError):
        raise NotANumberError from None
    if abs(rounded) > INT64_MAX:
        raise NotANumberError
    return rounded
