"""The factor of a plan: what one unit of OpenCost's cost is charged as. Light: terminals read it too."""

import re
from decimal import Decimal

from core.errors import InputFault

DECIMALS_MAX = 6
FACTOR_MAX = 1_000
"""Above it the charges of a dear day could leave what a BIGINT holds; it is a slip of the finger."""
_FACTOR = re.compile(r"(?P<sign>-?)(?P<whole>[0-9]{1,9})(\.(?P<part>[0-9]+))?")


def parse_factor(text: str) -> Decimal:
    """Read a factor as people type it, `1.25`; 0 makes what it prices free."""
    said = _FACTOR.fullmatch(text)
    if said is None:
        raise InputFault(f"{text[:40]!r} is no factor; write it like 1.25. Nothing was changed.")
    if said["sign"]:
        raise InputFault("A factor is 0 (free) or more. Nothing was changed.")
    if len(said["part"] or "") > DECIMALS_MAX:
        raise InputFault(
            f"A factor has at most {DECIMALS_MAX} decimals, {text[:40]} has"
            f" {len(said['part'])}. Nothing was changed."
        )
    factor = Decimal(text)
    if factor > FACTOR_MAX:
        raise InputFault(
            f"A factor is at most {FACTOR_MAX}: {text} is what 1.00 of cost would become. Nothing"
            " was changed."
        )
    return factor


def factor_text(factor: Decimal) -> str:
    """Return a factor without the zeros at its end: `1.25`, `0`."""
    return f"{factor.normalize():f}"
