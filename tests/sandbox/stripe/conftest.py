from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from stripe import RequestsClient, StripeClient

from sandbox.clock import WorldClock
from sandbox.stripe.world import StripeWorld
from tests.sandbox.stripe.description import held_to_description
from tests.sandbox.stripe.inbox import Inbox, open_inbox
from tests.sandbox.stripe.shop import Shop

NOW = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)
CLIENT_S = 10.0


@pytest.fixture
def clock() -> WorldClock:
    return WorldClock(NOW)


@pytest.fixture
def stripe(clock: WorldClock) -> Iterator[StripeWorld]:
    """A Stripe of which each word is held against Stripe's own description."""
    with StripeWorld(now=clock, seed=7) as stripe, held_to_description(stripe):
        yield stripe


@pytest.fixture
def client(stripe: StripeWorld) -> Iterator[StripeClient]:
    """The real SDK; it tries nothing again by itself."""
    http = RequestsClient(timeout=CLIENT_S)
    addresses = stripe.base_addresses
    yield StripeClient(stripe.api_key, base_addresses=addresses, http_client=http)  # type: ignore[arg-type]  # a TypedDict of the same four names
    http.close()  # type: ignore[no-untyped-call]  # the SDK has no annotation there


@pytest.fixture
def shop(client: StripeClient, clock: WorldClock) -> Shop:
    return Shop(client, clock)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with open_inbox() as inbox:
        yield inbox
