"""Which version the schema is of, and whether that is this program's; without loading alembic."""

import re
from pathlib import Path
from typing import Final

import psycopg

from core.errors import SchemaMismatch

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_MIGRATION: Final = re.compile(r"pre_(\d{4})_\w+\.py")
"""Their files are numbered as they follow each other; a test holds that against alembic."""


def wanted_version() -> str:
    """Return the newest migration that this program brings."""
    return _versions()[-1]


def current_version(connection: psycopg.Connection) -> str | None:
    """Return the database's version, None where hopsmeter was never set up."""
    row = connection.execute("SELECT to_regclass('hopsmeter.alembic_version')").fetchone()
    if row is None or row[0] is None:
        return None
    row = connection.execute("SELECT version_num FROM hopsmeter.alembic_version").fetchone()
    return row[0] if row else None


def require_current(connection: psycopg.Connection) -> None:
    """Raise SchemaMismatch unless the database is exactly of this program's version."""
    found, wanted = current_version(connection), wanted_version()
    if found is None:
        raise SchemaMismatch(
            "The database has no hopsmeter schema yet; run `hopsmeter db upgrade` first."
        )
    if found == wanted:
        return
    if found in _versions():
        raise SchemaMismatch(
            f"The database schema is at version {found}, this program wants {wanted};"
            " run `hopsmeter db upgrade`."
        )
    raise SchemaMismatch(
        f"The database schema is at version {found}, which is newer than this program ({wanted});"
        " install the hopsmeter that the database was upgraded with."
    )


def _versions() -> list[str]:
    names = (_MIGRATION.fullmatch(each.name) for each in (MIGRATIONS / "versions").iterdir())
    return sorted(name[1] for name in names if name)
