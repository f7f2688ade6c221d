"""What each database role may do, tried as that role."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from core.books.checks import check_books
from core.clock import DAY, day_of
from core.db.connect import connect
from core.db.roles import DAEMON, ensure_login_role, ensure_roles, roles_present
from core.errors import DatabaseFault
from core.reports.clusters import clusters
from core.reports.costs import cost_by_account, cost_by_user, namespaces, unmapped
from core.reports.hours import cluster_hours, hours_map
from core.reports.rates import plan_story, plans
from core.reports.session import daemons, session
from core.reports.usage import usage
from tests.database import Connection, Database, Templates
from tests.factories import NOW, add_cluster, add_user

REFUSED = psycopg.errors.InsufficientPrivilege


def set_up(database: Database) -> None:
    ensure_roles(database.connect())


@pytest.fixture
def with_roles(templates: Templates) -> Iterator[Database]:
    """A database whose roles are set up."""
    with templates.lend(set_up) as (database, _):
        yield database


@pytest.fixture
def person(with_roles: Database) -> Iterator[Connection]:
    """A connection as a person's own role."""
    owner = with_roles.connect()
    role = f"{with_roles.name}_anna"
    ensure_login_role(owner, role)
    with connect(with_roles.url_for(role), name="person") as connection:
        yield connection
    owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.fixture
def daemon(with_roles: Database) -> Iterator[Connection]:
    with connect(with_roles.url_for(DAEMON), name="daemon") as connection:
        yield connection


def test_roles_can_be_set_up_again_and_again(database: Database) -> None:
    owner = database.connect()
    assert not roles_present(owner)
    for _ in range(3):
        ensure_roles(owner)
    assert roles_present(owner)


def test_a_person_may_not_set_roles_up(person: Connection) -> None:
    with pytest.raises(DatabaseFault, match="may not set roles up"):
        ensure_roles(person)
    with pytest.raises(DatabaseFault, match="may not make roles"):
        ensure_login_role(person, "somebody_else")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT sealed FROM hopsmeter.commands",
        "SELECT * FROM hopsmeter.commands",
        "SELECT kubeconfig_sealed FROM hopsmeter.hopsworks_clusters",
        "SELECT api_key_sealed FROM hopsmeter.hopsworks_clusters",
        "SELECT c FROM hopsmeter.hopsworks_clusters c",
        "SELECT canary FROM hopsmeter.secret_keys",
        "COPY hopsmeter.hopsworks_clusters TO STDOUT",
    ],
)
def test_a_person_cannot_read_what_is_sealed(person: Connection, query: str) -> None:
    with pytest.raises(REFUSED):
        person.execute(query.encode())


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO hopsmeter.commands (key, name, role) VALUES (gen_random_uuid(), 'x', 'boss')",
        "INSERT INTO hopsmeter.commands (key, name, state) VALUES (gen_random_uuid(), 'x', 'done')",
        "INSERT INTO hopsmeter.commands (key, name, result) VALUES (gen_random_uuid(), 'x', '{}')",
        "UPDATE hopsmeter.commands SET name = 'x'",
        "DELETE FROM hopsmeter.commands",
        "INSERT INTO hopsmeter.users (id, email) VALUES ('a|b', 'c')",
        "UPDATE hopsmeter.users SET is_admin = true",
        "INSERT INTO hopsmeter.logins (role, user_id) VALUES (session_user, 'a|b')",
        "UPDATE hopsmeter.logins SET may_assert = true",
        "INSERT INTO hopsmeter.audit_log (actor, via, action, subject) VALUES ('a','b','c','d')",
        "UPDATE hopsmeter.audit_log SET actor = 'x'",
        "DELETE FROM hopsmeter.audit_log",
        "TRUNCATE hopsmeter.audit_log",
        "ALTER TABLE hopsmeter.audit_log DISABLE TRIGGER ALL",
        "UPDATE hopsmeter.allocations SET total_nano = 0",
        "DELETE FROM hopsmeter.usage_daily",
        "UPDATE hopsmeter.collection_windows SET state = 'gap'",
        "UPDATE hopsmeter.secret_keys SET public_key = 'mine'",
        "INSERT INTO hopsmeter.user_projects (cluster_id) VALUES (1)",
        "UPDATE hopsmeter.hopsworks_clusters SET api_url = 'https://evil.test'",
        "UPDATE hopsmeter.rate_plan_versions SET factor = 0",
        "INSERT INTO hopsmeter.rate_plans (name, kind) VALUES ('mine', 'cost_plus')",
        "INSERT INTO hopsmeter.plan_assignments (account_no) VALUES (1)",
        "DELETE FROM hopsmeter.plan_assignments",
        "SELECT hopsmeter.ensure_partitions(now())",
        "CREATE TABLE hopsmeter.mine ()",
        "DROP TABLE hopsmeter.audit_log",
        "SET ROLE hopsmeter_daemon",
        "SET ROLE hopsmeter_audit",
    ],
)
def test_a_person_cannot_write_but_by_commands(person: Connection, statement: str) -> None:
    with pytest.raises(REFUSED):
        person.execute(statement.encode())


