"""Negative or broken figures from OpenCost were silently set to zero."""

import pytest

from tests.answers import allocation, body_of
from tests.core.metering.site import Site, hour

FIELDS = ["totalCost", "cpuCost", "gpuCost", "ramCost", "pvCost", "networkCost", "minutes"]


def test_a_negative_cost_is_kept_as_reported_and_flagged(site: Site) -> None:
    site.cluster()
    anna = site.user()
    site.map("ml-train", anna, 0)
    rows = {"kube-system": allocation(hour(0)), "ml-train": allocation(hour(0), cpuCost=-2)}
    site.say(body_of(rows))
    site.collect()
    site.post()
    kept = site.rows()["ml-train"]
    assert (kept.total_nano, kept.flags) == (-1_981_670_000, 1)
    assert site.window()["flags"] == ["negative-cost"]
    assert list(site.usage().values()) == [-1_981_670_000]
    site.must_balance()


@pytest.mark.parametrize("literal", ["null", "NaN", "Infinity", "1e999", "-1.97e+25"])
def test_a_figure_that_is_no_number_fails_the_hour_and_is_named(site: Site, literal: str) -> None:
    site.cluster()
    for number, field in enumerate(FIELDS):
        row = allocation(hour(number)) | {field: 31337.5}
        content = body_of({"kube-system": allocation(hour(number)), "ml-train": row})
        site.say(content.replace(b"31337.5", literal.encode()), number)
    site.until(len(FIELDS) - 1)
    site.collect()
    for number, field in enumerate(FIELDS):
        window = site.window(number)
        assert window["state"] == "refused"
        assert window["fault"] in ("no-number", "out-of-range")
        assert f"ml-train.{field.lower()}" in window["why"].lower().replace("_", "")
        assert window["next_try_at"] is not None
        assert site.rows(number) == {}
