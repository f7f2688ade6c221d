"""Single posts of the ledger in fewer statements, and lots in the order of use (part 2)."""

from core.db.migrations import run_sql_beside

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)
