"""When the storage query failed, that hour's storage was free."""

import pytest

from tests.answers import allocation, body_of
from tests.core.metering.site import NOTHING, Said, Site, away, hour


def without_storage() -> bytes:
    row = allocation(hour(0), pvCost=None)
    return body_of({"kube-system": allocation(hour(0)), "ml-train": row})


def a_part_of_the_namespaces() -> bytes:
    return body_of({"ml-train": allocation(hour(0))})


FAILED: dict[str, Said] = {
    "storage is null": without_storage(),
    "a part of the namespaces": a_part_of_the_namespaces(),
    "a query failed": b'{"code":500,"message":"error querying PVCost from Prometheus"}',
    "the answer broke off": without_storage()[:200],
    "nothing at all": NOTHING,
    "no answer": away(step="opencost"),
}


@pytest.mark.parametrize("what", FAILED)
def test_an_answer_that_lacks_a_part_leaves_the_hour_to_be_tried_again(
    site: Site, what: str
) -> None:
    site.cluster()
    site.map("ml-train", site.user(), 0)
    site.say(FAILED[what])
    site.collect()
    site.post()
    window = site.window()
    assert window["state"] in ("refused", "failed")
    assert window["next_try_at"] > site.now
    assert window["why"]
    assert site.rows() == {}
    assert site.usage() == {}
    site.now = window["next_try_at"]
    site.say({"ml-train": 1})
    site.collect()
    site.post()
    assert list(site.usage().values()) == [1_018_330_000]
    site.must_balance()


def test_a_reread_that_forgot_something_takes_nothing_back(site: Site) -> None:
    site.cluster()
    site.map("ml-train", site.user(), 0)
    site.say(["ml-train", "etl"])
    site.collect()
    site.post()
    charged = site.usage()
    site.say(["etl"])
    site.again(0)
    site.collect()
    site.post()
    assert site.usage() == charged
    assert site.window()["state"] == "held"
