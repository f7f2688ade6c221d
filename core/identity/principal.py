"""Who asks: goes into every function of core that reads or changes something of somebody."""

from dataclasses import dataclass
from typing import Any, Literal

import psycopg

from core.errors import Forbidden

Kind = Literal["daemon", "setup", "admin", "owner", "member"]


@dataclass(frozen=True)
class Principal:
    """A person or the daemon itself, as the database knows them at this moment.

    `user_id` is None for the daemon and for set-up, which runs before there is a user.
    """

    kind: Kind
    user_id: str | None = None
    role: str = ""
    command_id: int | None = None

    @property
    def actor(self) -> str:
        """Return the name that the audit trail keeps."""
        return self.user_id or self.kind

    @property
    def via(self) -> str:
        return "command" if self.command_id is not None else self.kind

    def require_admin(self, what: str) -> None:
        """Raise Forbidden unless an admin, set-up or the daemon itself asks for `what`."""
        if self.kind not in ("admin", "setup", "daemon"):
            raise Forbidden(f"Only an admin may {what}. Nothing was changed.")

    def require_reader(self, account: str) -> None:
        """Raise Forbidden unless an admin, or the owner of the account himself, reads its books."""
        is_own = self.kind == "owner" and self.user_id == account
        if self.kind not in ("admin", "setup", "daemon") and not is_own:
            raise Forbidden(f"Only an admin, or {account} itself, may read the books of {account}.")


DAEMON = Principal("daemon")
SETUP = Principal("setup")


def principal_of_role(
    connection: psycopg.Connection[Any], role: str, person: str | None, command_id: int | None
) -> Principal:
    """Find who stands behind a database role; `person` is believed only where the role may assert.

    `is_admin` is read now, from the database. Forbidden for a role that `logins` does not know,
    an assertion that is not allowed, and a user who is not active.
    """
    login = connection.execute(
        "SELECT user_id, may_assert FROM hopsmeter.logins WHERE role = %s", [role]
    ).fetchone()
    if login is None:
        raise Forbidden(
            f"The database role {role!r} belongs to no user; an admin adds it to the logins"
            " (the first one: `hopsmeter admin bootstrap`). Nothing was changed."
        )
    user_id, may_assert = login
    if person is not None and person != user_id:
        if not may_assert:
            raise Forbidden(f"The role {role!r} may not act for {person}. Nothing was changed.")
        user_id = person
    user = connection.execute(
        "SELECT is_admin, status, account_owner_id FROM hopsmeter.users WHERE id = %s", [user_id]
    ).fetchone()
    if user is None or user[1] != "active":
        raise Forbidden(f"{user_id} is no active user. Nothing was changed.")
    kind: Kind = "admin" if user[0] else "member" if user[2] else "owner"
    return Principal(kind, user_id, role, command_id)
