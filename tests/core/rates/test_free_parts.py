"""What is included is handed out hour by hour, until it is used up; each month anew."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.rates.card import GIB, MICRO, RESOURCES
from tests import factories
from tests.core.metering.site import Site, hour

MARCH, APRIL = 0, 24 * 31
FREE = [of.figure for of in RESOURCES.values()]
PRICES = dict.fromkeys(RESOURCES, "1")
Place = tuple[int, str, str]
"""An hour's number, a cluster, a namespace: the order in which a month is handed out."""


@pytest.fixture
def anna(site: Site) -> factories.User:
    """She pays for a and b on two clusters, by a card that includes two core-hours a month."""
    anna = site.user()
    for cluster in ("eu-2", "eu-1"):
        site.cluster(cluster)
        for namespace in ("b", "a"):
            site.map(namespace, anna, 0, cluster)
    site.card("card", PRICES, included={"cpu": "2", "network": "0.5"})
    site.assign(anna, "card", 0)
    return anna


def use(site: Site, user: factories.User, used: dict[Place, int], figure: str = FREE[0]) -> None:
    """Put allocations into the books, as if they were stored in this order."""
    version = site.value("SELECT max(id) FROM rate_plan_versions")
    clusters = {row["name"]: row["id"] for row in site.all("SELECT * FROM hopsworks_clusters")}
    for (number, cluster, namespace), quantity in used.items():
        place = factories.Cluster(clusters[cluster], cluster)
        if not site.value(
            "SELECT 1 FROM collection_windows WHERE cluster_id = %s AND hour = %s",
            place.id,
            hour(number),
        ):
            factories.add_window(site.connection, place, hour(number))
        factories.add_allocation(
            site.connection,
            place,
            hour(number),
            namespace,
            user=user,
            **{
                "plan_version_id": version,
                **dict.fromkeys(FREE, 0),
                figure: quantity,
            },
        )

    site.connection.execute(POSTED)


POSTED = """
TRUNCATE included_used_daily;
INSERT INTO included_used_daily
SELECT account_no, (hour AT TIME ZONE 'UTC')::date, plan_version_id, sum(cpu_core_hours_micro),
       sum(gpu_hours_micro), sum(ram_byte_hours), sum(pv_byte_hours), sum(network_transfer_bytes)
FROM allocations GROUP BY 1, 2, 3
"""
"""As a posting keeps what was used."""


