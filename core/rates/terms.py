"""What a version of a plan says: factors on cost, or prices of quantities. Light: terminals too."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal

from core.errors import InputFault
from core.rates.card import RESOURCES, parse_included, parse_price
from core.rates.factor import factor_text, parse_factor

PlanKind = Literal["cost_plus", "rate_card"]
COST_KINDS: Final = (
    "cpu", "gpu", "ram", "pv", "network", "load_balancer", "shared", "external",
)  # fmt: skip
"""Kinds of cost that may have a factor of their own; adjustments and rounding are at the base one."""
_COLUMNS: Final = (
    ("factors", "factor", COST_KINDS),
    ("prices", "price", tuple(RESOURCES)),
    ("included", "included", tuple(RESOURCES)),
)


@dataclass(frozen=True)
class Terms:
    """Cost-plus: `factor`, and those of single kinds. A rate card: prices, and what is included.

    Prices are for one unit of a resource, `included` is in such units, free in a calendar month.
    """

    factor: Decimal | None = None
    factors: Mapping[str, Decimal] = field(default_factory=dict)
    prices: Mapping[str, Decimal] = field(default_factory=dict)
    included: Mapping[str, Decimal] = field(default_factory=dict)

    @property
    def kind(self) -> PlanKind:
        return "rate_card" if self.factor is None else "cost_plus"

    def columns(self) -> dict[str, Any]:
        """Return it as the columns of rate_plan_versions."""
        found: dict[str, Decimal | None] = {"factor": self.factor}
        for name, ending, keys in _COLUMNS:
            given = getattr(self, name)
            found |= {f"{key}_{ending}": given.get(key) for key in keys}
        return found


def terms_of(row: Mapping[str, Any]) -> Terms:
    """Read terms from the columns of rate_plan_versions, among others."""
    parts = {
        name: {key: row[f"{key}_{ending}"] for key in keys if row[f"{key}_{ending}"] is not None}
        for name, ending, keys in _COLUMNS
    }
    return Terms(row["factor"], **parts)


COLUMNS: Final = tuple(Terms().columns())


def read_terms(
    *,
    factor: str | None,
    factors: Mapping[str, str],
    prices: Mapping[str, str],
    included: Mapping[str, str],
) -> Terms:
    """Read what people typed; InputFault says what does not go together, or is no number."""
    if prices and (factor is not None or factors):
        raise InputFault(
            "A plan has a factor on cost, or prices of quantities, not both. Nothing was changed."
        )
    if factor is None and not prices:
        raise InputFault(
            "Say what is charged: --factor 1.2 (cost-plus, all kinds that have no factor of their"
            " own), or --price cpu=0.03 (a rate card). Nothing was changed."
        )
    if included and not prices:
        raise InputFault(
            "Quantities are included in a rate card, and a factor is on all cost: leave them out, or"
            " give prices (--price cpu=0.03). Nothing was changed."
        )
    return Terms(
        None if factor is None else parse_factor(factor),
        _read(factors, COST_KINDS, "kind of cost", lambda _, text: parse_factor(text)),
        _read(prices, RESOURCES, "resource", parse_price),
        _priced(_read(included, RESOURCES, "resource", parse_included), prices),
    )


def _read(
    given: Mapping[str, str],
    known: Iterable[str],
    what: str,
    read: Callable[[str, str], Decimal],
) -> dict[str, Decimal]:
    named = {name.replace("-", "_"): text for name, text in given.items()}
    for name in named:
        if name not in known:
            raise InputFault(
                f"{name[:40]!r} is no {what}; there are {', '.join(known)}. Nothing was changed."
            )
    return {name: read(name, named[name]) for name in known if name in named}


def _priced(included: dict[str, Decimal], prices: Mapping[str, str]) -> dict[str, Decimal]:
    for name in included:
        if name not in prices:
            raise InputFault(
                f"{name} has no price, so all of it is free: leave it out of what is included, or"
                f" give it a price (--price {name}=0.03). Nothing was changed."
            )
    return included


def terms_text(terms: Terms, currency: str | None = None) -> str:
    """Return terms in a line: `cost × 1.2 (gpu × 1.5)`, `0.03 EUR a core-hour (100 … free a month)`."""
    if terms.factor is not None:
        own = ", ".join(
            f"{kind.replace('_', ' ')} × {factor_text(factor)}"
            for kind, factor in terms.factors.items()
        )
        return f"cost × {factor_text(terms.factor)}" + (f" ({own})" if own else "")
    prices = ", ".join(
        f"{factor_text(price)} {currency} a {RESOURCES[name].unit}"
        for name, price in terms.prices.items()
    )
    free = included_text(terms)
    return prices + (f" ({free} free each month)" if free else "")


def included_text(terms: Terms) -> str:
    return ", ".join(
        f"{factor_text(number)} {RESOURCES[name].unit if number == 1 else RESOURCES[name].units}"
        for name, number in terms.included.items()
    )
