"""Factors as people type them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputFault
from core.rates.factor import DECIMALS_MAX, FACTOR_MAX, factor_text, parse_factor

factors = st.decimals(0, FACTOR_MAX, places=DECIMALS_MAX)


@pytest.mark.parametrize(
    ("text", "factor"),
    [("1", "1"), ("0", "0"), ("1.25", "1.25"), ("0.000001", "0.000001"), ("1000.000000", "1000")],
)
def test_a_factor_is_read_as_it_is_written(text: str, factor: str) -> None:
    assert parse_factor(text) == Decimal(factor)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-1", "0 (free) or more"),
        ("-0.5", "0 (free) or more"),
        ("1.0000001", "at most 6 decimals, 1.0000001 has 7"),
        ("1000.000001", "at most 1000"),
        ("999999999", "at most 1000"),
        ("9" * 14, "at most 1000"),
        *((odd, "is no factor") for odd in ("", "one", "1,5", ".5", "1.", "1e3", "NaN", "١", "+1")),
    ],
)
def test_what_is_no_factor_is_told_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(InputFault) as fault:
        parse_factor(text)
    assert said in fault.value.message
    assert fault.value.message.endswith("Nothing was changed.")


@given(factors)
def test_a_factor_is_told_as_it_can_be_typed_again(factor: Decimal) -> None:
    text = factor_text(factor)
    assert parse_factor(text) == factor
    assert not ("." in text and text.endswith("0"))
