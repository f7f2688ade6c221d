"""Drafts of subscriptions that ended with a cycle: days of them go on being told (part 3)."""

from core.db.migrations import run_sql_beside

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)
