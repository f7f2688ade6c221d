"""Each migration on a database that has data of the one before."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from core.db import migrate
from core.db.embedded_files import OWNER
from core.db.roles import DAEMON, ensure_roles
from core.db.version import MIGRATIONS, wanted_version
from core.errors import DatabaseFault
from tests.core.metering.site import FIRST, Site, hour, opened
from tests.database import Database, Server, administer
from tests.factories import User

COST_NANO = 10**9


@pytest.fixture
def empty(postgres: Server) -> Iterator[Database]:
    """A database that hopsmeter was never set up in."""
    database = Database(f"test_migrations_{os.getpid()}", postgres)
    name = sql.Identifier(database.name)
    with closing(administer(postgres)) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, sql.Identifier(OWNER)))
        try:
            yield database
        finally:
            database.close()
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def upgrade_to(revision: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade = command.upgrade

    def only_to(config: Any, _head: str) -> None:
        upgrade(config, revision)

    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", only_to)
        migrate.upgrade(database.url)


def test_the_newest_file_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == wanted_version()


def test_the_environment_decides_nothing_of_an_upgrade(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c default_transaction_read_only=on")
    monkeypatch.setenv("PGDATESTYLE", "German")
    monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
    assert migrate.upgrade(empty.url) == wanted_version()


def test_a_percent_sign_in_the_path_of_the_program_is_one(
    empty: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "50%").symlink_to(MIGRATIONS.parent)
    monkeypatch.setattr(migrate, "MIGRATIONS", tmp_path / "50%" / MIGRATIONS.name)
    assert migrate.upgrade(empty.url) == wanted_version()


FILL = """
INSERT INTO users (id, email) VALUES ('auth0|anna', 'anna@example.test');
INSERT INTO hopsworks_clusters (name, api_url, kubeconfig_sealed, server_url, system_namespaces,
    cost_max_nano, cores_max, gpus_max, ram_max_bytes, metering_since)
VALUES ('eu-1', 'https://eu-1.test', '', 'https://eu-1.test:6443', '{kube-system}',
    1e15, 1000, 100, 1e15, '2026-03-01 00:00Z');
INSERT INTO namespaces (cluster_id, name, first_seen, last_seen)
VALUES (1, 'a', '2026-03-01 00:00Z', '2026-03-01 00:00Z');
INSERT INTO user_projects (cluster_id, namespace, user_no, valid, created_by)
VALUES (1, 'a', 1, '[2026-03-01 00:00Z,)', 'boss');
INSERT INTO collection_windows (cluster_id, hour, state, revision, row_count, total_nano, stored_no)
SELECT 1, hour, 'settled', 1, 1, 1e9, 1
FROM generate_series('2026-03-01 00:00Z'::timestamptz, '2026-03-01 01:00Z', '1 hour') hour;
SELECT ensure_partitions('2026-03-01 00:00Z');
INSERT INTO allocations
SELECT hour, 1, 1, 1, 0, 1, 1, 1, 1, 1e9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1e9,
       0, 0, 0, 0, 0, 0, 60000000, -1
FROM generate_series('2026-03-01 00:00Z'::timestamptz, '2026-03-01 01:00Z', '1 hour') hour;
"""

POSTED = """
INSERT INTO postings (day, no) VALUES ('2026-03-01', 1);
INSERT INTO usage_daily (user_no, account_no, cluster_id, date, opencost_cpu_nano,
    opencost_gpu_nano, opencost_ram_nano, opencost_pv_nano, opencost_network_nano,
    opencost_other_nano, opencost_total_nano, charge_nano)
SELECT user_no, account_no, cluster_id, '2026-03-01', sum(cpu_nano), 0, 0, 0, 0, 0,
       sum(total_nano), sum(total_nano)
FROM allocations GROUP BY user_no, account_no, cluster_id;
INSERT INTO cluster_days (cluster_id, day) VALUES (1, '2026-03-01');
UPDATE collection_windows SET posted_no = stored_no;
"""
"""As the first release posted what `FILL` stored."""


@pytest.fixture
def of_0001(empty: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Two hours of anna's, stored and posted by the first release."""
    upgrade_to("0001", empty, monkeypatch)
    with opened(empty) as site:
        site.connection.execute(FILL)
        site.connection.execute(POSTED)
        site.until(1)
        yield site


