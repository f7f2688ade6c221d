"""The ledger: books of accounts, entries, credit lots and their draws, modes, closed months (part 2)."""

from core.db.migrations import run_sql_beside

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)
