"""Reports that Stripe does not have and will not take: given up, so that their day is due again (part 3)."""

from core.db.migrations import run_sql_beside

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)
