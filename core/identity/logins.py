"""Which database role is which person."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Login:
    role: str
    user_id: str
    may_assert: bool
    created_at: datetime


def every_login(connection: Connection) -> list[Login]:
    """Return all logins by role."""
    with connection.cursor(row_factory=class_row(Login)) as cursor:
        return cursor.execute(
            "SELECT role::text, user_id, may_assert, created_at FROM hopsmeter.logins ORDER BY 1"
        ).fetchall()
