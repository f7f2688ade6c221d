"""Money is an integer of nano-units of the currency (10⁻⁹) inside, Decimal at the edges.

The one rounding of what comes in stands here: half-even, to the nano.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal

NANO = 1_000_000_000
NANO_MAX = 2**63 - 1
"""What a BIGINT column holds: 9.2 thousand million units."""

_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_ONE = Decimal(1)


def nano_from_decimal(amount: Decimal) -> int:
    """Round `amount` (units) half-even to nano-units; OverflowError beyond a BIGINT."""
    if not amount.is_finite():
        raise ValueError(f"{amount} is no finite amount")
    if amount.adjusted() > 12:
        raise OverflowError(f"{amount} is beyond what the books can hold")
    nano = int(_EXACT.quantize(_EXACT.multiply(amount, Decimal(NANO)), _ONE))
    if abs(nano) > NANO_MAX:
        raise OverflowError(f"{amount} is beyond what the books can hold")
    return nano


def decimal_from_nano(nano: int) -> Decimal:
    """Return exactly the amount in units, with nine decimals."""
    return Decimal(nano).scaleb(-9, _EXACT)


def text_from_nano(nano: int, decimals: int = 2) -> str:
    """Return an amount for people, rounded half-even to `decimals`, with thin groups: `1 234.50`."""
    step = Decimal(1).scaleb(-decimals)
    rounded = _EXACT.quantize(decimal_from_nano(nano), step)
    return f"{rounded:,.{decimals}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
