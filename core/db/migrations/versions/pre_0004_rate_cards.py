"""Factors per kind of cost, rate cards, and quantities that are free in a month (part 2)."""

from core.db.migrations import run_sql_beside

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)
