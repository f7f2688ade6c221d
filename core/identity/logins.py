"""Which database role is which person."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from core.audit import trail
from core.db.roles import PERSON, ensure_login_role
from core.errors import Conflict
from core.identity.principal import SETUP, Principal
from core.identity.users import User, add_user, find_user

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


def map_login(
    connection: Connection,
    principal: Principal,
    role: str,
    user: str,
    *,
    may_assert: bool = False,
    why: str = "",
) -> Login:
    """Let the database role act for a user (id or e-mail); the role must be there, and a person's.

    Roles of the daemon and of the schema's owner are no person's, and cannot be taken this way.
    """
    principal.require_admin("add logins")
    row = connection.execute(
        "SELECT r.rolcanlogin AND NOT r.rolsuper AND NOT r.rolcreaterole FROM pg_roles r JOIN pg_auth_members m ON m.member = r.oid"
        " JOIN pg_roles g ON g.oid = m.roleid WHERE r.rolname = %s AND g.rolname = %s",
        [role, PERSON],
    ).fetchone()
    if row is None or not row[0]:
        raise Conflict(
            f"There is no database role {role!r} in the group {PERSON}; make it on the database's"
            f" side with `hopsmeter admin login {role} USER`. Nothing was changed."
        )
    return _write(connection, principal, role, user, may_assert=may_assert, why=why)


def add_login(
    connection: Connection,
    role: str,
    user: str,
    *,
    may_assert: bool = False,
    why: str = "",
) -> Login:
    """Make the login role where it is missing, and map it. Set-up: needs a role that makes roles."""
    ensure_login_role(connection, role)
    return _write(connection, SETUP, role, user, may_assert=may_assert, why=why)


def bootstrap(
    connection: Connection, user_id: str, email: str, *, name: str = "", role: str | None = None
) -> tuple[User, Login]:
    """Make the first admin and the first login: `role`, or whoever is connected.

    Conflict where an admin can log in already: then that one adds the others.
    """
    connection.execute("LOCK TABLE hopsmeter.logins IN EXCLUSIVE MODE")
    row = connection.execute(
        "SELECT l.role::text, u.id FROM hopsmeter.logins l JOIN hopsmeter.users u"
        " ON u.id = l.user_id WHERE u.is_admin AND u.status = 'active' ORDER BY 1 LIMIT 1"
    ).fetchone()
    if row:
        raise Conflict(
            f"There is an admin already: {row[1]}, who logs in as {row[0]}. That one adds others:"
            " `hopsmeter user add … --admin --role ROLE`. Nothing was changed."
        )
    why = "the first admin"
    user = add_user(connection, SETUP, user_id, email, name=name, is_admin=True, why=why)
    if role is not None:
        return user, add_login(connection, role, user.id, why=why)
    own = connection.execute("SELECT session_user::text").fetchone()
    assert own is not None
    return user, _write(connection, SETUP, own[0], user.id, may_assert=False, why=why)


def _write(
    connection: Connection,
    principal: Principal,
    role: str,
    user: str,
    *,
    may_assert: bool,
    why: str,
) -> Login:
    found = find_user(connection, user)
    row = connection.execute(
        "INSERT INTO hopsmeter.logins (role, user_id, may_assert) VALUES (%s, %s, %s)"
        " ON CONFLICT (role) DO NOTHING RETURNING created_at",
        [role, found.id, may_assert],
    ).fetchone()
    if row is None:
        raise Conflict(f"The role {role!r} is somebody's login already. Nothing was changed.")
    after = {"user": found.id, "may_assert": may_assert}
    trail.record(connection, principal, "login.add", role, after=after, why=why)
    return Login(role, found.id, may_assert, row[0])
