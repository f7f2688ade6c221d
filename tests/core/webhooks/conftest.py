import pytest

from tests.core.webhooks.effects import prepare
from tests.database import Connection, Database


@pytest.fixture
def connection(database: Database) -> Connection:
    """A connection to a database that counts effects."""
    connection = database.connect()
    prepare(connection)
    return connection
