"""Posts of the ledger and of daily rows in less time, and a few of them righted (part 2)."""

from core.db.migrations import run_sql_beside

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)
