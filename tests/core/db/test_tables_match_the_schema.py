"""The table classes say what the migrations made, no more and no less."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg.conninfo import make_conninfo
from sqlalchemy import ColumnDefault, Connection, Table, create_engine
from sqlalchemy.pool import NullPool

from core.db.connect import sqlalchemy_url
from core.db.table import SCHEMA
from core.db.table import Table as TableClass
from tests.database import Database

ROOMS = (
    "audit",
    "billing",
    "billing.stripe",
    "clusters",
    "commands",
    "identity",
    "metering",
    "rates",
    "webhooks",
)
WITHOUT_A_CLASS = {
    "alembic_version": "Alembic's own",
    "daemons": "each heartbeat is one plain statement of the daemon's; core only reads it",
}


for room in ROOMS:
    import_module(f"core.{room}.tables")


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    database.connect().execute("SELECT hopsmeter.ensure_partitions('2026-03-01T00:00Z')")
    # The role is called like the schema, which is then the default one, and goes unnamed.
    apart = make_conninfo(database.url, options="-c search_path=pg_catalog")
    engine = create_engine(sqlalchemy_url(apart), poolclass=NullPool)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def partitions(connection: Connection) -> set[str]:
    rows = connection.exec_driver_sql(
        "SELECT relname FROM pg_class WHERE relispartition"
        " AND relnamespace = 'hopsmeter'::regnamespace"
    )
    return {row[0] for row in rows}


def differences(connection: Connection) -> list[Any]:
    """Compare tables, columns, types, nullability, keys, unique constraints and indexes.

    What Alembic cannot see stands in the migrations alone: checks, the exclusion constraints of
    periods, partitioning, triggers, functions, views. Partitions are seen through their
    parents; columns of the type `name` look like varchar.
    """
    unseen = partitions(connection) | set(WITHOUT_A_CLASS)

    def wanted(name: str | None, kind: str, parents: Any) -> bool:
        return name == SCHEMA if kind == "schema" else kind != "table" or name not in unseen

    context = MigrationContext.configure(
        connection,
        opts={"include_schemas": True, "include_name": wanted, "compare_type": True},
    )
    return list(compare_metadata(context, TableClass.metadata))


def test_the_classes_and_the_migrated_schema_are_the_same(connection: Connection) -> None:
    assert differences(connection) == []


def test_a_difference_would_be_seen(connection: Connection) -> None:
    for change in (
        "ALTER TABLE hopsmeter.users ADD COLUMN extra text",
        "ALTER TABLE hopsmeter.users ALTER COLUMN email DROP NOT NULL",
        "ALTER TABLE hopsmeter.collection_windows ALTER COLUMN total_nano TYPE numeric",
        "ALTER TABLE hopsmeter.namespaces DROP CONSTRAINT namespaces_cluster_id_name_key",
        "ALTER TABLE hopsmeter.logins DROP CONSTRAINT logins_user_id_fkey",
        "DROP INDEX hopsmeter.clusters_one_source",
        "DROP TABLE hopsmeter.cost_daily CASCADE",
        "CREATE TABLE hopsmeter.more (id int)",
    ):
        with connection.begin_nested() as savepoint:
            connection.exec_driver_sql(change)
            assert differences(connection), change
            savepoint.rollback()


def test_a_default_of_a_class_is_the_databases_own(connection: Connection) -> None:
    rows = connection.exec_driver_sql(
        "SELECT c.relname, a.attname, pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d"
        " JOIN pg_class c ON c.oid = d.adrelid"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.adnum"
        " WHERE c.relnamespace = 'hopsmeter'::regnamespace"
    )
    defaults = {(table, column): expression for table, column, expression in rows}
    compared = 0
    for table in every_table():
        for column in table.columns:
            expression = defaults.get((table.name, column.name))
            if not isinstance(column.default, ColumnDefault) or expression is None:
                continue
            if not column.default.is_scalar:
                continue
            said = connection.exec_driver_sql(f"SELECT {expression}").scalar_one()
            assert column.default.arg == said, f"{table.name}.{column.name}"
            compared += 1
    assert compared > 20


def every_table() -> list[Table]:
    return list(TableClass.metadata.tables.values())
