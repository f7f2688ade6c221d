"""One daily row per user and date, with one cluster id: a user on two clusters overwrote himself."""

from tests.core.metering.site import FIRST, Site


def test_a_user_on_two_clusters_has_a_daily_row_for_each(site: Site) -> None:
    anna = site.user()
    for name, cost in (("eu-1", 1), ("us-1", 2)):
        site.cluster(name)
        site.map("ml-train", anna, 0, name)
        site.say({"ml-train": cost}, 0, name)
    site.collect()
    site.post()
    day = str(FIRST.date())
    assert site.usage() == {
        (anna.id, "eu-1", day): 1_018_330_000,
        (anna.id, "us-1", day): 2_018_330_000,
    }
    site.must_balance()


def test_a_correction_on_one_cluster_leaves_the_other_alone(site: Site) -> None:
    anna = site.user()
    for name in ("eu-1", "us-1"):
        site.cluster(name)
        site.map("ml-train", anna, 0, name)
        site.say({"ml-train": 1}, 0, name)
    site.collect()
    site.post()
    site.unmap("ml-train", 0, "us-1")
    site.post()
    assert list(site.usage()) == [(anna.id, "eu-1", str(FIRST.date()))]
    site.must_balance()
