"""What a person said of an invoice, and what one bills of a day that another has (part 3)."""

from core.db.migrations import run_sql_beside

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)
