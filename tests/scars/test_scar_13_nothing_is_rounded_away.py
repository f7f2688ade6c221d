"""Dollars, credits and cents were mixed up, and amounts rounded daily: small projects ran free."""

import re
from decimal import Decimal

import pytest

from core.errors import InputFault
from core.money import NANO, nano_from_text, text_from_nano
from tests.answers import allocation, body_of
from tests.core.billing.ledger_site import granted, pays
from tests.core.metering.site import Site, hour
from tests.factories import User

HOURS = 49
"""Two days and an hour: no sum of a day is a round one."""
LEAST = 0.00001
"""The smallest cost that OpenCost prints."""
LEAST_NANO = 10_000


def used_the_least(site: Site) -> User:
    site.cluster()
    anna = site.user()
    site.map("tiny", anna, 0)
    for number in range(HOURS):
        free = {"cpuCost": LEAST, "ramCost": 0, "pvCost": 0}
        rows = {"kube-system": allocation(hour(number)), "tiny": allocation(hour(number), **free)}
        site.say(body_of(rows), number)
    site.until(HOURS - 1)
    return anna


def balance(site: Site, book: str) -> int:
    found = site.value(
        "SELECT balance_nano FROM ledger_balances b JOIN ledger_codes c ON c.code = b.book"
        " WHERE c.name = %s",
        book,
    )
    return int(found)


def test_the_smallest_project_pays_for_each_of_its_hours(site: Site) -> None:
    used_the_least(site)
    site.collect()
    site.post()
    assert balance(site, "receivable") == -HOURS * LEAST_NANO
    site.must_balance()


def test_a_charge_is_rounded_once_to_the_nano_and_their_sum_never(site: Site) -> None:
    anna = used_the_least(site)
    site.plan("third", "0.333333", 0)
    site.assign(anna, "third", 0)
    site.collect()
    site.post()
    each = round(LEAST_NANO * Decimal("0.333333"))
    assert (each, balance(site, "receivable")) == (3_333, -HOURS * 3_333)
    site.must_balance()


def test_credits_last_to_the_last_nano(site: Site) -> None:
    anna = used_the_least(site)
    pays(site, anna, "prepaid", 0)
    granted(site, anna, HOURS * LEAST_NANO / NANO)
    site.collect()
    site.post()
    assert (balance(site, "credits"), balance(site, "arrears")) == (0, 0)
    site.must_balance()


def test_what_a_person_types_is_what_the_ledger_holds(site: Site) -> None:
    assert nano_from_text("12.50") == 12_500_000_000
    assert nano_from_text("0.000000001") == 1
    assert text_from_nano(1, 9) == "0.000000001"
    with pytest.raises(InputFault, match="at most 9 decimals"):
        nano_from_text("0.0000000001")


def test_all_money_of_the_schema_is_whole_nano_units(site: Site) -> None:
    """One unit, named in each column; what else may have decimals is what a plan's version says."""
    rows = site.all(
        "SELECT table_name || '.' || column_name AS name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'hopsmeter' AND (column_name LIKE '%%nano' OR data_type IN"
        " ('numeric', 'real', 'double precision', 'money'))"
    )
    odd = {row["name"] for row in rows if row["data_type"] != "bigint"}
    says = re.compile(r"rate_plan_(versions|periods)\.(\w+_)?(factor|price|included)")
    assert {name for name in odd if not says.fullmatch(name)} == set()
    assert len(rows) > len(odd)
