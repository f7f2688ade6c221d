from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.stripe.world import StripeWorld
from tests.daemon.hooked import around_of
from tests.database import Database


@pytest.fixture
def stripe() -> Iterator[StripeWorld]:
    """A Stripe by the machine's clock, since the daemon goes by it; it knows nobody yet."""
    with StripeWorld(seed=7) as stripe:
        yield stripe


@pytest.fixture
def around(database: Database, tmp_path: Path, stripe: StripeWorld) -> dict[str, str]:
    """The environment of a daemon that asks that Stripe."""
    return around_of(database, tmp_path, url=stripe.url, key=stripe.api_key)
