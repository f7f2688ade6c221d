"""Rate limits, by the host's clock: so many calls in any second."""

import time
from collections import defaultdict, deque

from sandbox.stripe.account import Account
from sandbox.stripe.errors import rate_limited

METER_EVENTS = "/v1/billing/meter_events"


class RateLimits:
    def __init__(self, account: Account) -> None:
        self._account = account
        self._calls: dict[str, deque[float]] = defaultdict(deque)

    def check(self, method: str, path: str) -> None:
        """Count a call, or refuse it; a refused one does not count."""
        settings = self._account.settings
        limits = [("", settings.requests_per_s, "global-rate")]
        if path == METER_EVENTS:
            limits = [(METER_EVENTS, settings.meter_events_per_s, "endpoint-rate")]
        else:
            limits.append(
                (_endpoint(method, path), settings.requests_per_s_endpoint, "endpoint-rate")
            )
        now_s = time.monotonic()
        set_limits = [(name, limit, why) for name, limit, why in limits if limit is not None]
        for name, limit, why in set_limits:
            calls = self._calls[name]
            while calls and calls[0] <= now_s - 1:
                calls.popleft()
            if len(calls) >= limit:
                raise rate_limited(why)
        for name, _, _ in set_limits:
            self._calls[name].append(now_s)


def _endpoint(method: str, path: str) -> str:
    """Return an endpoint without the ids in it, so that /customers/{id} is one endpoint."""
    parts = ["{id}" if any(c.isdigit() for c in part[2:]) else part for part in path.split("/")]
    return f"{method} {'/'.join(parts)}"
