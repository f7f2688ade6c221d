from collections.abc import Iterator

import pytest

from tests.core.billing.stripe.reporting.product_till import ProductTill
from tests.core.billing.stripe.reporting.till import METERS, Till, opened
from tests.database import Database


@pytest.fixture
def till(database: Database) -> Iterator[Till]:
    with opened(Till, database) as made:
        yield made


@pytest.fixture(params=METERS)
def product_till(database: Database, request: pytest.FixtureRequest) -> Iterator[ProductTill]:
    """With each kind of meter; a module that has no other imports it as its `till`."""
    with opened(ProductTill, database, request.param) as made:
        yield made
