"""What a rate card prices: the resources, their units, and how much a price may be. Light."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from core.rates.number import Limits, read_number

PRICE_DECIMALS_MAX = 9
INCLUDED_DECIMALS_MAX = 6
INCLUDED_MAX = 1_000_000_000
"""In bytes it is a ninth of what a BIGINT holds."""
MICRO: Final = 10**6
GIB: Final = 2**30


@dataclass(frozen=True)
class Resource:
    """One thing that has a price: for `size` of the column `figure` of an allocation."""

    unit: str
    """Of one; `units` of several."""
    units: str
    figure: str
    size: int
    price_max: int
    """With all at their greatest the largest cluster that is believed has an hour that a BIGINT holds."""


RESOURCES: Final = {
    "cpu": Resource("core-hour", "core-hours", "cpu_core_hours_micro", MICRO, 10_000),
    "gpu": Resource("GPU-hour", "GPU-hours", "gpu_hours_micro", MICRO, 100_000),
    "ram": Resource("GiB-hour of RAM", "GiB-hours of RAM", "ram_byte_hours", GIB, 1_000),
    "pv": Resource("GiB-hour of PV", "GiB-hours of PV", "pv_byte_hours", GIB, 1_000),
    "network": Resource("GiB sent", "GiB sent", "network_transfer_bytes", GIB, 1_000),
}
"""RAM and volumes in byte-hours, which are a flow; a number of bytes is a snapshot, adds up to
nothing, and is not kept. Sent bytes only: OpenCost's own network cost is made of them."""


def parse_price(resource: str, text: str) -> Decimal:
    """Read the price of one unit of a resource, `0.031611`."""
    of = RESOURCES[resource]
    limits = Limits(
        "price",
        "0.031611",
        PRICE_DECIMALS_MAX,
        Decimal(of.price_max),
        f"for one {of.unit} is a slip of the finger",
    )
    return read_number(text, limits)


def parse_included(resource: str, text: str) -> Decimal:
    """Read how many units of a resource are free in a month, `100`."""
    limits = Limits(
        "quantity",
        "100",
        INCLUDED_DECIMALS_MAX,
        Decimal(INCLUDED_MAX),
        f"{RESOURCES[resource].units} in a month are more than anybody uses",
    )
    return read_number(text, limits)
