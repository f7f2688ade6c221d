"""People: who there is, and how one is found by what somebody types."""

import re
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from core.audit import trail
from core.errors import Conflict, InputFault, Unknown
from core.identity.principal import Principal

ID_CHARS_MAX = 255
EMAIL_CHARS_MAX = 254
NAME_CHARS_MAX = 200
_ID = re.compile(r"[^\s|\x00-\x1f\x7f]+\|[^\s\x00-\x1f\x7f]+")
_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+")

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
    created_at: datetime

    @property
    def label(self) -> str:
        return f"{self.id} ({self.email})"


_COLUMNS = ", ".join(field.name for field in fields(User))


def add_user(
    connection: Connection,
    principal: Principal,
    user_id: str,
    email: str,
    *,
    name: str = "",
    owner: str | None = None,
    is_admin: bool = False,
    why: str = "",
) -> User:
    """Write a user down; with an `owner` (id or e-mail) that one pays."""
    principal.require_admin("add users")
    user_id, email, name = user_id.strip(), email.strip(), name.strip()
    _require_usable(user_id, email, name)
    payer = _owner(connection, owner, user_id) if owner else None
    row = connection.execute(
        "INSERT INTO hopsmeter.users (id, email, name, account_owner_id, is_admin)"
        " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING RETURNING id",
        [user_id, email, name, payer and payer.id, is_admin],
    ).fetchone()
    if row is None:
        raise Conflict(f"There is a user {user_id} already; `hopsmeter user show` tells more.")
    user = find_user(connection, user_id)
    after = {
        "email": email,
        "name": name,
        "account_owner_id": user.account_owner_id,
        "is_admin": is_admin,
    }
    trail.record(connection, principal, "user.add", user_id, after=after, why=why)
    return user


def find_user(connection: Connection, text: str) -> User:
    """Find the one user with that id or e-mail; Unknown for none, InputFault for several."""
    found = _select(connection, "id = %s", [text])
    if not found:
        found = _select(connection, "lower(email) = lower(%s) ORDER BY id LIMIT 9", [text])
    if not found:
        raise Unknown(f"There is no user {text!r}; `hopsmeter user list` shows all.")
    if len(found) > 1:
        ids = ", ".join(user.id for user in found)
        raise InputFault(f"{text} is the e-mail of several users; name one by its id: {ids}.")
    return found[0]


def every_user(connection: Connection) -> list[User]:
    """Return all users by e-mail."""
    return _select(connection, "true ORDER BY lower(email), id", [])


def _select(connection: Connection, condition: str, values: list[Any]) -> list[User]:
    with connection.cursor(row_factory=class_row(User)) as cursor:
        return cursor.execute(
            f"SELECT {_COLUMNS} FROM hopsmeter.users WHERE {condition}", values
        ).fetchall()


def _require_usable(user_id: str, email: str, name: str) -> None:
    faults = []
    if not _ID.fullmatch(user_id) or len(user_id) > ID_CHARS_MAX:
        faults.append(f"{user_id[:80]!r} is no user id; it looks like auth0|64f1c2.")
    if not _EMAIL.fullmatch(email) or len(email) > EMAIL_CHARS_MAX:
        faults.append(f"{email[:80]!r} is no e-mail address.")
    if len(name) > NAME_CHARS_MAX or not name.isprintable():
        faults.append(f"The name is longer than {NAME_CHARS_MAX} or holds odd characters.")
    if faults:
        raise InputFault(f"{' '.join(faults)} Nothing was changed.")


def _owner(connection: Connection, text: str, user_id: str) -> User:
    owner = find_user(connection, text)
    if owner.id == user_id:
        raise InputFault("A user who pays for himself has no owner; leave it out.")
    if owner.account_owner_id:
        raise Conflict(
            f"{owner.label} is a team member himself, and a member has no members; name the"
            f" account owner {owner.account_owner_id}. Nothing was changed."
        )
    if owner.status != "active":
        raise Conflict(f"{owner.label} is {owner.status}. Nothing was changed.")
    return owner
