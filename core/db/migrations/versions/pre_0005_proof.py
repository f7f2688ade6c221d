"""The way back from a posting to its hours, and months that close while nobody posts (part 2)."""

from core.db.migrations import run_sql_beside

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)