def test_a_person_submits_under_their_own_role_whatever_they_say(person: Connection) -> None:
    person.execute(
        "INSERT INTO hopsmeter.commands (key, person, name, arguments, sealed, dry_run, why)"
        " VALUES (gen_random_uuid(), 'auth0|boss', 'collect', '{}', NULL, false, '')"
    )
    row = person.execute("SELECT role, person, state, tries FROM hopsmeter.commands").fetchone()
    assert row == (person.info.user, "auth0|boss", "submitted", 0)


def test_a_person_reads_what_the_screens_show(with_roles: Database, person: Connection) -> None:
    add_cluster(with_roles.connect())
    assert [line.name for line in clusters(person, NOW)] == ["eu-1"]
    assert unmapped(person) == ()
    assert session(person).role == person.info.user
    assert daemons(person) == ()
    (strip,) = hours_map(person, NOW - DAY, NOW, NOW)
    assert strip.cluster == "eu-1"
    assert cluster_hours(person, "eu-1", NOW - DAY, NOW, NOW) == ()
    assert cost_by_user(person, day_of(NOW), NOW) == cost_by_account(person, day_of(NOW), NOW)
    assert namespaces(person, day_of(NOW), day_of(NOW)) == ()
    assert usage(person, day_of(NOW), day_of(NOW)) == ()
    assert [line.plan for line in plans(person, NOW)] == ["default"]
    assert plan_story(person, "default", NOW).accounts == ()
    # Its hours have no rows yet, which is what the last invariant is about.
    assert [line.number for line in check_books(person, NOW) if not line.ok] == [7]
    for table in (
        "account_entries",
        "posted_hours",
        "statements",
        "audit_log",
        "raw_answers",
        "logins",
        "allocations",
        "cost_daily",
        "plan_assignments",
    ):
        assert person.execute(f"SELECT * FROM hopsmeter.{table} LIMIT 1").fetchone() is None
    assert person.execute("SELECT public_key FROM hopsmeter.secret_keys").fetchall() == []


COLUMNS = {
    "audit_log": "at",
    "allocation_history": "hour",
    "posted_hours": "hour",
    "rate_plan_versions": "valid_from",
}


@pytest.mark.parametrize("table", COLUMNS)
@pytest.mark.parametrize(
    "statement",
    ["UPDATE {} SET id = 1", "DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}",
     "ALTER TABLE {} DISABLE TRIGGER ALL"],
)  # fmt: skip
def test_the_daemon_can_only_append_to_what_is_append_only(
    daemon: Connection, table: str, statement: str
) -> None:
    statement = statement.replace("SET id", f"SET {COLUMNS[table]}")
    statement = statement.replace("= 1", "= now()")
    with pytest.raises(REFUSED):
        daemon.execute(statement.format(f"hopsmeter.{table}").encode())


