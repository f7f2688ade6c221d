from collections.abc import Iterator

import pytest
from stripe import RequestsClient, StripeClient

from sandbox.clock import WorldClock
from sandbox.stripe.world import StripeWorld
from tests.core.billing.stripe.reporting.till import START, Till
from tests.database import Database


@pytest.fixture
def till(database: Database) -> Iterator[Till]:
    clock = WorldClock(START)
    http = RequestsClient(timeout=10.0)
    with StripeWorld(now=clock, seed=7) as stripe:
        addresses = stripe.base_addresses
        client = StripeClient(stripe.api_key, base_addresses=addresses, http_client=http)  # type: ignore[arg-type]  # a TypedDict of the same four names
        yield Till(database.connect(), stripe, clock, client)
    http.close()  # type: ignore[no-untyped-call]  # the SDK has no annotation there
