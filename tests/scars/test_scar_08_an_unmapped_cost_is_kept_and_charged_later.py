"""A namespace with no owner was logged and its cost dropped."""

from tests.core.metering.site import Row, Site


def test_a_cost_without_an_owner_stands_in_the_books_with_its_money(site: Site) -> None:
    site.cluster()
    site.say({"orphan": 5})
    site.collect()
    site.post()
    assert site.rows()["orphan"] == Row("unmapped", None, 5_018_330_000)
    assert "5.01833 unmapped" in site.books()[1].detail
    assert site.value("SELECT sum(total_nano) FROM cost_by_day WHERE kind = 0") == 5_018_330_000
    site.must_balance()


def test_its_owner_is_charged_from_the_first_hour_once_he_is_known(site: Site) -> None:
    site.cluster()
    for number in range(48):
        site.say({"orphan": 1}, number)
    site.until(47)
    site.collect()
    site.post()
    assert site.usage() == {}
    change = site.map("orphan", site.user())
    assert (change.hours, change.cost_nano) == (48, 48 * 1_018_330_000)
    site.post()
    assert sum(site.usage().values()) == change.cost_nano
    site.must_balance()


def test_the_admin_says_how_far_back(site: Site) -> None:
    site.cluster()
    for number in range(4):
        site.say({"orphan": 1}, number)
    site.until(3)
    site.collect()
    site.map("orphan", site.user(), 3)
    site.post()
    assert sum(site.usage().values()) == 1_018_330_000
    assert "unmapped" in site.books()[1].detail
    site.must_balance()
