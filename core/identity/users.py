"""People: who there is, and how one is found by what somebody types."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from core.errors import InputFault, Unknown

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class User:
    """One row of users. Without an `account_owner_id` a user pays for himself."""

    id: str
    no: int
    email: str
    name: str
    account_owner_id: str | None
    is_admin: bool
    status: str
    billing_mode: str
    """Of today; a member's says nothing, his owner's counts."""
    created_at: datetime
    currency: str | None

    @property
    def label(self) -> str:
        return f"{self.id} ({self.email})"


_COMPUTED = {"billing_mode": "hopsmeter.mode_on(no, current_date) AS billing_mode"}
_COLUMNS = ", ".join(_COMPUTED.get(field.name, field.name) for field in fields(User))


def find_user(connection: Connection, text: str) -> User:
    """Find the one user with that id or e-mail; Unknown for none, InputFault for several.

    Whoever is deleted leaves the address to who has it now.
    """
    found = _select(connection, "id = %s", [text])
    if not found:
        found = _select(connection, "lower(email) = lower(%s) ORDER BY id LIMIT 9", [text])
    if not found:
        raise Unknown(f"There is no user {text!r}; `hopsmeter user list` shows all.")
    living = [user for user in found if user.status != "deleted"]
    if len(found) > 1 and len(living) != 1:
        ids = ", ".join(user.id for user in found)
        raise InputFault(f"{text} is the e-mail of several users; name one by its id: {ids}.")
    return (living or found)[0]


def every_user(connection: Connection) -> list[User]:
    """Return all users by e-mail."""
    return _select(connection, "true ORDER BY lower(email), id", [])


def _select(connection: Connection, condition: str, values: list[Any]) -> list[User]:
    with connection.cursor(row_factory=class_row(User)) as cursor:
        return cursor.execute(
            f"SELECT {_COLUMNS} FROM hopsmeter.users WHERE {condition}", values
        ).fetchall()