def test_a_database_that_is_away_is_told_as_such() -> None:
    """No traceback: whoever sets up has the wrong address, or his own database died at its start."""
    with pytest.raises(
        DatabaseFault, match=r"database x at 127\.0\.0\.1 cannot be reached: .*refused"
    ):
        migrate.upgrade("postgresql://somebody@127.0.0.1:1/x")


def test_what_the_database_refuses_is_raised_as_by_everybody_else(
    postgres: Server, empty: Database
) -> None:
    with closing(administer(postgres)) as admin:
        admin.execute("CREATE ROLE stranger LOGIN")
    try:
        with pytest.raises(InsufficientPrivilege, match="permission denied for database"):
            migrate.upgrade(empty.url_for("stranger"))
    finally:
        with closing(administer(postgres)) as admin:
            admin.execute("DROP ROLE stranger")


def test_what_0001_stored_is_charged_and_repriced_after_0002(of_0001: Site) -> None:
    site = of_0001
    facts, charged = site.versions("allocations"), site.usage()
    assert migrate.upgrade(site.database.url) == "0013"
    assert site.versions("allocations") == facts
    assert site.usage() == charged == {("auth0|anna", "eu-1", str(FIRST.date())): 2 * COST_NANO}
    site.must_balance()
    (anna,) = site.all("SELECT no, id, email FROM users")
    site.plan("team", "1.5", 0)
    change = site.assign(User(**anna), "team", 1)
    assert [(each.hours, each.charge_after_nano) for each in change.moved] == [
        (1, COST_NANO * 3 // 2)
    ]
    site.post()
    assert sum(site.usage().values()) == COST_NANO + COST_NANO * 3 // 2
    site.must_balance()


def test_0003_opens_all_books_of_who_was_charged(of_0001: Site) -> None:
    """One without the others would be locked before those that are still to be made."""
    migrate.upgrade(of_0001.database.url)
    rows = of_0001.all("SELECT book, balance_nano FROM ledger_balances ORDER BY book")
    assert [tuple(row.values()) for row in rows] == [(1, 0), (2, -2 * COST_NANO), (3, 0)]


def test_0002_locks_the_versions_of_0001(of_0001: Site) -> None:
    site = of_0001
    of_0001.connection.execute(
        "INSERT INTO rate_plan_versions (plan_id, valid_from, factor) VALUES (1, %s, 1.25)",
        [hour(5)],
    )
    migrate.upgrade(site.database.url)
    assert site.value("SELECT count(*) FROM rate_plan_periods") == 2
    with pytest.raises(
        InsufficientPrivilege, match="rate_plan_versions is append-only: UPDATE is refused"
    ):
        site.connection.execute("UPDATE rate_plan_versions SET factor = 2")


def test_an_upgrade_goes_on_where_the_roles_are_set_up(of_0001: Site) -> None:
    ensure_roles(of_0001.connection)
    migrate.upgrade(of_0001.database.url)
    ensure_roles(of_0001.connection)
    daemon = of_0001.database.connect(role=DAEMON)
    daemon.execute("INSERT INTO rate_plans (name, kind) VALUES ('team', 'cost_plus')")
    assert of_0001.value("SELECT count(*) FROM rate_plans") == 2


def test_what_was_charged_before_0004_is_charged_the_same_after(of_0001: Site) -> None:
    """By the function of before too, which a daemon of before goes on calling."""
    site = of_0001
    site.connection.execute(
        "INSERT INTO rate_plan_versions (plan_id, valid_from, factor) VALUES (1, %s, 1.25)",
        [hour(1)],
    )
    site.connection.execute("UPDATE allocations SET plan_version_id = 2 WHERE hour = %s", [hour(1)])
    migrate.upgrade(site.database.url)
    charges = site.all(
        "SELECT charge_nano(a.total_nano, v.factor) AS before, charge_nano(a, v, NULL) AS after"
        " FROM allocations a JOIN rate_plan_versions v ON v.id = a.plan_version_id ORDER BY hour"
    )
    assert [(each["before"], each["after"]) for each in charges] == [
        (COST_NANO, COST_NANO),
        (COST_NANO * 5 // 4, COST_NANO * 5 // 4),
    ]
    assert site.value("SELECT count(*) FROM rate_plan_periods WHERE gpu_factor IS NULL") == 2
