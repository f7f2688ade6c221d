"""The factor of a plan: what one unit of OpenCost's cost is charged as. Light: terminals read it too."""

from decimal import Decimal

from core.rates.number import Limits, read_number

DECIMALS_MAX = 6
FACTOR_MAX = 1_000
"""Above it the charges of a dear day could leave what a BIGINT holds; it is a slip of the finger."""
_LIMITS = Limits(
    "factor", "1.25", DECIMALS_MAX, Decimal(FACTOR_MAX), "is what 1.00 of cost would become"
)


def parse_factor(text: str) -> Decimal:
    """Read a factor as people type it, `1.25`; 0 makes what it prices free."""
    return read_number(text, _LIMITS)


def factor_text(factor: Decimal) -> str:
    """Return a factor, or a price, without the zeros at its end: `1.25`, `0`."""
    return f"{factor.normalize():f}"
