"""What an allocation is charged as, line by line, in plain Python.

The books charge by one function of the database, `hopsmeter.charge_nano`; this says how its figure
comes about, and is its oracle: the lines add up exactly, and are rounded once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact
from typing import Final

from core.money import NANO
from core.rates.card import RESOURCES
from core.rates.terms import Terms

_EXACT: Final = Context(prec=200, traps=[Inexact])
_ROUNDING: Final = Context(prec=200, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True)
class ChargeLine:
    """`quantity` less what is `free` of it, in `unit`, × `price` is `amount_nano`, exactly.

    On cost the unit is empty: the quantity is money, the price a factor.
    """

    what: str
    quantity: Decimal
    free: Decimal
    unit: str
    price: Decimal
    amount_nano: Decimal


def charge_lines(
    figures: Mapping[str, int], terms: Terms, free: Mapping[str, int]
) -> tuple[ChargeLine, ...]:
    """Return the lines of a charge; `figures` and `free` by the columns of allocations."""
    if terms.factor is None:
        return _card_lines(figures, terms, free)
    own = {kind: figures[f"{kind}_nano"] for kind in terms.factors}
    rest_nano = figures["total_nano"] - sum(own.values())
    lines = [_cost_line(kind, own[kind], factor) for kind, factor in terms.factors.items()]
    return (*lines, _cost_line("other cost" if own else "cost", rest_nano, terms.factor))


def charge_nano(figures: Mapping[str, int], terms: Terms, free: Mapping[str, int]) -> int:
    """Return the charge in nano-units: the exact sum of its lines, rounded half-even."""
    exact = Decimal(0)
    for line in charge_lines(figures, terms, free):
        exact = _EXACT.add(exact, line.amount_nano)
    return int(_ROUNDING.quantize(exact, Decimal(1)))


def _cost_line(what: str, cost_nano: int, factor: Decimal) -> ChargeLine:
    cost = _EXACT.divide(Decimal(cost_nano), Decimal(NANO))
    amount_nano = _EXACT.multiply(Decimal(cost_nano), factor)
    return ChargeLine(what.replace("_", " "), cost, Decimal(0), "", factor, amount_nano)


def _card_lines(
    figures: Mapping[str, int], terms: Terms, free: Mapping[str, int]
) -> tuple[ChargeLine, ...]:
    lines = []
    for name, price in terms.prices.items():
        of = RESOURCES[name]
        size, used, spared = Decimal(of.size), figures[of.figure], free.get(of.figure, 0)
        units = _EXACT.divide(Decimal(used - spared), size)
        lines.append(
            ChargeLine(
                name,
                _EXACT.divide(Decimal(used), size),
                _EXACT.divide(Decimal(spared), size),
                of.units,
                price,
                _EXACT.multiply(_EXACT.multiply(units, price), Decimal(NANO)),
            )
        )
    return tuple(lines)
