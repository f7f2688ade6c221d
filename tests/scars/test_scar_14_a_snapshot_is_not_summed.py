"""A daily snapshot of stored gigabytes was summed over the month: thirty times too much."""

from core.opencost.answer import QUANTITY_COLUMNS
from core.rates.card import RESOURCES
from tests.answers import allocation, body_of
from tests.core.metering.site import Site, hour

GIB = 2**30
DAYS = 3


def test_a_volume_is_charged_for_the_hours_it_was_held(site: Site) -> None:
    """Ten GiB for three days are 720 GiB-hours, whatever OpenCost says each hour of its size."""
    site.cluster()
    anna = site.user()
    site.map("a", anna, 0)
    site.card("card", {"pv": "0.001"})
    site.assign(anna, "card", 0)
    for number in range(24 * DAYS):
        held = allocation(hour(number), pvBytes=10 * GIB, pvByteHours=10 * GIB)
        site.say(body_of({"kube-system": allocation(hour(number)), "a": held}), number)
    site.until(24 * DAYS - 1)
    site.collect()
    site.post()
    assert sum(site.usage().values()) == 10 * 24 * DAYS * 1_000_000
    site.must_balance()


def test_nothing_that_is_kept_or_priced_is_a_number_of_bytes_at_a_moment() -> None:
    flows = ("_hours_micro", "_byte_hours", "_transfer_bytes", "_receive_bytes", "minutes_micro")
    assert all(column.endswith(flows) for column in QUANTITY_COLUMNS)
    assert {of.figure for of in RESOURCES.values()} <= set(QUANTITY_COLUMNS)
