"""The schema's history, forward only: `pre_` runs while old code still does, `post_` after it.

The SQL of a migration stands beside it in a file of the same name.
"""

from pathlib import Path

from alembic import op

LOCK_TIMEOUT = "4s"
STATEMENT_TIMEOUT = "15min"


def run_sql_beside(migration: str) -> None:
    """Run the .sql file that belongs to the migration module of path `migration`."""
    op.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    op.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
    # The driver is asked directly: in an op.execute a colon would begin a parameter.
    text = Path(migration).with_suffix(".sql").read_text(encoding="utf-8")
    cursor = op.get_bind().connection.cursor()
    try:
        cursor.execute(text)
    finally:
        cursor.close()
