"""One function makes every charge; plain Python says the same, line by line."""

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.opencost.answer import MONEY_COLUMNS, QUANTITY_COLUMNS
from core.rates.card import GIB, MICRO, RESOURCES
from core.rates.charge import charge_lines, charge_nano
from core.rates.terms import COST_KINDS, Terms
from tests.core.metering.site import Site

FIGURES = (*MONEY_COLUMNS, *QUANTITY_COLUMNS)
FREE = [of.figure for of in RESOURCES.values()]
CHARGE = """
SELECT charge_nano(jsonb_populate_record(NULL::allocations, %s),
                   jsonb_populate_record(NULL::rate_plan_versions, %s),
                   jsonb_populate_record(NULL::free_part, %s))
"""
HOUR = {"cpu": 1_500_000, "gpu": 0, "ram": 4 * GIB, "pv": GIB // 2, "network": 10 * GIB}


def charged(site: Site, figures: dict[str, int], terms: Terms, free: dict[str, int]) -> Any:
    """What the database makes of it, with a version of these terms."""
    version = {"id": 7, **terms.columns()}
    return site.value(CHARGE, *(json.dumps(each, default=str) for each in (figures, version, free)))


def figures_of(**figures: int) -> dict[str, int]:
    return dict.fromkeys(FIGURES, 0) | figures


def used(**quantities: int) -> dict[str, int]:
    return figures_of(**{RESOURCES[name].figure: number for name, number in quantities.items()})


# ── cost-plus ───────────────────────────────────────────────────────────────────────────────


def test_a_factor_of_one_kind_leaves_the_others_at_the_base(site: Site) -> None:
    figures = figures_of(
        cpu_nano=100, gpu_nano=1000, adjustment_nano=30, rounding_nano=-7, total_nano=1123
    )
    terms = Terms(Decimal(2), {"gpu": Decimal("0.5")})
    assert charged(site, figures, terms, {}) == 500 + 2 * 123
    assert [(line.what, line.amount_nano) for line in charge_lines(figures, terms, {})] == [
        ("gpu", Decimal(500)),
        ("other cost", Decimal(246)),
    ]


def test_every_kind_may_have_a_factor_of_its_own(site: Site) -> None:
    for number, kind in enumerate(COST_KINDS, 2):
        figures = figures_of(**{f"{kind}_nano": 1000, "total_nano": 1000})
        assert charged(site, figures, Terms(Decimal(1), {kind: Decimal(number)}), {}) == (
            1000 * number
        )


def test_what_is_rounded_is_the_sum_and_only_once(site: Site) -> None:
    """Two halves are one; each rounded by itself, both would be nothing."""
    figures = figures_of(cpu_nano=1, ram_nano=1, total_nano=2)
    half = Decimal("0.5")
    assert charged(site, figures, Terms(half, {"cpu": half, "ram": half}), {}) == 1


@pytest.mark.parametrize(
    ("cost_nano", "factor", "charge"),
    [
        *((cost, "0.5", half) for cost, half in ((1, 0), (3, 2), (5, 2), (-1, 0), (-3, -2))),
        *((cost, "1.5", whole) for cost, whole in ((1, 2), (3, 4))),
        (9 * 10**18, "1", 9 * 10**18),
        (7, "0.333333", 2),
    ],
)
def test_a_charge_rounds_half_to_even(site: Site, cost_nano: int, factor: str, charge: int) -> None:
    figures = figures_of(cpu_nano=cost_nano, total_nano=cost_nano)
    base = Decimal(factor)
    assert charged(site, figures, Terms(base), {}) == charge
    assert charged(site, figures, Terms(Decimal(9), {"cpu": base}), {}) == charge


def test_without_a_version_there_is_no_charge(site: Site) -> None:
    assert (
        site.value("SELECT charge_nano(NULL::allocations, NULL::rate_plan_versions, NULL)") is None
    )
    assert charged(site, figures_of(total_nano=1), Terms(Decimal(0)), {}) == 0


# ── rate cards ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("resource", "quantity", "price", "charge"),
    [
        ("cpu", 1_500_000, "0.03", 45_000_000),
        ("gpu", 250_000, "4", 10**9),
        ("ram", 4 * GIB, "0.005", 20_000_000),
        ("pv", GIB // 2, "0.0002", 100_000),
        ("network", 10 * GIB, "0.01", 10**8),
        ("cpu", 1, "0.000000001", 0),
        ("network", 1, "1000", 931),
    ],
)
def test_a_price_is_for_one_unit_of_a_resource(
    site: Site, resource: str, quantity: int, price: str, charge: int
) -> None:
    terms = Terms(prices={resource: Decimal(price)})
    assert charged(site, used(**{resource: quantity}), terms, {}) == charge


def test_what_has_no_price_is_free_and_the_cost_is_not_asked(site: Site) -> None:
    figures = used(**HOUR) | {"total_nano": 10**12}
    assert charged(site, figures, Terms(prices={"gpu": Decimal(5)}), {}) == 0


def test_received_bytes_and_minutes_have_no_price(site: Site) -> None:
    prices = dict.fromkeys(RESOURCES, Decimal(1))
    figures = figures_of(network_receive_bytes=GIB, minutes_micro=60 * MICRO)
    assert charged(site, figures, Terms(prices=prices), {}) == 0


def test_a_free_part_is_not_charged(site: Site) -> None:
    terms = Terms(prices={"cpu": Decimal(1), "ram": Decimal(1)})
    free = {"cpu_core_hours_micro": 500_000, "ram_byte_hours": 4 * GIB}
    assert charged(site, used(**HOUR), terms, free) == 10**9
    cpu, ram = charge_lines(used(**HOUR), terms, free)
    assert (cpu.quantity, cpu.free, cpu.unit, cpu.amount_nano) == (
        Decimal("1.5"),
        Decimal("0.5"),
        "core-hours",
        Decimal(10**9),
    )
    assert (ram.free, ram.amount_nano) == (Decimal(4), Decimal(0))


def test_the_dearest_hour_of_the_largest_cluster_fits_a_bigint(site: Site) -> None:
    prices = {name: Decimal(of.price_max) for name, of in RESOURCES.items()}
    figures = used(cpu=100_000 * MICRO, gpu=10_000 * MICRO, ram=2**50, pv=2**50, network=2**50)
    assert charged(site, figures, Terms(prices=prices), {}) == charge_nano(
        figures, Terms(prices=prices), {}
    )


# ── any figures, any version ────────────────────────────────────────────────────────────────

amounts = st.integers(-(10**12), 10**12)
factors = st.decimals(0, 1000, places=6)
any_cost_plus = st.builds(
    Terms, factors, st.dictionaries(st.sampled_from(COST_KINDS), factors, max_size=8)
)
any_card = st.builds(
    Terms,
    st.none(),
    prices=st.dictionaries(
        st.sampled_from([*RESOURCES]), st.decimals(0, 1000, places=9), min_size=1
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(dict.fromkeys(FIGURES, amounts)),
    any_cost_plus | any_card,
    st.fixed_dictionaries({}, optional=dict.fromkeys(FREE, amounts)),
)
def test_the_database_charges_what_plain_python_does(
    site: Site, figures: dict[str, int], terms: Terms, free: dict[str, int]
) -> None:
    assert charged(site, figures, terms, free) == charge_nano(figures, terms, free)


@given(st.fixed_dictionaries(dict.fromkeys(FIGURES, amounts)), any_card, amounts)
def test_lines_add_up_exactly(figures: dict[str, int], terms: Terms, spared: int) -> None:
    free = dict.fromkeys(FREE, spared)
    exact = sum(
        Fraction(figures[RESOURCES[name].figure] - spared, RESOURCES[name].size)
        * Fraction(price)
        * 10**9
        for name, price in terms.prices.items()
    )
    lines = charge_lines(figures, terms, free)
    assert sum(Fraction(line.amount_nano) for line in lines) == exact
    assert charge_nano(figures, terms, free) == round(exact)


# ── it costs nothing ────────────────────────────────────────────────────────────────────────


def test_the_function_is_inlined(site: Site) -> None:
    """As a call it would take ten times as long, for each of ten thousand rows an hour."""
    rows = site.all(
        "EXPLAIN (VERBOSE) SELECT sum_nano(charge_nano(a, v, NULL)) FROM allocations a"
        " JOIN rate_plan_versions v ON v.id = a.plan_version_id"
    )
    plan = "\n".join(row["QUERY PLAN"] for row in rows)
    assert "charge_nano" not in plan
    assert "a.*" not in plan
    assert "v.*" not in plan
    assert "v.factor = '1'::numeric" in plan
