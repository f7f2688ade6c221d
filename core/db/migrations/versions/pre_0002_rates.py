"""Which account pays by which plan, and versions of plans that nobody changes (part 2)."""

from core.db.migrations import run_sql_beside

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql_beside(__file__)
