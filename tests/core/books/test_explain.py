"""From a figure back to where it came from."""

import json
from datetime import timedelta

import pytest

from core.books.explain import Explanation, explain
from core.errors import Forbidden, Unknown
from core.identity.principal import Principal
from tests.answers import allocation, body_of
from tests.core.metering.site import ADMIN, FIRST, Site, away, hour


def explained(site: Site, namespace: str = "ml-train", number: int = 0) -> Explanation:
    return explain(site.connection, ADMIN, "eu-1", namespace, hour(number))


def test_a_figure_leads_back_to_the_raw_row(site: Site) -> None:
    site.cluster()
    anna = site.user()
    site.map("ml-train", anna, 0)
    row = allocation(hour(0), gpuCost=2, cpuCost=-0.5, totalEfficiency=0.75)
    site.say(body_of({"kube-system": allocation(hour(0)), "ml-train": row}))
    site.collect()
    found = explained(site)
    assert (found.kind, found.user, found.account) == ("user", anna.id, anna.id)
    assert (found.plan, found.charges, found.charge_nano) == ("default", "cost × 1", 1_518_330_000)
    assert found.money["gpu_nano"] == 2 * 10**9
    assert found.money["total_nano"] == found.charge_nano
    assert found.quantities["minutes_micro"] == 60_000_000
    assert (found.flags, found.efficiency_ppm) == (("negative-cost",), 750_000)
    assert found.period == "from 2026-03-01T00Z on (hand, by auth0|admin)"
    assert (found.revision, found.history, found.state) == (1, (), "collected")
    assert found.raw_row is not None
    assert json.loads(found.raw_row) == row
    assert found.raw_sha256 == site.window()["raw_sha256"].hex()
    assert found.raw_asked_at == site.now


def test_each_replaced_revision_is_told_with_its_reason(site: Site) -> None:
    site.cluster()
    anna = site.user()
    site.say({"ml-train": 1})
    site.collect()
    first = site.window()["raw_sha256"].hex()
    site.map("ml-train", anna, 0)
    site.say({"ml-train": 1.25})
    site.again(0)
    site.collect()
    found = explained(site)
    assert found.revision == 3
    told = [(each.revision, each.user, each.why, each.raw_sha256) for each in found.history]
    assert told == [(2, anna.id, "restated", first), (1, None, f"owner: {anna.id}", first)]
    assert found.history[0].total_nano == 1_018_330_000
    assert found.raw_row is not None
    assert json.loads(found.raw_row)["cpuCost"] == 1.25


def test_what_is_nobodys_says_its_kind(site: Site) -> None:
    site.cluster()
    site.say(["orphan"])
    site.collect()
    for namespace, kind in (
        ("orphan", "unmapped"),
        ("kube-system", "system"),
        ("__idle__", "idle"),
    ):
        found = explained(site, namespace)
        assert (found.kind, found.user, found.charge_nano, found.plan) == (kind, None, 0, "")
        assert found.raw_row


def test_a_period_that_ended_says_so(site: Site) -> None:
    site.cluster()
    site.say(["ml-train"])
    site.map("ml-train", site.user(), 0)
    site.unmap("ml-train", 1)
    site.collect()
    assert "from 2026-03-01T00Z until 2026-03-01T01Z" in explained(site).period


def test_past_its_time_the_raw_row_is_gone_and_its_hash_is_not(site: Site) -> None:
    site.cluster()
    site.say(["ml-train"])
    site.collect()
    site.connection.execute("SELECT drop_raw_answers(%s)", [FIRST])
    found = explained(site)
    assert (found.raw_row, found.raw_asked_at) == (None, None)
    assert found.raw_sha256 == site.window()["raw_sha256"].hex()


def test_what_is_not_there_says_why(site: Site) -> None:
    site.cluster()
    site.say(["ml-train"], 0)
    site.say(away(step="opencost"), 1)
    site.until(1)
    site.collect()
    with pytest.raises(Unknown, match=r"etl cost nothing on eu-1 in 2026-03-01T00Z"):
        explained(site, "etl")
    with pytest.raises(
        Unknown, match=r"2026-03-01T01Z is failed, so nothing of it .*nobody answers"
    ):
        explained(site, number=1)
    with pytest.raises(Unknown, match="not metered, or not closed yet"):
        explained(site, number=9)
    site.decide("gap", 1, why="the disk was lost")
    with pytest.raises(Unknown, match=r"is gap.*the disk was lost"):
        explained(site, number=1)


def test_an_answer_that_cannot_be_unpacked_is_said_and_not_raised(site: Site) -> None:
    site.cluster()
    site.say(["ml-train"])
    site.collect()
    site.connection.execute("UPDATE raw_answers SET body = 'broken'")
    assert (
        explained(site).raw_row == "(the kept answer cannot be read; see `hopsmeter books check`)"
    )


def test_only_an_admin_sees_raw_answers(site: Site) -> None:
    with pytest.raises(Forbidden):
        explain(site.connection, Principal("owner", "auth0|anna"), "eu-1", "a", hour(0))
    assert site.now - hour(0) > timedelta(0)
