"""Bring the schema to this program's version. Loads alembic, which takes as long as a whole command line."""

import psycopg
from alembic import command
from alembic.config import Config
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from core.db.connect import NO_OPTIONS, OURS, STYLES, sqlalchemy_url, unreachable
from core.db.version import MIGRATIONS, wanted_version

MIGRATION_LOCK = 0x686F7073  # "hops": two upgrades at once take turns


def _config() -> Config:
    """Return where the migrations are; alembic would take a single % for the begin of a name."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def upgrade(url: str) -> str:
    """Apply what is missing, each migration in a transaction of its own; return the version.

    Needs a direct connection (no pooler) and a role that may create in the database. DatabaseFault
    where it cannot be reached; all other errors leave as psycopg raised them.
    """
    try:
        _upgrade(url)
    except DBAPIError as error:
        if not isinstance(error.orig, psycopg.Error):
            raise
        raise (error.orig if error.statement else unreachable(url, error.orig)) from None
    return wanted_version()


def _upgrade(url: str) -> None:
    pinned = OURS if "options" in conninfo_to_dict(url) else {**NO_OPTIONS, **OURS}
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool, connect_args=pinned)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"SELECT {STYLES}")
        connection.commit()
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({MIGRATION_LOCK})")
        connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS hopsmeter")
        connection.exec_driver_sql("REVOKE ALL ON SCHEMA hopsmeter FROM PUBLIC")
        connection.commit()
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    engine.dispose()