def free(
    site: Site,
    since: int = MARCH,
    until: int = 2 * APRIL,
    *,
    figure: str = FREE[0],
    accounts: list[int] | None = None,
    instead: int | None = None,
) -> dict[Place, int]:
    rows = site.all(
        f"SELECT f.hour, c.name AS cluster, n.name, f.{figure} AS free"
        " FROM free_parts(%s, %s, %s, %s) f JOIN namespaces n ON n.id = f.namespace_id"
        " JOIN hopsworks_clusters c ON c.id = n.cluster_id",
        hour(since),
        hour(until),
        accounts,
        instead,
    )
    return {
        ((row["hour"] - hour(0)) // (hour(1) - hour(0)), row["cluster"], row["name"]): row["free"]
        for row in rows
    }


def test_it_is_handed_out_by_hour_cluster_and_namespace(site: Site, anna: factories.User) -> None:
    """Not in the order in which clusters and namespaces came to be known."""
    use(
        site,
        anna,
        {
            (1, "eu-1", "a"): MICRO,
            (0, "eu-2", "b"): 300_000,
            (0, "eu-2", "a"): 500_000,
            (0, "eu-1", "b"): 700_000,
            (2, "eu-1", "a"): MICRO,
        },
    )
    assert free(site) == {
        (0, "eu-1", "b"): 700_000,
        (0, "eu-2", "a"): 500_000,
        (0, "eu-2", "b"): 300_000,
        (1, "eu-1", "a"): 500_000,
        (2, "eu-1", "a"): 0,
    }


def test_each_month_begins_anew(site: Site, anna: factories.User) -> None:
    use(
        site,
        anna,
        {(number, "eu-1", "a"): 3 * MICRO for number in (MARCH, MARCH + 1, APRIL - 1, APRIL)},
    )
    assert list(free(site).values()) == [2 * MICRO, 0, 0, 2 * MICRO]


def test_a_part_of_a_month_knows_what_was_used_before(site: Site, anna: factories.User) -> None:
    use(site, anna, {(number, "eu-1", "a"): 600_000 for number in range(5)})
    assert free(site, 2, 4) == {(2, "eu-1", "a"): 600_000, (3, "eu-1", "a"): 200_000}


def test_gib_are_handed_out_by_the_byte(site: Site, anna: factories.User) -> None:
    figure = "network_transfer_bytes"
    use(site, anna, {(0, "eu-1", "a"): GIB // 2 - 1, (1, "eu-1", "a"): GIB}, figure)
    assert list(free(site, figure=figure).values()) == [GIB // 2 - 1, 1]


def test_what_is_not_included_is_not_free(site: Site, anna: factories.User) -> None:
    use(site, anna, {(0, "eu-1", "a"): MICRO}, "gpu_hours_micro")
    assert free(site, figure="gpu_hours_micro") == {(0, "eu-1", "a"): 0}


def test_each_account_has_its_own(site: Site, anna: factories.User) -> None:
    ben = site.user("ben")
    site.assign(ben, "card", 0)
    site.map("c", ben, 0)
    use(site, anna, {(0, "eu-1", "a"): 3 * MICRO})
    use(site, ben, {(0, "eu-1", "c"): 3 * MICRO})
    assert list(free(site).values()) == [2 * MICRO, 2 * MICRO]
    assert free(site, accounts=[ben.no]) == {(0, "eu-1", "c"): 2 * MICRO}
    assert free(site, accounts=[]) == {}


def test_hours_under_another_plan_use_nothing_up(site: Site, anna: factories.User) -> None:
    use(site, anna, {(number, "eu-1", "a"): MICRO for number in range(3)})
    site.connection.execute("UPDATE allocations SET plan_version_id = 1 WHERE hour = %s", [hour(0)])
    assert free(site) == {(1, "eu-1", "a"): MICRO, (2, "eu-1", "a"): MICRO}


def test_it_can_be_handed_out_as_if_by_another_plan(site: Site, anna: factories.User) -> None:
    use(site, anna, {(number, "eu-1", "a"): MICRO for number in range(3)})
    site.card("other", {"cpu": "1"}, included={"cpu": "1.5"})
    other = site.value("SELECT id FROM rate_plans WHERE name = 'other'")
    assert list(free(site, instead=other).values()) == [MICRO, 500_000, 0]
    default = site.value("SELECT id FROM rate_plans WHERE is_default")
    assert free(site, instead=default) == {}


def test_a_restated_hour_gives_its_free_part_back(site: Site, anna: factories.User) -> None:
    """Below zero too: what was free of it is free again for what comes after."""
    used = {(number, "eu-1", "a"): MICRO for number in range(5)} | {(2, "eu-1", "a"): -MICRO}
    use(site, anna, used)
    assert list(free(site).values()) == [MICRO, MICRO, -MICRO, MICRO, 0]


# ── any figures ─────────────────────────────────────────────────────────────────────────────

quantities = st.integers(-(3 * MICRO), 3 * MICRO)
places = st.tuples(
    st.integers(APRIL - 3, APRIL + 3), st.sampled_from(["eu-1", "eu-2"]), st.sampled_from("ab")
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(places, quantities, min_size=1, max_size=14), st.integers(-3, 3))
def test_any_month_is_handed_out_as_plain_python_does(
    site: Site, anna: factories.User, used: dict[Place, int], since: int
) -> None:
    with site.connection.transaction(force_rollback=True):
        use(site, anna, used)
        found = free(site)
        assert found == handed_out(used)
        later = {place: part for place, part in found.items() if place[0] >= APRIL + since}
        assert free(site, APRIL + since) == later
        for month in (True, False):
            spent = sum(used[place] for place in used if (place[0] < APRIL) is month)
            given_free = sum(found[place] for place in found if (place[0] < APRIL) is month)
            assert given_free == max(0, min(spent, 2 * MICRO))


def handed_out(used: dict[Place, int]) -> dict[Place, int]:
    """One place after the other: what the sum has grown within the first two core-hours."""
    found, totals = {}, {True: 0, False: 0}
    for place in sorted(used):
        month = place[0] < APRIL
        before, totals[month] = totals[month], totals[month] + used[place]
        found[place] = max(0, min(totals[month], 2 * MICRO)) - max(0, min(before, 2 * MICRO))
    return found
