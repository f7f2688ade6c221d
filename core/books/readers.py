"""Who may read what is somebody's: an admin all of it, the owner of an account his own."""

from dataclasses import dataclass
from typing import Any

import psycopg

from core.identity.principal import Principal
from core.identity.users import User, find_user

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Payer:
    """An account as its documents name it; also one that is deleted, which still has books."""

    no: int
    id: str
    email: str
    name: str
    currency: str


def readable_payer(connection: Connection, principal: Principal, text: str) -> Payer:
    """Find the account that pays for a user (id or e-mail); Forbidden where it is not the asker's."""
    user = find_user(connection, text)
    if user.account_owner_id:
        user = find_user(connection, user.account_owner_id)
    principal.require_reader(user.id)
    return _payer(user)


def _payer(user: User) -> Payer:
    return Payer(user.no, user.id, user.email, user.name, user.currency or "")
