"""What the open month has begins with its subscription, whether an invoice says so or not (part 3)."""

from core.db.migrations import run_sql_beside

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)
