"""Hours against their raw answers: some clusters of an hour at a time, whatever may be held together."""

import pytest

from core.books import answers
from tests.core.metering.site import Site


@pytest.fixture
def two_clusters(site: Site) -> Site:
    """Namespaces of the same names on both, one answer that both gave, and one that has only one."""
    for cluster in ("eu-1", "eu-2"):
        site.cluster(cluster)
        site.say({"b": 1, "a": 2}, 0, cluster)
        site.say({"a": 2, "b": 1, "c": 3} if cluster == "eu-2" else {"b": 4, "a": 2}, 1, cluster)
    site.until(1)
    site.collect()
    site.post()
    return site


@pytest.fixture(params=["all at once", "by rows", "by bytes"])
def held(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"by rows": "ROWS_AT_ONCE", "by bytes": "PACKED_BYTES_AT_ONCE"}
    if request.param in limits:
        monkeypatch.setattr(answers, limits[request.param], 1)


@pytest.mark.usefixtures("held")
def test_good_hours_of_several_clusters_are_the_same_as_their_answers(two_clusters: Site) -> None:
    assert two_clusters.value("SELECT count(DISTINCT sha256) FROM raw_answers") == 3
    two_clusters.must_balance()


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("cluster", ["eu-1", "eu-2"])
def test_money_moved_between_kinds_is_named_with_its_cluster(
    two_clusters: Site, cluster: str
) -> None:
    done = two_clusters.connection.execute(
        "UPDATE hopsmeter.allocations a SET cpu_nano = cpu_nano - 1, ram_nano = ram_nano + 1"
        " FROM hopsmeter.namespaces n JOIN hopsmeter.hopsworks_clusters c ON c.id = n.cluster_id"
        " WHERE a.namespace_id = n.id AND n.name = 'a' AND c.name = %s"
        " AND a.hour = '2026-03-01 01:00Z'",
        [cluster],
    )
    assert done.rowcount == 1
    (row,) = two_clusters.books()[0].rows
    assert row.startswith(f"{cluster} 2026-03-01T01Z: a: cpu_nano is ")


@pytest.mark.usefixtures("held")
def test_a_namespace_that_only_one_of_two_has_is_named(two_clusters: Site) -> None:
    """With what it cost moved to another one, so that rows and sums of the window are as they were."""
    two_clusters.connection.execute(
        "WITH added AS ("
        " INSERT INTO hopsmeter.namespaces (cluster_id, name, first_seen, last_seen)"
        " SELECT cluster_id, 'd', first_seen, last_seen FROM hopsmeter.namespaces WHERE name = 'c'"
        " RETURNING id)"
        " UPDATE hopsmeter.allocations SET namespace_id = (SELECT id FROM added)"
        " WHERE namespace_id = (SELECT id FROM hopsmeter.namespaces WHERE name = 'c')"
    )
    rows = two_clusters.books()[0].rows
    assert [row.partition(" stored")[0] for row in rows] == [
        "eu-2 2026-03-01T01Z: c:",
        "eu-2 2026-03-01T01Z: d:",
    ]
