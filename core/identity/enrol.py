"""Letting people in: users and their logins written down, each with its row in the trail.

Apart from `users` and `logins`, which only read: a command line that lists need not load SQLModel.
"""

import re
import unicodedata
from typing import Any

import psycopg
from psycopg.errors import UniqueViolation
from sqlmodel import col, delete

from core.audit import trail
from core.db.locks import Lock, take
from core.db.ride import session_on
from core.db.roles import PERSON, ensure_login_role
from core.errors import Conflict, InputFault, Unknown
from core.identity import tables
from core.identity.logins import Login, every_login
from core.identity.principal import SETUP, Principal
from core.identity.users import User, find_user

ID_CHARS_MAX = 255
EMAIL_CHARS_MAX = 254
NAME_CHARS_MAX = 200
_ID = re.compile(r"[^\s|\x00-\x1f\x7f]+\|[^\s\x00-\x1f\x7f]+")
_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+")
_ADMIN_LOGIN = (
    "SELECT l.role::text, u.id FROM hopsmeter.logins l JOIN hopsmeter.users u"
    " ON u.id = l.user_id WHERE u.is_admin AND u.status = 'active' ORDER BY 1 LIMIT 1"
)

Connection = psycopg.Connection[Any]


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
    _require_free_address(connection, user_id, email)
    payer = _owner(connection, owner, user_id) if owner else None
    row = tables.User(
        id=user_id,
        email=email,
        name=name,
        account_owner_id=payer.id if payer else None,
        is_admin=is_admin,
    )
    try:
        with session_on(connection) as session:
            session.add(row)
    except UniqueViolation:
        raise Conflict(
            f"There is a user {user_id} already; `hopsmeter user show` tells more."
        ) from None
    user = find_user(connection, user_id)
    after = {
        "email": email,
        "name": name,
        "account_owner_id": user.account_owner_id,
        "is_admin": is_admin,
    }
    trail.record(connection, principal, "user.add", user_id, after=after, why=why)
    return user


def _require_free_address(connection: Connection, user_id: str, email: str) -> None:
    """Refuse a second user of an address, which would name nobody from then on."""
    take(connection, Lock.PEOPLE)
    row = connection.execute(
        "SELECT id FROM hopsmeter.users"
        " WHERE lower(email) = lower(%s) AND id <> %s AND status <> 'deleted' LIMIT 1",
        [email, user_id],
    ).fetchone()
    if row:
        raise Conflict(
            f"The user {row[0]} has the address {email}, and people are found by theirs; give this"
            " one an address of their own. Nothing was changed."
        )


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
        "SELECT r.rolcanlogin AND NOT r.rolsuper AND NOT r.rolcreaterole FROM pg_roles r"
        " JOIN pg_auth_members m ON m.member = r.oid"
        " JOIN pg_roles g ON g.oid = m.roleid WHERE r.rolname = %s AND g.rolname = %s",
        [role, PERSON],
    ).fetchone()
    if row is None or not row[0]:
        raise Conflict(
            f"There is no database role {role!r} in the group {PERSON}; make it on the database's"
            f" side with `hopsmeter admin login {role} USER`. Nothing was changed."
        )
    return _write(connection, principal, role, user, may_assert=may_assert, why=why)


def remove_login(
    connection: Connection, principal: Principal, role: str, *, why: str = ""
) -> Login:
    """Let a database role act for nobody any more; Conflict where no admin could come in then."""
    principal.require_admin("remove logins")
    connection.execute("LOCK TABLE hopsmeter.logins IN EXCLUSIVE MODE")
    gone = next((each for each in every_login(connection) if each.role == role), None)
    if gone is None:
        raise Unknown(f"No login has the role {role!r}; `hopsmeter admin logins` shows all.")
    with session_on(connection) as session:
        session.exec(delete(tables.Login).where(col(tables.Login.role) == role))
    if connection.execute(_ADMIN_LOGIN).fetchone() is None:
        raise Conflict(
            f"{role} is the last login of an admin: nobody could let anybody in after it. Nothing"
            " was changed."
        )
    before = {"user": gone.user_id, "may_assert": gone.may_assert}
    trail.record(connection, principal, "login.remove", role, before=before, why=why)
    return gone


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
    row = connection.execute(_ADMIN_LOGIN).fetchone()
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
    row = tables.Login(role=role, user_id=found.id, may_assert=may_assert)
    try:
        with session_on(connection) as session:
            session.add(row)
    except UniqueViolation:
        raise Conflict(
            f"The role {role!r} is somebody's login already. Nothing was changed."
        ) from None
    after = {"user": found.id, "may_assert": may_assert}
    trail.record(connection, principal, "login.add", role, after=after, why=why)
    assert row.created_at is not None
    return Login(role, found.id, may_assert, row.created_at)


def _require_usable(user_id: str, email: str, name: str) -> None:
    faults = []
    if not _ID.fullmatch(user_id) or len(user_id) > ID_CHARS_MAX:
        faults.append(f"{user_id[:80]!r} is no user id; it looks like auth0|64f1c2.")
    for word in (user_id, email):
        # Two that look alike would be two people, and one account would be billed for the other.
        if not word.isprintable() or not unicodedata.is_normalized("NFC", word):
            said = word[:80].encode("unicode_escape").decode()
            faults.append(f"'{said}' holds signs that cannot be seen, or is not in Unicode's NFC.")
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