def test_the_daemon_may_do_what_storing_and_posting_need(daemon: Connection) -> None:
    for statement in (
        b"SELECT hopsmeter.ensure_partitions(now())",
        b"SELECT hopsmeter.drop_raw_answers(now())",
        b"CREATE TEMP TABLE staging (LIKE hopsmeter.allocations)",
        b"INSERT INTO hopsmeter.allocations SELECT * FROM staging",
        b"INSERT INTO hopsmeter.allocation_history SELECT *, now(), '', ''::bytea FROM staging",
        b"DELETE FROM hopsmeter.raw_answers",
        b"DELETE FROM hopsmeter.user_projects",
        b"INSERT INTO hopsmeter.rate_plans (name, kind) VALUES ('team', 'cost_plus')",
        b"INSERT INTO hopsmeter.rate_plan_versions (plan_id, valid_from, factor) VALUES (1, 'today', 1)",
        b"UPDATE hopsmeter.plan_assignments SET valid = tstzrange(lower(valid), upper(valid))",
        b"DELETE FROM hopsmeter.plan_assignments",
        b"SELECT * FROM hopsmeter.rate_plan_periods",
        b"SELECT hopsmeter.posting_date('today', 'today')",
        b"INSERT INTO hopsmeter.posted_hours SELECT 'today', id, 1, 1 FROM hopsmeter.hopsworks_clusters",
        b"DELETE FROM hopsmeter.usage_daily",
        b"DELETE FROM hopsmeter.cost_daily",
        b"UPDATE hopsmeter.collection_windows SET tries = 0",
        b"SELECT * FROM hopsmeter.cost_by_day",
        b"INSERT INTO hopsmeter.audit_log (actor, via, action, subject) VALUES ('a','b','c','d')",
    ):
        assert daemon.execute(statement).statusmessage


def test_the_daemon_cannot_make_roles_or_change_prices(daemon: Connection) -> None:
    for statement in (
        b"CREATE ROLE mine LOGIN",
        b"SET ROLE hopsmeter_audit",
        b"UPDATE hopsmeter.rate_plan_versions SET factor = 0",
        b"UPDATE hopsmeter.rate_plans SET is_default = false",
        b"DELETE FROM hopsmeter.rate_plans",
        b"DELETE FROM hopsmeter.users",
        b"DELETE FROM hopsmeter.collection_windows",
        b"DELETE FROM hopsmeter.commands",
        b"UPDATE hopsmeter.alembic_version SET version_num = 'x'",
    ):
        with pytest.raises(REFUSED):
            daemon.execute(statement)


def test_whoever_owns_the_schema_cannot_change_the_trail_by_the_way(database: Database) -> None:
    owner = database.connect()
    ensure_roles(owner)
    add_user(owner)
    owner.execute(
        "INSERT INTO audit_log (actor, via, action, subject) VALUES ('setup', 'setup', 'a', 'b')"
    )
    for statement in (
        b"UPDATE hopsmeter.audit_log SET actor = 'x'",
        b"DELETE FROM hopsmeter.audit_log",
        b"TRUNCATE hopsmeter.audit_log",
        b"ALTER TABLE hopsmeter.audit_log DISABLE TRIGGER ALL",
    ):
        with pytest.raises(REFUSED):
            owner.execute(statement)


def test_a_table_that_comes_later_is_covered_by_the_next_run(database: Database) -> None:
    owner = database.connect()
    ensure_roles(owner)
    owner.execute("CREATE TABLE hopsmeter.newcomer (id int)")
    ensure_roles(owner)
    with connect(database.url_for(DAEMON), name="daemon") as daemon:
        added = daemon.execute("INSERT INTO hopsmeter.newcomer VALUES (1)")
    assert added.rowcount == 1
