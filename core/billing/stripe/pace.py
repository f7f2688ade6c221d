"""How fast Stripe may be asked: one pace for all of this process, since the limits are the account's.

Jobs, webhooks and commands each have a gateway, in threads of their own, and most begin at the full hour. Each at a
pace of its own would together be past Stripe's limit, and one endpoint has a limit far below it.
"""

import asyncio
import re
import threading
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from core.clock import monotonic_s

BURST_S: Final = 0.2
"""How much of its rate may come at once, after a rest: with it a second stays within what is allowed."""
DOORS_MAX: Final = 16
APART: Final = "POST /v1/billing/meter_events"
"""Stripe allows ten times as much there as elsewhere."""
_ID: Final = re.compile(r"(?<=/)[^/]{2}[^/]*[A-Z0-9][^/]*")
"""Parts of a path with a digit or a capital letter in them, but for `v1`."""


class Pace:
    """Lets one through every 1 / rate seconds, in order, in all and at each endpoint."""

    def __init__(self, rate: int, endpoint_rate: int) -> None:
        self._rate, self._endpoint_rate = rate, endpoint_rate
        self._lock = threading.Lock()
        self._next_s: dict[str, float] = {}

    async def wait(self, method: str, url: str) -> None:
        """Wait until this may be asked; from whichever thread and loop."""
        endpoint = f"{method.upper()} {_ID.sub('*', urlsplit(url).path)}"
        if endpoint != APART:
            await asyncio.sleep(self._pause_s(endpoint, self._endpoint_rate))
        await asyncio.sleep(self._pause_s("", self._rate))

    def _pause_s(self, of: str, rate: int) -> float:
        """Take the next turn, and return how long it is until then."""
        with self._lock:
            now_s = monotonic_s()
            at_s = max(self._next_s.get(of, now_s) + 1 / rate, now_s - BURST_S)
            self._next_s[of] = at_s
        return max(at_s - now_s, 0.0)


@lru_cache(maxsize=DOORS_MAX)
def pace_of(url: str, rate: int, endpoint_rate: int) -> Pace:
    """Return the pace that all of this process keeps to at an address, at these rates."""
    del url  # what it is kept by
    return Pace(rate, endpoint_rate)
