"""Days that two subscriptions share: on which invoice each is, and what Stripe has of it (part 3)."""

from core.db.migrations import run_sql_beside

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)
