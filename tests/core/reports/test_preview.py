"""A month under another plan: what it would have been, and nothing of it is written."""

import pytest

from core.errors import Conflict, Forbidden, InputFault, Unknown
from core.identity.principal import Principal
from core.reports.preview import Preview, preview
from tests import factories
from tests.core.metering.site import ADMIN, Site, hour
from tests.core.metering.test_pricing import COST, collect, settle

USED = 1_500_000_000
"""What the core-hours of one hour cost at a price of 1."""


@pytest.fixture
def anna(site: Site) -> factories.User:
    """Four hours of hers, a; b is ben's and costs one more."""
    site.cluster()
    anna = site.user()
    site.map("a", anna, 0)
    site.map("b", site.user("ben"), 0)
    collect(site, 0, 3)
    settle(site)
    return anna


def previewed(
    site: Site, plan: str, *, account: str | None = None, month: str = "2026-03"
) -> Preview:
    return preview(site.connection, ADMIN, plan, month, account=account, now=site.now)


def test_each_account_is_told_now_then_and_the_difference(site: Site, anna: factories.User) -> None:
    site.plan("team", "1.5")
    site.plan("team", "2", 3)
    ben, hers = previewed(site, "team").accounts
    assert (ben.account_id, hers.account_id) == ("auth0|ben", "auth0|anna")
    then = 3 * COST * 3 // 2 + 2 * COST
    assert (hers.cost_nano, hers.charge_now_nano, hers.charge_then_nano) == (
        4 * COST,
        4 * COST,
        then,
    )
    assert (hers.difference_nano, hers.margin_now_nano, hers.margin_then_nano) == (
        then - 4 * COST,
        0,
        then - 4 * COST,
    )
    assert hers.hours == 4


def test_what_is_previewed_is_what_assigning_charges(site: Site, anna: factories.User) -> None:
    site.card("card", {"cpu": "1"}, included={"cpu": "2"})
    (told,) = previewed(site, "card", account=anna.id).accounts
    assert told.charge_then_nano == 4 * USED - 2 * 10**9
    site.assign(anna, "card", 0)
    settle_all(site)
    assert site.usage()[anna.id, "eu-1", "2026-03-01"] == told.charge_then_nano
    (again,) = previewed(site, "card", account=anna.email).accounts
    assert (again.charge_now_nano, again.difference_nano) == (told.charge_then_nano, 0)
    (back,) = previewed(site, "default", account=anna.id).accounts
    assert back.charge_then_nano == 4 * COST


def settle_all(site: Site) -> None:
    site.post()
    site.must_balance()


def test_a_preview_writes_nothing(site: Site, anna: factories.User) -> None:
    site.plan("team", "1.5")
    tables = ("allocations", "usage_daily", "plan_assignments", "audit_log", "ledger_entries")
    before = {table: site.versions(table) for table in tables}
    with site.connection.transaction():
        site.connection.execute("SET TRANSACTION READ ONLY")
        previewed(site, "team")
    assert {table: site.versions(table) for table in tables} == before


def test_another_currency_is_left_out_or_refused(site: Site, anna: factories.User) -> None:
    site.card("euro", {"cpu": "1"}, currency="EUR")
    found = previewed(site, "euro")
    assert (found.accounts, sorted(found.left_out)) == ((), ["auth0|anna", "auth0|ben"])
    with pytest.raises(Conflict, match=r"charges in EUR, and auth0.anna"):
        previewed(site, "euro", account=anna.id)


def test_what_cannot_be_previewed_is_told(site: Site, anna: factories.User) -> None:
    site.plan("late", "2", 3)
    for plan, month, fault, said in (
        ("dear", "2026-03", Unknown, "no plan 'dear'"),
        ("late", "2026-03", Conflict, "no price before 2026-03-01T03Z"),
        ("default", "2026-04", InputFault, "2026-04 is still to come"),
        ("default", "2026-13", InputFault, "is no month"),
    ):
        with pytest.raises(fault, match=said):
            previewed(site, plan, month=month)
    with pytest.raises(Unknown, match="no user 'nobody'"):
        previewed(site, "default", account="nobody")
    with pytest.raises(Forbidden, match="Only an admin may preview rates"):
        preview(
            site.connection,
            Principal("owner", anna.id),
            "default",
            "2026-03",
            account=None,
            now=hour(9),
        )
