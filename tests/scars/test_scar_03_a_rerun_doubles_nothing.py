"""A rerun was recognised by "same hour as last time"; a late rerun doubled the hour."""

import psycopg
import pytest

from tests.core.metering.site import Site, hour


def test_late_reruns_of_any_hour_charge_it_once(site: Site) -> None:
    site.cluster()
    anna = site.user()
    site.map("ml-train", anna, 0)
    for number in range(4):
        site.say({"ml-train": 1}, number)
    site.until(3)
    site.collect()
    site.post()
    charged, facts = site.usage(), site.versions("allocations")
    for number in (0, 3, 1, 0):
        site.again(number)
        site.collect()
        site.post()
    assert site.usage() == charged
    assert site.versions("allocations") == facts


def test_a_rerun_that_brings_other_figures_corrects_the_fact(site: Site) -> None:
    site.cluster()
    site.map("ml-train", site.user(), 0)
    for cost in (1, 1.5, 1.5):
        site.say({"ml-train": cost})
        site.again(0)
        site.collect()
        site.post()
    assert list(site.usage().values()) == [1_518_330_000]
    assert site.rows()["ml-train"].revision == 2
    site.must_balance()


def test_the_database_itself_holds_one_fact_for_each_hour_and_namespace(site: Site) -> None:
    site.cluster()
    site.say(["ml-train"])
    site.collect()
    with pytest.raises(psycopg.errors.UniqueViolation):
        site.connection.execute(
            "INSERT INTO allocations SELECT * FROM allocations WHERE hour = %s", [hour(0)]
        )
