"""Stripe: what is reported, what came back, who pays how, credits bought; events from outside (part 3)."""

from core.db.migrations import run_sql_beside

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)
