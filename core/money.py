"""Money is an integer of nano-units of the currency (10⁻⁹) inside, Decimal at the edges.

The one rounding of what comes in stands here: half-even, to the nano.
"""

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal

from core.errors import InputFault

NANO = 1_000_000_000
NANO_MAX = 2**63 - 1
"""What a BIGINT column holds: 9.2 thousand million units."""

_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_ONE = Decimal(1)
_AMOUNT = re.compile(r"[+-]?[0-9]{1,30}(\.(?P<part>[0-9]+))?")
DECIMALS_MAX = 9


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


def exact_from_nano(nano: int) -> str:
    """Return an amount for people with every digit it has, two decimals at least: `1 234.50`."""
    part = f"{abs(nano) % NANO:09d}".rstrip("0")
    return text_from_nano(nano, max(2, len(part)))


def nano_from_text(text: str) -> int:
    """Read an amount as people type it, `25` or `-0.125`, exactly; InputFault, never a rounding."""
    said = _AMOUNT.fullmatch(text)
    if said is None:
        raise InputFault(
            f"{text[:40]!r} is no amount; write it like 25 or 12.50. Nothing was changed."
        )
    if len(said["part"] or "") > DECIMALS_MAX:
        raise InputFault(
            f"An amount has at most {DECIMALS_MAX} decimals, {text[:40]} has"
            f" {len(said['part'])}. Nothing was changed."
        )
    try:
        return nano_from_decimal(Decimal(text))
    except OverflowError:
        raise InputFault(f"{text[:40]} is more than the books hold. Nothing was changed.") from None
