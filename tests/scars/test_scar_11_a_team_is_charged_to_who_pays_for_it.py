"""Only the owner's own rows were reported to Stripe: team members' usage was never invoiced."""

import pytest

from core.errors import Conflict
from tests import factories
from tests.core.billing.ledger_site import DAY_0, bill, books, granted, pays
from tests.core.metering.site import Site, hour
from tests.factories import Cluster, User


def used(site: Site, cluster: Cluster, user: User, payer: User, cost_nano: int, at: int) -> None:
    """Let a user have used something that another pays for, as the store freezes it in."""
    name = f"of-{user.no}"
    if not site.all("SELECT FROM collection_windows WHERE hour = %s", hour(at)):
        factories.add_window(site.connection, cluster, hour(at), stored_no=1)
    factories.add_allocation(
        site.connection,
        cluster,
        hour(at),
        name,
        user=user,
        account_no=payer.no,
        cost_nano=cost_nano,
    )


def ledger_is_true(site: Site) -> bool:
    """Of the books, what the ledger answers for: entries, balances, both sides."""
    return all(line.ok for line in site.books() if line.number in (3, 4, 5))


def test_the_account_owes_what_its_members_used(site: Site) -> None:
    eu, owner = site.cluster(), site.user("owner", currency="USD")
    anna, ben = site.user("anna"), site.user("ben")
    used(site, eu, owner, owner, 1_000_000_000, 0)
    used(site, eu, anna, owner, 2_000_000_001, 0)
    used(site, eu, ben, owner, 4_000_000_010, 1)
    site.until(30)
    site.post()
    assert books(site, owner) == {"receivable": -7.000000011}
    assert (books(site, anna), books(site, ben)) == ({}, {})
    assert site.usage() == {
        (owner.id, "eu-1", str(DAY_0)): 1_000_000_000,
        (anna.id, "eu-1", str(DAY_0)): 2_000_000_001,
        (ben.id, "eu-1", str(DAY_0)): 4_000_000_010,
    }
    assert ledger_is_true(site)


def test_no_member_is_charged_in_books_that_nobody_reads(site: Site) -> None:
    site.cluster()
    owner = site.user("owner")
    anna = site.user("anna", account_owner_id=owner.id)
    with pytest.raises(Conflict, match=r"is a team member, .* Map it to auth0.owner itself"):
        site.map("a", anna, 0)
    site.map("a", owner, 0)
    bill(site, {"a": 2}, 0)
    assert (books(site, owner), books(site, anna)) == ({"receivable": -2}, {})
    site.must_balance()


def test_the_credits_of_the_account_pay_for_its_members(site: Site) -> None:
    eu, owner, anna = site.cluster(), site.user("owner", currency="USD"), site.user("anna")
    pays(site, owner, "prepaid", 0)
    granted(site, owner, 5)
    used(site, eu, anna, owner, 2_000_000_000, 0)
    site.until(30)
    site.post()
    assert (books(site, owner), books(site, anna)) == ({"credits": 3}, {})
    assert site.value("SELECT count(DISTINCT account_no) FROM ledger_entries") == 1
    assert ledger_is_true(site)
