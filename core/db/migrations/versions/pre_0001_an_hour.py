"""Tables for an hour of cost, from the cluster to the books (part 1)."""

from core.db.migrations import run_sql_beside

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)
