"""An hour whose job did not run was never collected: lost revenue."""

from datetime import timedelta

from core.clock import HOUR
from tests.core.metering.site import POLICY, Site, away, hour


def test_hours_in_which_no_job_ran_are_collected_oldest_first(site: Site) -> None:
    site.cluster()
    anna = site.user()
    site.map("ml-train", anna, 0)
    for number in range(72):
        site.say({"ml-train": 1}, number)
    site.until(71)  # nobody looked for three days
    site.collect()
    site.post()
    assert [asked for _, asked in site.asked] == [hour(number) for number in range(72)]
    assert sum(site.usage().values()) == 72 * 1_018_330_000
    site.must_balance()


def test_a_missed_hour_is_due_for_as_long_as_it_takes(site: Site) -> None:
    site.cluster()
    site.say(away())
    for _ in range(30):
        site.collect()
        site.now += timedelta(hours=7)
        assert site.window()["state"] == "failed"
        assert site.window()["next_try_at"] <= site.now
    site.say(["ml-train"])
    site.collect()
    assert site.window()["state"] == "settled"


def test_an_hour_that_the_source_no_longer_has_is_a_gap_and_never_a_zero(site: Site) -> None:
    site.cluster()
    site.now = hour(0) + HOUR + POLICY.gap_after
    site.say(["ml-train"], 20)
    for _ in range(POLICY.gap_tries):
        site.collect()
        site.now += HOUR
    window = site.window()
    assert (window["state"], window["revision"]) == ("gap", 0)
    assert "no longer has this hour" in window["why"]
    assert site.rows() == {}
    (line,) = (each for each in site.books() if each.number == 7)
    assert "gap" in line.detail
