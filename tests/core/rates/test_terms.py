"""What a version may say, as people type it."""

from collections.abc import Mapping
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputFault
from core.rates.card import RESOURCES
from core.rates.terms import COST_KINDS, Terms, read_terms, terms_of, terms_text
from tests.core.metering.site import NONE

numbers = st.decimals(0, 1000, places=6)


def read(
    factor: str | None = None,
    factors: Mapping[str, str] = NONE,
    prices: Mapping[str, str] = NONE,
    included: Mapping[str, str] = NONE,
) -> Terms:
    return read_terms(factor=factor, factors=factors, prices=prices, included=included)


def test_factors_are_read_by_kind() -> None:
    terms = read("1.2", {"load-balancer": "0", "gpu": "1.5"})
    assert terms == Terms(Decimal("1.2"), {"gpu": Decimal("1.5"), "load_balancer": Decimal(0)})
    assert terms.kind == "cost_plus"
    assert terms_text(terms) == "cost × 1.2 (gpu × 1.5, load balancer × 0)"


def test_a_card_is_read_by_resource() -> None:
    terms = read(None, {}, {"ram": "0.004", "cpu": "0.031611234"}, {"cpu": "1", "ram": "50.5"})
    assert terms.kind == "rate_card"
    assert terms_text(terms, "EUR") == (
        "0.031611234 EUR a core-hour, 0.004 EUR a GiB-hour of RAM"
        " (1 core-hour, 50.5 GiB-hours of RAM free each month)"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "Say what is charged: --factor 1.2"),
        ({"factors": {"gpu": "2"}}, "Say what is charged: --factor 1.2"),
        ({"factor": "1", "prices": {"cpu": "1"}}, "not both"),
        ({"factors": {"gpu": "1"}, "prices": {"cpu": "1"}}, "not both"),
        (
            {"factor": "1", "factors": {"disk": "1"}},
            "'disk' is no kind of cost; there are cpu, gpu",
        ),
        ({"factor": "1", "factors": {"adjustment": "1"}}, "'adjustment' is no kind of cost"),
        ({"factor": "1", "factors": {"gpu": "-1"}}, "A factor is 0 (free) or more"),
        ({"factor": "1", "included": {"cpu": "1"}}, "included in a rate card"),
        ({"prices": {"shared": "1"}}, "'shared' is no resource; there are cpu, gpu, ram, pv"),
        ({"prices": {"cpu": "-0.1"}}, "A price is 0 (free) or more"),
        ({"prices": {"cpu": "0.0000000001"}}, "A price has at most 9 decimals"),
        ({"prices": {"cpu": "1,5"}}, "'1,5' is no price; write it like 0.031611"),
        ({"prices": {"ram": "1000.000000001"}}, "A price is at most 1000: 1000.000000001 for one"),
        ({"prices": {"cpu": "1"}, "included": {"ram": "1"}}, "ram has no price"),
        ({"prices": {"cpu": "1"}, "included": {"disk": "1"}}, "'disk' is no resource"),
        ({"prices": {"cpu": "1"}, "included": {"cpu": "-1"}}, "A quantity is 0 (free) or more"),
        ({"prices": {"cpu": "1"}, "included": {"cpu": "1000000001"}}, "more than anybody uses"),
    ],
)
def test_what_does_not_go_together_is_told_in_a_sentence(
    given: dict[str, dict[str, str]], said: str
) -> None:
    with pytest.raises(InputFault) as fault:
        read(**given)  # type: ignore[arg-type]  # a factor is a text
    assert said in fault.value.message
    assert fault.value.message.endswith("Nothing was changed.")


@given(
    st.builds(Terms, numbers, st.dictionaries(st.sampled_from(COST_KINDS), numbers))
    | st.builds(
        Terms,
        st.none(),
        prices=st.dictionaries(st.sampled_from([*RESOURCES]), numbers, min_size=1),
        included=st.dictionaries(st.sampled_from([*RESOURCES]), numbers),
    )
)
def test_terms_come_back_from_their_columns(terms: Terms) -> None:
    assert terms_of(terms.columns()) == terms
