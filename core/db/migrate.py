"""Bring the schema to this program's version, or say in a sentence why it does not fit."""

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from core.db.connect import sqlalchemy_url
from core.errors import SchemaMismatch

MIGRATION_LOCK = 0x686F7073  # "hops": two upgrades at once take turns


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def wanted_version() -> str:
    """Return the newest migration that this program brings."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def current_version(connection: psycopg.Connection) -> str | None:
    """Return the database's version, None where hopsmeter was never set up."""
    row = connection.execute("SELECT to_regclass('hopsmeter.alembic_version')").fetchone()
    if row is None or row[0] is None:
        return None
    row = connection.execute("SELECT version_num FROM hopsmeter.alembic_version").fetchone()
    return row[0] if row else None


def upgrade(url: str) -> str:
    """Apply what is missing, each migration in a transaction of its own; return the version.

    Needs a direct connection (no pooler) and a role that may create in the database.
    """
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({MIGRATION_LOCK})")
        connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS hopsmeter")
        connection.exec_driver_sql("REVOKE ALL ON SCHEMA hopsmeter FROM PUBLIC")
        connection.commit()
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    engine.dispose()
    return wanted_version()


def require_current(connection: psycopg.Connection) -> None:
    """Raise SchemaMismatch unless the database is exactly of this program's version."""
    found, wanted = current_version(connection), wanted_version()
    if found is None:
        raise SchemaMismatch(
            "The database has no hopsmeter schema yet; run `hopsmeter db upgrade` first."
        )
    if found == wanted:
        return
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found in known:
        raise SchemaMismatch(
            f"The database schema is at version {found}, this program wants {wanted};"
            " run `hopsmeter db upgrade`."
        )
    raise SchemaMismatch(
        f"The database schema is at version {found}, which is newer than this program ({wanted});"
        " install the hopsmeter that the database was upgraded with."
    )
