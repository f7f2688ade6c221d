"""What every command shares: the settings, the way to the database, who asks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from core.clock import utc_now
from core.db.connect import connect
from core.identity.principal import Principal, principal_of_role
from core.settings import Settings, client_url, load

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Session:
    """Made from the options before the command; nothing is opened until a command asks."""

    config: Path | None = None
    person: str | None = None
    """Whom to speak for; believed only where the login may."""

    def settings(self) -> Settings:
        return load(config=self.config)

    def url(self) -> str:
        return client_url(self.settings())

    def now(self) -> datetime:
        return utc_now()

    @contextmanager
    def connection(self, *, read_only: bool = False) -> Iterator[Connection]:
        with connect(self.url(), name="hopsmeter", read_only=read_only) as connection:
            yield connection

    def principal(self, connection: Connection) -> Principal:
        """Return who asks, as the database knows them; for what core shows to some only."""
        row = connection.execute("SELECT session_user::text").fetchone()
        assert row is not None
        return principal_of_role(connection, row[0], self.person, None)
