"""Plans that price kinds of cost, or quantities, over stored hours; in one currency, always."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from core.books.explain import explain
from core.errors import Conflict, InputFault
from core.metering.assignments import Repriced
from core.reports.rates import plans, quote
from core.reports.usage import usage
from tests import factories
from tests.core.metering.site import ADMIN, FIRST, Site, hour
from tests.core.metering.test_pricing import COST, collect, settle

CPU, RAM_AND_PV = 10**9, 18_330_000
"""Of one hour of a namespace whose CPU costs 1; it uses 1.5 core-hours and 4 GiB-hours of RAM."""
PRICES = {"cpu": "0.03", "ram": "0.005", "pv": "0.0001"}
CARD = 45_000_000 + 20_000_000 + 1_000_000
"""Of that hour, with 10 GiB-hours of volumes and half a byte of RAM more, which is no nano."""


@pytest.fixture
def anna(site: Site) -> factories.User:
    """Her namespace a has four stored hours."""
    site.cluster()
    anna = site.user()
    site.map("a", anna, 0)
    collect(site, 0, 3)
    settle(site)
    return anna


def test_kinds_with_a_factor_of_their_own_are_posted_by_it(
    site: Site, anna: factories.User
) -> None:
    site.plan("kinds", "1.5", factors={"cpu": "2", "external": "7"})
    change = site.assign(anna, "kinds", 2)
    charge = 2 * CPU + RAM_AND_PV * 3 // 2
    assert change.moved == (Repriced("USD", 2, 2 * COST, 2 * COST, 2 * charge),)
    settle(site)
    assert sum(site.usage().values()) == 2 * COST + 2 * charge


def test_a_card_is_posted_by_quantities(site: Site, anna: factories.User) -> None:
    site.card("card", PRICES)
    change = site.assign(anna, "card", 1)
    assert change.moved == (Repriced("USD", 3, 3 * COST, 3 * COST, 3 * CARD),)
    settle(site)
    collect(site, 4, 25)
    settle(site)
    assert site.usage()[anna.id, "eu-1", "2026-03-01"] == COST + 23 * CARD
    site.unassign(anna, 1)
    settle(site)


def test_versions_of_a_card_price_each_hour_by_its_own(site: Site, anna: factories.User) -> None:
    site.card("card", {"cpu": "1"})
    site.card("card", {"gpu": "9"}, 2)
    site.assign(anna, "card", 0)
    settle(site)
    assert sum(site.usage().values()) == 2 * 1_500_000_000


def test_margin_is_charge_less_cost(site: Site, anna: factories.User) -> None:
    site.card("card", PRICES)
    site.assign(anna, "card", 0)
    site.post()
    (found,) = usage(site.connection, FIRST.date(), hour(24).date())
    assert (found.total_nano, found.charge_nano, found.margin_nano) == (
        4 * COST,
        4 * CARD,
        4 * (CARD - COST),
    )


def test_explain_shows_a_charge_line_by_line(site: Site, anna: factories.User) -> None:
    site.card("card", PRICES)
    site.assign(anna, "card", 1)
    found = explain(site.connection, ADMIN, "eu-1", "a", hour(1))
    assert (found.charge_nano, found.margin_nano) == (CARD, CARD - COST)
    assert found.charges.startswith("0.03 USD a core-hour, 0.005 USD a GiB-hour of RAM")
    assert [(line.what, line.quantity) for line in found.charge_lines] == [
        ("cpu", Decimal("1.5")),
        ("ram", Decimal(4)),
        ("pv", Decimal(10)),
    ]
    assert round(sum(line.amount_nano for line in found.charge_lines)) == CARD
    (before,) = found.history
    assert (before.charges, before.charge_nano) == ("cost × 1", COST)


def test_lists_and_quotes_show_what_a_card_charges(site: Site, anna: factories.User) -> None:
    site.card("card", {"cpu": "0.03"}, currency="USD")
    site.assign(anna, "card", 1)
    told = {each.plan: each for each in plans(site.connection, site.now)}["card"]
    assert (told.kind, told.currency, told.charges) == (
        "rate_card",
        "USD",
        "0.03 USD a core-hour",
    )
    quoted = quote(site.connection, anna.id, hour(1))
    assert (quoted.charges, quoted.charge_of_one_nano) == ("0.03 USD a core-hour", None)


# ── one currency ────────────────────────────────────────────────────────────────────────────


def test_a_plan_of_another_currency_is_not_assigned(site: Site, anna: factories.User) -> None:
    site.card("card", PRICES, currency="EUR")
    site.plan("euro", "2", currency="EUR")
    for plan in ("card", "euro"):
        with pytest.raises(
            Conflict, match=r"EUR, and the account auth0.anna is in USD.*Nothing was"
        ):
            site.assign(anna, plan, 1)
    site.plan("any", "2")
    site.assign(anna, "any", 1)
    settle(site)


def test_a_namespace_of_another_currency_is_not_mapped_to_the_account(site: Site) -> None:
    site.cluster(currency="USD")
    site.cluster("eu-2", currency="EUR")
    anna = site.user()
    site.card("card", PRICES, currency="EUR")
    site.assign(anna, "card", 0)
    with pytest.raises(
        Conflict, match=r"in USD, and the account auth0.anna is in EUR.*Nothing was"
    ):
        site.map("a", anna, 0, "eu-1")
    assert site.value("SELECT count(*) FROM user_projects") == 0
    site.map("a", anna, 0, "eu-2")
    site.map("a", site.user("ben"), 0, "eu-1")


# ── what cannot be meant ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"name": "new", "factor": None, "prices": {"cpu": "1"}}, "Prices are in a currency"),
        ({"name": "new", "factor": "1", "currency": "euro"}, "'euro' is no currency"),
        ({"name": "default", "factor": None, "prices": {"cpu": "1"}}, "is cost-plus, whose"),
        ({"name": "card", "factor": "1"}, "is a rate card, whose"),
        (
            {"name": "card", "factor": None, "prices": {"cpu": "1"}, "currency": "USD"},
            "keeps to it",
        ),
        ({"name": "default", "factor": "1", "currency": "USD"}, "each cluster's own currency"),
    ],
)
def test_a_plan_keeps_its_kind_and_its_currency(
    site: Site, plan: dict[str, Any], said: str
) -> None:
    site.card("card", PRICES, currency="EUR")
    before = site.versions("rate_plan_versions"), site.versions("rate_plans")
    with pytest.raises(InputFault) as fault:
        site.plan(**plan)
    assert said in fault.value.message
    assert fault.value.message.endswith("Nothing was changed.")
    assert (site.versions("rate_plan_versions"), site.versions("rate_plans")) == before


def test_a_later_version_need_not_say_the_currency_again(site: Site) -> None:
    site.card("card", PRICES, currency="EUR")
    assert site.plan("card", None, 5, prices={"cpu": "1"}).currency == "EUR"


@pytest.mark.parametrize(
    "values",
    [
        "factor = NULL",
        "cpu_price = 1",
        "factor = NULL, cpu_factor = 1, cpu_price = 1",
        "factor = NULL, cpu_price = 10000.000000001",
        "factor = NULL, cpu_price = -1",
        "cpu_factor = -1",
        "cpu_included = 1",
        "factor = NULL, cpu_price = 1, ram_included = 1",
        "factor = NULL, cpu_price = 1, cpu_included = 1, valid_from = '2026-03-02Z'",
    ],
)
def test_the_database_refuses_a_version_that_means_nothing(site: Site, values: str) -> None:
    site.connection.execute("ALTER TABLE rate_plan_versions DISABLE TRIGGER USER")
    with pytest.raises(psycopg.errors.CheckViolation):
        site.connection.execute(f"UPDATE rate_plan_versions SET {values}".encode())


# ── whole months ────────────────────────────────────────────────────────────────────────────


def test_what_is_included_begins_with_a_month(site: Site, anna: factories.User) -> None:
    with pytest.raises(InputFault, match=r"such as --from 2026-03-01, and not with 2026-03-01T01Z"):
        site.card("card", PRICES, 1, included={"cpu": "1"})
    site.card("card", PRICES, included={"cpu": "1"})
    for number in (1, None):
        with pytest.raises(InputFault, match=r"the plan card is assigned from a month on"):
            site.assign(anna, "card", number)
    with pytest.raises(InputFault, match="such a version begins with a 1st"):
        site.card("card", PRICES, included={"cpu": "2"})
    assert site.value("SELECT count(*) FROM plan_assignments") == 0
    site.assign(anna, "card", 0)


def test_nothing_is_included_under_who_came_within_a_month(
    site: Site, anna: factories.User
) -> None:
    site.card("card", PRICES)
    site.assign(anna, "card", 9)
    with pytest.raises(Conflict, match=r"auth0.anna pays by the plan card from 2026-03-01T09Z on"):
        site.card("card", PRICES, 0, included={"cpu": "1"})
    april = (factories.SINCE + timedelta(days=31) - FIRST) // timedelta(hours=1)
    site.card("card", PRICES, april, included={"cpu": "1"})
