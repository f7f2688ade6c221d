"""Dashboards showed the month's total from stale rows, or from the wrong column."""

from datetime import date, timedelta

import pytest

from core.books.statement.read import statement
from core.clock import day_of
from core.reports.costs import cost_by_account
from core.reports.credits import find_line
from core.reports.stripe.compared import days
from core.reports.usage import usage
from tests import factories
from tests.core.billing.ledger_site import bill
from tests.core.metering.site import ADMIN, FIRST, Site, hour

TODAY = day_of(FIRST)
AFTER = TODAY + timedelta(days=40)
COST = 10**9


@pytest.fixture
def anna(site: Site) -> factories.User:
    """She owns namespace a, pays twice what it costs, and shares the cluster with nobody's b."""
    site.cluster()
    anna = site.user()
    site.map("a", anna, 0)
    site.plan("double", "2")
    site.assign(anna, "double", 0)
    return anna


def told(site: Site, anna: factories.User, until: date = AFTER) -> dict[str, int]:
    """What each place says that she is charged, in nano-units."""
    month = statement(site.connection, ADMIN, anna.id, f"{TODAY:%Y-%m}", site.now).statement
    return {
        "usage": sum(each.charge_nano for each in usage(site.connection, TODAY, until)),
        "statement": month.charge_nano,
        "ledger": -month.closing.receivable_nano,
        "account": find_line(site.connection, ADMIN, anna.id, site.now).receivable_nano,
        "stripe": sum(
            each.charge_nano
            for each in days(site.connection, ADMIN, account=anna.id, since=TODAY, until=until)
        ),
    }


def test_each_list_and_document_tells_the_same_charge(site: Site, anna: factories.User) -> None:
    for number in range(30):
        bill(site, {"a": 1.25 + number, "b": 7.0}, number)
    charged = 2 * sum(round((1.25 + number) * COST) for number in range(30))
    assert set(told(site, anna).values()) == {charged}
    site.must_balance()


def test_a_correction_is_in_all_of_them_at_once(site: Site, anna: factories.User) -> None:
    bill(site, {"a": 2.0}, 0)
    assert set(told(site, anna).values()) == {4 * COST}
    bill(site, {"a": 3.0}, 0)  # read again, and restated
    assert set(told(site, anna).values()) == {6 * COST}


def test_cost_and_charge_are_never_taken_for_each_other(site: Site, anna: factories.User) -> None:
    bill(site, {"a": 2.0}, 0)
    (used,) = usage(site.connection, TODAY, AFTER)
    (line,) = days(site.connection, ADMIN, account=anna.id, since=TODAY, until=AFTER)
    (payer,) = cost_by_account(site.connection, TODAY, hour(0))
    assert (used.total_nano, used.charge_nano) == (2 * COST, 4 * COST)
    assert (line.cost_nano, line.charge_nano) == (2 * COST, 4 * COST)
    assert (payer.day_nano, payer.hour_nano) == (2 * COST, 2 * COST)
