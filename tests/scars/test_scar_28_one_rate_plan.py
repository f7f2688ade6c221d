"""Two rate cards, one for display and one for billing, drifted apart."""

import re
from pathlib import Path

import pytest

from core.books.explain import explain
from core.rates.charge import charge_nano
from core.reports.costs import one_hour
from core.reports.rates import quote
from core.reports.usage import usage
from tests import factories
from tests.core.metering.site import ADMIN, FIRST, Site, hour

CORE = Path(__file__).parents[2] / "core"
HOURS = 5


@pytest.fixture
def anna(site: Site) -> factories.User:
    """Five hours of her namespace a: by the default plan, by kinds, by two versions of a card."""
    site.cluster()
    anna = site.user()
    site.map("a", anna, 0)
    for number in range(HOURS):
        site.say({"a": number + 0.12345}, number)
    site.until(HOURS - 1)
    site.collect()
    site.plan("kinds", "1.234567", factors={"cpu": "0.333333"})
    site.card("card", {"cpu": "0.031611234", "ram": "0.004237"})
    site.card("card", {"cpu": "0.04"}, 4)
    site.assign(anna, "kinds", 1)
    site.assign(anna, "card", 3)
    site.post()
    return anna


def test_what_is_shown_is_what_is_billed(site: Site, anna: factories.User) -> None:
    shown = [explain(site.connection, ADMIN, "eu-1", "a", hour(number)) for number in range(HOURS)]
    billed = sum(site.usage().values())
    assert sum(each.charge_nano for each in shown) == billed
    assert site.value("SELECT sum(charge_nano) FROM cost_by_day") == billed
    assert (
        sum(
            one_hour(site.connection, "eu-1", "a", hour(number)).charge_nano or 0
            for number in range(HOURS)
        )
        == billed
    )
    (told,) = usage(site.connection, FIRST.date(), hour(24).date())
    assert told.charge_nano == billed
    site.must_balance()


def test_each_charge_names_the_version_that_priced_it(site: Site, anna: factories.User) -> None:
    for number in range(HOURS):
        shown = explain(site.connection, ADMIN, "eu-1", "a", hour(number))
        quoted = quote(site.connection, anna.id, hour(number))
        assert (shown.plan, shown.plan_since) == (quoted.plan, quoted.version_since)
        assert shown.terms == quoted.terms
        assert shown.terms is not None
        figures = {**shown.money, **shown.quantities}
        assert charge_nano(figures, shown.terms, {}) == shown.charge_nano


def test_nothing_but_the_one_function_makes_a_charge() -> None:
    """No statement multiplies by a factor or a price of its own."""
    statements = [*CORE.glob("*/queries.sql"), *(CORE / "reports").glob("*.py")]
    own = [
        f"{path.parent.name}/{path.name}: {line.strip()}"
        for path in statements
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\*\s*(\w+\.)?(\w+_)?(factor|price)\b|\b(factor|price)\s*\*", line)
    ]
    assert own == []
