"""Namespaces were unique over all clusters: the same name billed the wrong user, for ever."""

import psycopg
import pytest

from tests.core.metering.site import Site, hour


def test_the_same_name_on_two_clusters_bills_each_owner_his_own(site: Site) -> None:
    for name, cost in (("eu-1", 1), ("us-1", 2)):
        site.cluster(name)
        site.say({"ml-train": cost}, 0, name)
        site.map("ml-train", site.user(f"owner-{name}"), 0, name)
    site.collect()
    site.post()
    charged = {(user, cluster): charge for (user, cluster, _), charge in site.usage().items()}
    assert charged == {
        ("auth0|owner-eu-1", "eu-1"): 1_018_330_000,
        ("auth0|owner-us-1", "us-1"): 2_018_330_000,
    }
    site.must_balance()


def test_a_freed_name_can_be_used_again(site: Site) -> None:
    site.cluster()
    anna, ben = site.user(), site.user("ben")
    for number in range(3):
        site.say({"ml-train": 1}, number)
    site.until(2)
    site.collect()
    site.map("ml-train", anna, 0)
    site.unmap("ml-train", 1)
    site.map("ml-train", ben, 2)
    assert [site.rows(number)["ml-train"].user for number in range(3)] == [anna.id, None, ben.id]
    site.post()
    site.must_balance()


def test_two_owners_of_one_hour_are_refused_by_the_database(site: Site) -> None:
    site.cluster()
    anna = site.user()
    site.map("ml-train", anna, 0)
    with pytest.raises(psycopg.errors.ExclusionViolation):
        site.connection.execute(
            "INSERT INTO user_projects (cluster_id, namespace, user_no, valid, created_by)"
            " VALUES (1, 'ml-train', %s, tstzrange(%s, %s), 'test')",
            [anna.no, hour(5), hour(6)],
        )
