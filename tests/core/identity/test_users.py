"""Users, and the roles that log in for them."""

from collections.abc import Iterator

import pytest
from psycopg import sql

from core.db.roles import ensure_roles
from core.errors import Conflict, Forbidden, InputFault, Unknown
from core.identity.enrol import add_login, add_user, bootstrap, map_login
from core.identity.logins import every_login
from core.identity.principal import SETUP, Principal, principal_of_role
from core.identity.users import every_user, find_user
from tests import factories
from tests.database import Connection, Database

ADMIN = Principal("admin", "auth0|boss", "boss", 7)


@pytest.fixture
def role(database: Database) -> Iterator[str]:
    """The name of a role that is gone after the test: roles belong to the whole server."""
    name = f"{database.name}_anna"
    yield name
    database.connect().execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


def anna(connection: Connection, name: str = "") -> str:
    return add_user(connection, ADMIN, "auth0|anna", "Anna@example.test", name=name).id


def test_a_user_is_found_by_id_and_by_mail_in_any_case(database: Database) -> None:
    connection = database.connect()
    anna(connection, name="Anna")
    assert find_user(connection, "auth0|anna") == find_user(connection, "anna@EXAMPLE.test")
    with pytest.raises(Unknown, match="no user 'bob'"):
        find_user(connection, "bob")


def test_a_mail_of_two_users_names_neither(database: Database) -> None:
    connection = database.connect()
    anna(connection)
    factories.add_user(connection, "anna@example.test", id="github|anna")
    with pytest.raises(InputFault, match=r"auth0\|anna, github\|anna"):
        find_user(connection, "anna@example.test")
    assert len(every_user(connection)) == 2


def test_an_address_that_somebody_has_is_refused(database: Database) -> None:
    connection = database.connect()
    anna(connection)
    with pytest.raises(Conflict, match=r"auth0\|anna has the address ANNA@example.test"):
        add_user(connection, ADMIN, "github|anna", "ANNA@example.test")
    connection.execute("UPDATE users SET status = 'deleted'")
    assert find_user(connection, "anna@example.test").id == "auth0|anna"
    add_user(connection, ADMIN, "github|anna", "anna@example.test")
    assert find_user(connection, "anna@example.test").id == "github|anna"


@pytest.mark.parametrize(
    ("user_id", "email"),
    [
        ("auth0|ju\u0308rgen", "j@example.test"),
        ("auth0|j", "ju\u0308rgen@example.test"),
        ("auth0|j", "j\u200b@example.test"),
        ("auth0|\u202ej", "j@example.test"),
    ],
)
def test_who_would_look_like_another_is_refused(
    database: Database, user_id: str, email: str
) -> None:
    with pytest.raises(InputFault, match="signs that cannot be seen, or is not in Unicode's NFC"):
        add_user(database.connect(), ADMIN, user_id, email)
    add_user(database.connect(), ADMIN, "auth0|j\u00fcrgen", "j\u00fcrgen@example.test")


def test_the_same_user_twice_is_refused(database: Database) -> None:
    connection = database.connect()
    anna(connection)
    with pytest.raises(Conflict, match="already"):
        anna(connection)


def test_a_member_has_an_owner_and_no_members(database: Database) -> None:
    connection = database.connect()
    anna(connection)
    bob = add_user(connection, ADMIN, "auth0|bob", "bob@example.test", owner="anna@example.test")
    assert bob.account_owner_id == "auth0|anna"
    with pytest.raises(Conflict, match="a member has no members"):
        add_user(connection, ADMIN, "auth0|eve", "eve@example.test", owner="auth0|bob")


@pytest.mark.parametrize(
    ("user_id", "email", "match"),
    [
        ("anna", "anna@example.test", "no user id"),
        ("auth0|an na", "anna@example.test", "no user id"),
        ("auth0|a", "anna", "no e-mail"),
        ("auth0|a", "an na@example.test", "no e-mail"),
    ],
)
def test_what_is_no_user_is_refused(
    database: Database, user_id: str, email: str, match: str
) -> None:
    with pytest.raises(InputFault, match=match):
        add_user(database.connect(), ADMIN, user_id, email)


def test_only_an_admin_adds_people(database: Database) -> None:
    owner = Principal("owner", "auth0|anna")
    with pytest.raises(Forbidden):
        add_user(database.connect(), owner, "auth0|bob", "bob@example.test")
    with pytest.raises(Forbidden):
        map_login(database.connect(), owner, "bob", "auth0|bob")


def test_the_first_admin_is_whoever_sets_up_and_there_is_one_first(database: Database) -> None:
    connection = database.connect()
    with connection.transaction():
        user, login = bootstrap(connection, "auth0|boss", "boss@example.test")
    assert login.role == connection.info.user
    assert principal_of_role(connection, login.role, None, None) == Principal(
        "admin", user.id, login.role
    )
    trail = connection.execute("SELECT actor, via, action FROM audit_log ORDER BY id").fetchall()
    assert trail == [("setup", "setup", "user.add"), ("setup", "setup", "login.add")]
    with pytest.raises(Conflict, match=r"an admin already: auth0\|boss"), connection.transaction():
        bootstrap(connection, "auth0|eve", "eve@example.test")


def test_a_second_person_is_let_in_by_a_role_of_their_own(database: Database, role: str) -> None:
    connection = database.connect()
    ensure_roles(connection)
    anna(connection)
    login = add_login(connection, role, "anna@example.test")
    assert every_login(connection) == [login]
    assert principal_of_role(connection, role, None, None).kind == "owner"
    with pytest.raises(Conflict, match="somebody's login already"):
        map_login(connection, SETUP, role, "auth0|anna")


def test_the_daemons_role_is_nobodys_login(database: Database) -> None:
    connection = database.connect()
    ensure_roles(connection)
    anna(connection)
    for name in ("hopsmeter_daemon", "hopsmeter_audit", "hopsmeter", "nobody_knows"):
        with pytest.raises(Conflict, match="no database role"):
            map_login(connection, ADMIN, name, "auth0|anna")
    with pytest.raises(Conflict, match="a role of hopsmeter itself"):
        add_login(connection, "hopsmeter_daemon", "auth0|anna")
