"""Credits by hand: a lot that a person lets expire keeps the reason (part 2)."""

from core.db.migrations import run_sql_beside

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)
